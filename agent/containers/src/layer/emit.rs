//! The second pass: writes what the first one found, each path once.

use std::io::{self, Read, Write};

use tar::EntryType;

use super::entry::{Entry, Kind};
use super::error::LayerError;
use super::parents::Parents;
use super::reader::TarReader;
use super::scan::Scan;
use super::tree::{NodeId, State, Tree};
use super::writer::{self, Item};

/// Marks a directory that hides what lower layers have in it, for overlayfs.
const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");

/// Reads the stream that `scan` was made from again, and writes the normalised one.
pub fn emit(
    stream: impl Read,
    scan: &Scan,
    parents: &Parents,
    mut out: impl Write,
) -> Result<(), LayerError> {
    directories(&scan.tree, parents, &mut out).map_err(LayerError::Write)?;
    whiteouts(&scan.tree, &mut out).map_err(LayerError::Write)?;
    let mut reader = TarReader::new(stream);
    let mut contents = scan.contents.chunk_by(|one, other| one.0 == other.0).peekable();
    while let Some(entry) = reader.entry()? {
        if let Some(links) = contents.next_if(|links| u64::from(links[0].0) == entry.number) {
            file(&mut reader, &entry, &scan.tree, links, &mut out)?;
        }
    }
    writer::end(&mut out).map_err(LayerError::Write)
}

fn directories(tree: &Tree, parents: &Parents, out: &mut impl Write) -> io::Result<()> {
    for node in 0..tree.len() {
        let (mode, uid, gid, mtime, mut xattrs) = match tree.state(node) {
            State::Directory(index) => {
                let (directory, xattrs) = tree.directory(index);
                (directory.mode, directory.uid, directory.gid, directory.mtime, xattrs.to_vec())
            }
            State::Implied => {
                let known = parents.attributes(node);
                (known.mode, known.uid, known.gid, 0, known.xattrs)
            }
            State::Absent | State::Other(_) => continue,
        };
        // overlayfs does not look at the mark of a layer's root: who stacks the layers does that.
        if node != 0 && tree.hides(node) {
            xattrs.push((OPAQUE.0.to_vec(), OPAQUE.1.to_vec()));
        }
        let mut path = tree.path(node);
        path.extend_from_slice(if node == 0 { b"./" } else { b"/" });
        let kind = EntryType::Directory;
        let item = Item {
            path: &path,
            link: b"",
            kind,
            mode,
            uid,
            gid,
            mtime,
            device: (0, 0),
            size: 0,
            xattrs: &xattrs,
        };
        writer::entry(out, &item)?;
    }
    Ok(())
}

fn whiteouts(tree: &Tree, out: &mut impl Write) -> io::Result<()> {
    for node in 0..tree.len() {
        if tree.state(node) == State::Absent && tree.hides(node) {
            let item = Item {
                path: &tree.path(node),
                link: b"",
                kind: EntryType::Char,
                mode: 0,
                uid: 0,
                gid: 0,
                mtime: 0,
                device: (0, 0),
                size: 0,
                xattrs: &[],
            };
            writer::entry(out, &item)?;
        }
    }
    Ok(())
}

/// Writes an entry at the first of its paths, and links at the others.
fn file(
    reader: &mut TarReader<impl Read>,
    entry: &Entry,
    tree: &Tree,
    links: &[(u32, NodeId)],
    out: &mut impl Write,
) -> Result<(), LayerError> {
    let kind = match entry.kind {
        Kind::Symlink => EntryType::Symlink,
        Kind::Character => EntryType::Char,
        Kind::Block => EntryType::Block,
        Kind::Fifo => EntryType::Fifo,
        Kind::File | Kind::Directory | Kind::HardLink => EntryType::Regular,
    };
    let first = tree.path(links[0].1);
    let mut item = Item {
        path: &first,
        link: &entry.link,
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        device: entry.device,
        size: entry.size,
        xattrs: &entry.xattrs,
    };
    if entry.kind != Kind::Symlink {
        item.link = b"";
    }
    writer::entry(out, &item).map_err(LayerError::Write)?;
    let mut buffer = [0; 1 << 16];
    loop {
        match reader.content(&mut buffer)? {
            0 => break,
            read => out.write_all(&buffer[..read]).map_err(LayerError::Write)?,
        }
    }
    writer::pad(out, entry.size).map_err(LayerError::Write)?;
    for (_, node) in &links[1..] {
        let path = tree.path(*node);
        let link = Item { path: &path, link: &first, kind: EntryType::Link, size: 0, xattrs: &[], ..item };
        writer::entry(out, &link).map_err(LayerError::Write)?;
    }
    Ok(())
}
