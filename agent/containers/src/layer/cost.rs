//! What it costs `mkfs.erofs` to find the places of a layer's entries.
//!
//! It keeps the entries of a directory in a list. A new name is compared with all of them; a directory that
//! was gone through is put at the front of its list, so that going there again costs nothing, and one that
//! was not costs as much as the list is long. The target of a hard link is searched in the same way. In
//! the order in which the entries are written the sum of these is known beforehand.

use super::error::LayerError;
use super::scan::Scan;
use super::tree::{NodeId, State, Tree};
use crate::Limits;

/// Refuses a layer whose names would be compared more often than is accepted.
pub(super) fn check(scan: &Scan, limits: &Limits) -> Result<(), LayerError> {
    let tree = &scan.tree;
    let mut lists = Lists::new(tree);
    let directory = |node: &NodeId| matches!(tree.state(*node), State::Directory(_) | State::Implied);
    let whiteout = |node: &NodeId| tree.state(*node) == State::Absent && tree.hides(*node);
    let first = (1..tree.len()).filter(directory).chain((1..tree.len()).filter(whiteout));
    for node in first {
        lists.add(node);
    }
    for links in scan.contents.chunk_by(|one, other| one.0 == other.0) {
        for (index, (_, node)) in links.iter().enumerate() {
            if index > 0 {
                lists.find(links[0].1);
            }
            lists.add(*node);
        }
        if lists.comparisons > limits.comparisons {
            break;
        }
    }
    if lists.comparisons <= limits.comparisons {
        return Ok(());
    }
    Err(LayerError::Limit { what: "comparisons of file names", limit: limits.comparisons })
}

/// The lists of all directories while entries are added.
struct Lists<'a> {
    tree: &'a Tree,
    entries: Vec<u32>,
    /// The directory at the front of a directory's list.
    front: Vec<NodeId>,
    comparisons: u64,
}

impl<'a> Lists<'a> {
    fn new(tree: &'a Tree) -> Lists<'a> {
        let length = tree.len() as usize;
        Lists { tree, entries: vec![0; length], front: vec![0; length], comparisons: 0 }
    }

    /// Adds an entry behind all others of its directory.
    fn add(&mut self, node: NodeId) {
        let parent = self.tree.parent(node);
        self.go(parent);
        self.comparisons += u64::from(self.entries[parent as usize]);
        self.entries[parent as usize] += 1;
    }

    /// Looks for an entry that is there, and no directory.
    fn find(&mut self, node: NodeId) {
        let parent = self.tree.parent(node);
        self.go(parent);
        self.comparisons += u64::from(self.entries[parent as usize]);
    }

    /// Goes to a directory from the root.
    fn go(&mut self, directory: NodeId) {
        let mut at = directory;
        while at != 0 {
            let parent = self.tree.parent(at);
            self.comparisons += 1;
            if std::mem::replace(&mut self.front[parent as usize], at) != at {
                self.comparisons += u64::from(self.entries[parent as usize]);
            }
            at = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::scan;
    use super::*;
    use crate::layer::writer;

    /// A layer of these files, folders (ending in `/`) and links (`NAME>TARGET`), within a limit or not.
    fn costs(limit: u64, names: impl Iterator<Item = String>) -> Result<(), String> {
        let mut stream = Vec::new();
        for name in names {
            let (name, link) = name.split_once('>').unwrap_or((&name, ""));
            let kind = match link {
                _ if name.ends_with('/') => tar::EntryType::Directory,
                "" => tar::EntryType::Regular,
                _ => tar::EntryType::Link,
            };
            let item = writer::Item {
                path: name.as_bytes(),
                link: link.as_bytes(),
                kind,
                mode: 0o755,
                uid: 0,
                gid: 0,
                mtime: 0,
                device: (0, 0),
                size: 0,
                xattrs: &[],
            };
            writer::entry(&mut stream, &item).unwrap();
        }
        writer::end(&mut stream).unwrap();
        let limits = Limits { comparisons: limit, ..Limits::default() };
        let size = stream.len() as u64;
        scan(io::Cursor::new(stream), size, &limits).map(|_| ()).map_err(|error| error.to_string())
    }

    /// The same entries cost little folder by folder, and much in turns.
    #[test]
    fn what_is_searched_again_and_again_is_counted() {
        let folders = || (0..100).map(|folder| format!("{folder}/"));
        let in_order = (0..10_000).map(|file| format!("{}/{file}", file / 100));
        let in_turns = (0..10_000).map(|file| format!("{}/{file}", file % 100));
        let said = "the layer has more than 600000 comparisons of file names";
        assert_eq!(costs(600_000, folders().chain(in_order)), Ok(()));
        assert_eq!(costs(600_000, folders().chain(in_turns)), Err(said.into()));
        let flat = || (0..1000).map(|file| format!("{file}"));
        // A few links, each of which costs the search for what it is a link to.
        let links = (0..10).map(|link| format!("l/{link}>999"));
        assert_eq!(costs(505_000, flat()), Ok(()));
        let few = "the layer has more than 505000 comparisons of file names";
        assert_eq!(costs(505_000, flat().chain(links)), Err(few.into()));
        // Through many levels, each with much beside the way.
        let way = |level: usize| "w/".repeat(level);
        let beside = (0..50).flat_map(|level| (0..50).map(move |side| format!("{}{side}/", way(level))));
        let deep = (0..200).flat_map(|file| [format!("{}{file}", way(50)), format!("{}0/{file}", way(49))]);
        assert_eq!(costs(600_000, beside.chain(deep)), Ok(()));
        let beside = (0..50).flat_map(|level| (0..50).map(move |side| format!("{}{side}/", way(level))));
        let deep = (0..100).flat_map(|file| {
            (0..50).map(move |level| format!("{}0/{file}", way(level))).chain([format!("{}{file}", way(50))])
        });
        assert_eq!(costs(600_000, beside.chain(deep)), Err(said.into()));
    }
}
