//! Every path of a layer, and what it is once all entries were seen.
//!
//! Invariant: a parent has a smaller index than its children; memory is at most about 50 bytes for each
//! path and the bytes of its last component, however the layer is made.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::error::{LayerError, Problem};
use crate::Limits;

/// Index of a path; 0 is the layer's root.
pub(super) type NodeId = u32;

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing of this layer (but perhaps a whiteout).
    Absent,
    /// A directory that has entries but no entry of its own.
    Implied,
    /// A directory; index of its attributes.
    Directory(u32),
    /// Anything else; number of the entry that holds it.
    Other(u32),
}

/// Attributes of a directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: u64,
    /// Index into the tree's attributes, plus one; set by the tree.
    pub(super) xattrs: u32,
}

struct Node {
    parent: NodeId,
    name: u32,
    length: u8,
    flags: u8,
    state: State,
}

const WHITEOUT: u8 = 1;
const OPAQUE: u8 = 2;
const PARENT: u8 = 4;

/// Attributes of one file: names and values.
pub(super) type Xattrs = Vec<Xattr>;

/// Name and value of an attribute.
type Xattr = (Vec<u8>, Vec<u8>);

/// The paths of a layer.
pub(super) struct Tree {
    nodes: Vec<Node>,
    names: Vec<u8>,
    table: HashTable<NodeId>,
    hasher: RandomState,
    directories: Vec<Directory>,
    xattrs: Vec<Xattrs>,
    xattr_bytes: usize,
    limits: Limits,
}

impl Tree {
    pub(super) fn new(limits: &Limits) -> Tree {
        let root = Node { parent: 0, name: 0, length: 0, flags: 0, state: State::Implied };
        Tree {
            nodes: vec![root],
            names: Vec::new(),
            table: HashTable::new(),
            hasher: RandomState::new(),
            directories: Vec::new(),
            xattrs: Vec::new(),
            xattr_bytes: 0,
            limits: *limits,
        }
    }

