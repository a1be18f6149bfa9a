//! The first pass: checks every entry, and finds out what each path ends up as.
//!
//! A later entry of a path replaces an earlier one, as with every tool that unpacks a tar. What tools
//! disagree about is refused: an entry below a link or file, a file in place of a directory with
//! entries, a hard link to what the layer has not shown yet.

use std::io::Read;

use super::entry::{Entry, Kind, printable};
use super::error::{LayerError, Problem};
use super::path::{self, Name};
use super::reader::TarReader;
use super::tree::{Directory, NodeId, State, Tree, Xattrs};
use crate::Limits;

/// Longest `/etc/passwd` or `/etc/group` that is kept, in bytes.
const ACCOUNT_FILE: u64 = 1 << 20;

/// What the first pass learnt.
pub struct Scan {
    pub(super) tree: Tree,
    /// Number of the entry and path of each surviving file, sorted; paths of one entry are links.
    pub(super) contents: Vec<(u32, NodeId)>,
    accounts: [Option<(u32, Vec<u8>)>; 2],
    bytes: u64,
    blocks: u64,
}

/// Bytes of a block of an erofs file; content begins in a new one.
const BLOCK: u64 = 4096;
/// What an erofs file has for a path beside its content and its name.
const INODE: u64 = 128;

impl Scan {
    /// Whether everything of lower layers is gone.
    pub fn opaque_root(&self) -> bool {
        self.tree.hides(0)
    }

    /// Number of paths, parents that the layer leaves out included.
    pub fn paths(&self) -> u32 {
        self.tree.len()
    }

    /// Bytes of its files, holes included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that the erofs file takes at most.
    pub fn room(&self) -> u64 {
        self.blocks + u64::from(self.paths()) * INODE + self.tree.name_bytes()
    }

    /// Content of `/etc/passwd` (0) or `/etc/group` (1), if this layer has it.
    pub(super) fn account(&self, index: usize) -> Option<&[u8]> {
        let (entry, content) = self.accounts[index].as_ref()?;
        let node = self.tree.lookup(ACCOUNTS[index])?;
        (self.tree.state(node) == State::Other(*entry)).then_some(content)
    }
}

/// Components of the files that name users and groups.
pub(super) const ACCOUNTS: [&[&[u8]]; 2] = [&[b"etc", b"passwd"], &[b"etc", b"group"]];

/// Reads a layer's tar stream to its end; `size` is that of its blob.
pub fn scan(stream: impl Read, size: u64, limits: &Limits) -> Result<Scan, LayerError> {
    let mut reader = TarReader::new(stream);
    let mut scan =
        Scan { tree: Tree::new(limits), contents: Vec::new(), accounts: [None, None], bytes: 0, blocks: 0 };
    while let Some(entry) = reader.entry()? {
        if entry.number > u64::from(limits.entries) {
            return Err(LayerError::Limit { what: "entries", limit: u64::from(limits.entries) });
        }
        scan.bytes = scan.bytes.saturating_add(entry.size);
        if scan.bytes > limits.layer {
            return Err(LayerError::Limit { what: "bytes in its files", limit: limits.layer });
        }
        let attributes: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        scan.blocks = scan.blocks.saturating_add(entry.size.next_multiple_of(BLOCK) + attributes as u64);
        // Holes take no room in the stream.
        if scan.bytes > limits.grown(size) {
            return Err(LayerError::Bomb { ratio: limits.ratio });
        }
        let place = place(&mut scan.tree, &entry, limits.depth)?;
        place.map_err(|problem| LayerError::Entry { number: entry.number, name: entry.name(), problem })?;
        keep_account(&mut scan, &entry, &mut reader)?;
    }
    scan.contents = (0..scan.tree.len())
        .filter_map(|node| match scan.tree.state(node) {
            State::Other(entry) => Some((entry, node)),
            _ => None,
        })
        .collect();
    scan.contents.sort_unstable();
    super::cost::check(&scan, limits)?;
    Ok(scan)
}

