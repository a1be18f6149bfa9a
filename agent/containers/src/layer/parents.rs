//! Directories that a layer has entries in but no entry for.
//!
//! An overlay shows a directory with the attributes of the topmost layer that has it, so these take the
//! attributes they have in the layers below. An image made of the same layer on top of others may give
//! them other attributes: [`Parents::context`] tells such conversions apart.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::error::LayerError;
use super::meta::{Line, MetaError};
use super::scan::Scan;
use super::tree::{NodeId, State};
use crate::Digest;

/// Bytes of names of left-out directories whose attributes are looked for.
const NAMES: usize = 16 << 20;

/// Attributes of a directory, but for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Default for Attributes {
    /// What a directory gets that no layer describes: 0755, root's.
    fn default() -> Attributes {
        Attributes { mode: 0o755, uid: 0, gid: 0, xattrs: Vec::new() }
    }
}

/// Attributes of the left-out directories that are not the default ones.
#[derive(Debug, Default)]
pub struct Parents {
    found: BTreeMap<NodeId, Attributes>,
    context: Option<Digest>,
}

impl Parents {
    /// Looks the left-out directories of a layer up in what is known of the layers below it, each an
    /// iterator of lines, the topmost layer first.
    pub fn find<L>(
        scan: &Scan,
        lower: impl IntoIterator<Item = Result<L, MetaError>>,
    ) -> Result<Parents, ParentsError>
    where
        L: Iterator<Item = Result<Line, MetaError>>,
    {
        let mut wanted = wanted(scan)?;
        let mut found = BTreeMap::new();
        for layer in lower {
            if wanted.is_empty() {
                break;
            }
            let mut hidden = HashSet::new();
            for line in layer.map_err(ParentsError::Meta)? {
                match line.map_err(ParentsError::Meta)? {
                    Line::Directory { path, attributes } => {
                        if let Some(node) = wanted.remove(&path)
                            && attributes != Attributes::default()
                        {
                            found.insert(node, (path, attributes));
                        }
                    }
                    Line::Hides { path } => {
                        hidden.insert(path);
                    }
                }
            }
            if !hidden.is_empty() {
                wanted.retain(|path, _| !is_hidden(path, &hidden));
            }
        }
        let context = context(&found);
        let found = found.into_iter().map(|(node, (_, attributes))| (node, attributes)).collect();
        Ok(Parents { found, context })
    }

    /// A digest of the attributes that came from below; `None` when all are the default ones, so that
    /// the layer looks the same on top of any other.
    pub fn context(&self) -> Option<Digest> {
        self.context
    }

    pub(super) fn attributes(&self, node: NodeId) -> Attributes {
        self.found.get(&node).cloned().unwrap_or_default()
    }
}

/// Why the attributes could not be found.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ParentsError {
    #[error(transparent)]
    Layer(LayerError),
    #[error(transparent)]
    Meta(MetaError),
}

/// Left-out directories that a lower layer may have: none above them hides it.
fn wanted(scan: &Scan) -> Result<HashMap<Vec<u8>, NodeId>, ParentsError> {
    let tree = &scan.tree;
    let mut wanted = HashMap::new();
    let mut bytes = 0;
    let mut hidden = vec![false; tree.len() as usize];
    for node in 0..tree.len() {
        hidden[node as usize] = hidden[tree.parent(node) as usize] || tree.hides(node);
        if tree.state(node) != State::Implied || hidden[node as usize] {
            continue;
        }
        let path = tree.path(node);
        bytes += path.len();
        if bytes > NAMES {
            let limit = NAMES as u64;
            return Err(ParentsError::Layer(LayerError::Limit {
                what: "bytes of names of directories without an entry",
                limit,
            }));
        }
        wanted.insert(path, node);
    }
    Ok(wanted)
}

/// Whether a layer hides what is below it at `path`.
fn is_hidden(path: &[u8], hidden: &HashSet<Vec<u8>>) -> bool {
    hidden.contains(&b""[..])
        || hidden.contains(path)
        || path.iter().enumerate().any(|(end, byte)| *byte == b'/' && hidden.contains(&path[..end]))
}

fn context(found: &BTreeMap<NodeId, (Vec<u8>, Attributes)>) -> Option<Digest> {
    if found.is_empty() {
        return None;
    }
    let mut sorted: Vec<_> = found.values().collect();
    sorted.sort_by(|one, other| one.0.cmp(&other.0));
    let mut text = Vec::new();
    for (path, attributes) in sorted {
        text.extend(super::meta::directory_line(path, attributes));
    }
    Some(Digest::of(&text))
}