    /// Number of paths.
    pub(super) fn len(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Bytes of all names.
    pub(super) fn name_bytes(&self) -> u64 {
        self.names.len() as u64
    }

    pub(super) fn find(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.table
            .find(self.hasher.hash_one((parent, name)), |node| {
                self.nodes[*node as usize].parent == parent && self.name(*node) == name
            })
            .copied()
    }

    /// The path of `parts`, if the layer has it so far.
    pub(super) fn lookup(&self, parts: &[&[u8]]) -> Option<NodeId> {
        parts.iter().try_fold(0, |node, part| self.find(node, part))
    }

    /// The child of that name, made absent if it is new.
    pub(super) fn child(&mut self, parent: NodeId, name: &[u8]) -> Result<NodeId, LayerError> {
        if let Some(node) = self.find(parent, name) {
            return Ok(node);
        }
        if self.len() > self.limits.entries {
            return Err(LayerError::Limit { what: "entries", limit: u64::from(self.limits.entries) });
        }
        if self.names.len() + name.len() > self.limits.names {
            let limit = self.limits.names as u64;
            return Err(LayerError::Limit { what: "bytes of file names", limit });
        }
        let node = self.len();
        let start = self.names.len() as u32;
        self.names.extend_from_slice(name);
        let length = name.len() as u8;
        self.nodes.push(Node { parent, name: start, length, flags: 0, state: State::Absent });
        self.nodes[parent as usize].flags |= PARENT;
        let (nodes, names, hasher) = (&self.nodes, &self.names, &self.hasher);
        self.table.insert_unique(hasher.hash_one((parent, name)), node, |other| {
            let other = &nodes[*other as usize];
            let name = &names[other.name as usize..][..usize::from(other.length)];
            hasher.hash_one((other.parent, name))
        });
        Ok(node)
    }

    /// The directory that `parts` lead to. Each on the way becomes a directory unless it is something
    /// else by now.
    pub(super) fn enter(&mut self, parts: &[&[u8]]) -> Result<Result<NodeId, Problem>, LayerError> {
        let mut at = 0;
        for part in parts {
            at = self.child(at, part)?;
            match self.state(at) {
                State::Absent => self.nodes[at as usize].state = State::Implied,
                State::Implied | State::Directory(_) => {}
                State::Other(_) => {
                    let path = super::entry::printable(&self.path(at));
                    return Ok(Err(Problem::ThroughFile(path)));
                }
            }
        }
        Ok(Ok(at))
    }

    pub(super) fn state(&self, node: NodeId) -> State {
        self.nodes[node as usize].state
    }

    /// Makes the path a directory with these attributes, whatever it was.
    pub(super) fn set_directory(
        &mut self,
        node: NodeId,
        mut directory: Directory,
        xattrs: Xattrs,
    ) -> Result<(), LayerError> {
        if !xattrs.is_empty() {
            let bytes: usize = xattrs.iter().map(|(name, value)| name.len() + value.len() + 128).sum();
            self.xattr_bytes += bytes;
            if self.xattr_bytes > self.limits.xattrs {
                let limit = self.limits.xattrs as u64;
                return Err(LayerError::Limit { what: "bytes of directories' attributes", limit });
            }
            self.xattrs.push(xattrs);
            directory.xattrs = self.xattrs.len() as u32;
        }
        if let State::Directory(index) = self.state(node) {
            self.directories[index as usize] = directory;
        } else {
            self.directories.push(directory);
            self.nodes[node as usize].state = State::Directory(self.directories.len() as u32 - 1);
        }
        Ok(())
    }

    /// Makes the path something that is no directory.
    pub(super) fn set_other(&mut self, node: NodeId, entry: u32) -> Result<(), Problem> {
        if self.nodes[node as usize].flags & PARENT != 0 {
            return Err(Problem::ReplacesDirectory);
        }
        self.nodes[node as usize].state = State::Other(entry);
        Ok(())
    }

    pub(super) fn set_whiteout(&mut self, node: NodeId) {
        self.nodes[node as usize].flags |= WHITEOUT;
    }

    pub(super) fn set_opaque(&mut self, node: NodeId) {
        self.nodes[node as usize].flags |= OPAQUE;
    }

    /// Whether what lower layers have at the path is gone.
    pub(super) fn hides(&self, node: NodeId) -> bool {
        self.nodes[node as usize].flags & (WHITEOUT | OPAQUE) != 0
    }

    pub(super) fn directory(&self, index: u32) -> (&Directory, &[Xattr]) {
        let directory = &self.directories[index as usize];
        let xattrs = match directory.xattrs {
            0 => &[][..],
            index => &self.xattrs[index as usize - 1],
        };
        (directory, xattrs)
    }

    pub(super) fn parent(&self, node: NodeId) -> NodeId {
        self.nodes[node as usize].parent
    }

    fn name(&self, node: NodeId) -> &[u8] {
        let node = &self.nodes[node as usize];
        &self.names[node.name as usize..][..usize::from(node.length)]
    }

    /// The whole path, without a leading slash; empty for the root.
    pub(super) fn path(&self, node: NodeId) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut at = node;
        while at != 0 {
            parts.push(self.name(at));
            at = self.nodes[at as usize].parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_limits() {
        let mut tree = Tree::new(&Limits { entries: 4, names: 10, ..Limits::default() });
        let node = tree.enter(&[b"ab", b"c"]).unwrap().unwrap();
        assert_eq!(tree.path(node), b"ab/c");
        assert_eq!(tree.path(0), b"");
        assert_eq!(tree.lookup(&[b"ab", b"c"]), Some(node));
        assert_eq!(tree.lookup(&[b"c"]), None);
        assert!(matches!(
            tree.child(0, b"12345678"),
            Err(LayerError::Limit { what: "bytes of file names", .. })
        ));
        tree.child(0, b"d").unwrap();
        tree.child(0, b"e").unwrap();
        assert!(matches!(tree.child(0, b"f"), Err(LayerError::Limit { what: "entries", limit: 4 })));
    }

    #[test]
    fn ten_thousand_names_are_found_again() {
        let mut tree = Tree::new(&Limits::default());
        let nodes: Vec<_> =
            (0..10_000).map(|i| tree.child(i / 7, i.to_string().as_bytes()).unwrap()).collect();
        for (i, node) in nodes.iter().enumerate() {
            assert_eq!(tree.find(i as u32 / 7, i.to_string().as_bytes()), Some(*node));
        }
    }
}