/// Puts an entry in its place.
fn place(tree: &mut Tree, entry: &Entry, depth: usize) -> Result<Result<(), Problem>, LayerError> {
    let parts = match path::components(&entry.path, depth) {
        Ok(parts) => parts,
        Err(problem) => return Ok(Err(problem)),
    };
    let Some((name, above)) = parts.split_last() else {
        if entry.kind != Kind::Directory {
            return Ok(Err(Problem::Root));
        }
        let (directory, xattrs) = attributes(entry);
        return tree.set_directory(0, directory, xattrs).map(Ok);
    };
    if let Some(part) = above.iter().find(|part| part.starts_with(b".wh.")) {
        return Ok(Err(Problem::Whiteout(printable(part))));
    }
    let meaning = match path::meaning(name) {
        Ok(meaning) => meaning,
        Err(problem) => return Ok(Err(problem)),
    };
    let parent = match tree.enter(above)? {
        Ok(parent) => parent,
        Err(problem) => return Ok(Err(problem)),
    };
    match meaning {
        Name::Plain => {
            let node = tree.child(parent, name)?;
            fill(tree, node, entry, depth)
        }
        _ if entry.kind != Kind::File => Ok(Err(Problem::Whiteout(printable(name)))),
        Name::Whiteout(hidden) => {
            let node = tree.child(parent, hidden)?;
            tree.set_whiteout(node);
            Ok(Ok(()))
        }
        Name::Opaque => {
            tree.set_opaque(parent);
            Ok(Ok(()))
        }
    }
}

/// Makes a path what the entry says.
fn fill(
    tree: &mut Tree,
    node: NodeId,
    entry: &Entry,
    depth: usize,
) -> Result<Result<(), Problem>, LayerError> {
    match entry.kind {
        Kind::Directory => {
            let (directory, xattrs) = attributes(entry);
            tree.set_directory(node, directory, xattrs).map(Ok)
        }
        Kind::HardLink => Ok(target(tree, entry, depth).and_then(|content| tree.set_other(node, content))),
        Kind::Symlink if !symlink_target_is_good(&entry.link) => Ok(Err(Problem::Target)),
        _ => Ok(tree.set_other(node, entry.number as u32)),
    }
}

/// The entry that holds what a hard link names.
fn target(tree: &Tree, entry: &Entry, depth: usize) -> Result<u32, Problem> {
    let parts = path::components(&entry.link, depth)?;
    let named = || printable(&entry.link);
    match tree.lookup(&parts).map(|node| tree.state(node)) {
        Some(State::Other(content)) => Ok(content),
        Some(State::Directory(_) | State::Implied) => Err(Problem::DirectoryTarget(named())),
        Some(State::Absent) | None => Err(Problem::NoTarget(named())),
    }
}

/// A symbolic link's target is kept as it is: only the container follows it, within its own root.
fn symlink_target_is_good(target: &[u8]) -> bool {
    !target.is_empty() && target.len() <= path::PATH && !target.contains(&0)
}

fn attributes(entry: &Entry) -> (Directory, Xattrs) {
    let directory =
        Directory { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, xattrs: 0 };
    (directory, entry.xattrs.clone())
}

/// Keeps the content of the files that name users and groups.
fn keep_account(scan: &mut Scan, entry: &Entry, reader: &mut TarReader<impl Read>) -> Result<(), LayerError> {
    if entry.kind != Kind::File || entry.size > ACCOUNT_FILE {
        return Ok(());
    }
    let Ok(parts) = path::components(&entry.path, path::PATH) else { return Ok(()) };
    let Some(index) = ACCOUNTS.iter().position(|account| *account == parts) else { return Ok(()) };
    let mut content = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match reader.content(&mut buffer)? {
            0 => break,
            read => content.extend_from_slice(&buffer[..read]),
        }
    }
    scan.accounts[index] = Some((entry.number as u32, content));
    Ok(())
}
