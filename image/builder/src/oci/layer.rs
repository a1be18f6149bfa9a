//! What a layer holds, and packing it: a tar through zstd whose bytes depend on nothing else.

use std::collections::BTreeMap;
use std::io::Write;

use zstd::zstd_safe::CParameter;

use crate::fetch::digest::Hashing;
use crate::oci::OciError;

/// How hard zstd tries: a layer is packed once, and fetched by many.
const LEVEL: i32 = 19;
/// Bytes that who unpacks it keeps in memory, as a power of two. More gains a hundredth.
const WINDOW: u32 = 20;

/// What a path of the layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder.
    Directory,
    /// A regular file.
    File(Vec<u8>),
    /// A symbolic link.
    Symlink(String),
}

/// A path of the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Of last change, seconds.
    pub mtime: u64,
}

/// All paths of a layer, without leading slash, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    items: BTreeMap<String, Item>,
}

/// A packed layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The compressed tar.
    pub blob: Vec<u8>,
    /// SHA-256 of the tar, hex.
    pub diff_id: String,
}

impl Contents {
    /// Puts an item at a path, in the place of what was there.
    pub(crate) fn insert(&mut self, path: impl Into<String>, item: Item) {
        self.items.insert(path.into(), item);
    }

    /// What is at a path.
    pub(crate) fn get(&self, path: &str) -> Option<&Item> {
        self.items.get(path)
    }

    /// Whether something is at the path or below it.
    pub(crate) fn has_below(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        self.items.range(prefix.clone()..).next().is_some_and(|(found, _)| found.starts_with(&prefix))
    }

    /// Adds each folder that a path needs and that is not there yet, root's and open to all.
    pub(crate) fn add_parents(&mut self, mtime: u64) {
        let paths: Vec<String> = self.items.keys().cloned().collect();
        for path in paths {
            let mut rest = path.as_str();
            while let Some((parent, _)) = rest.rsplit_once('/') {
                let folder = Item { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0, mtime };
                self.items.entry(parent.to_owned()).or_insert(folder);
                rest = parent;
            }
        }
    }

    /// Packs everything; no time is later than `epoch`.
    pub(crate) fn pack(&self, epoch: u64) -> Result<Layer, OciError> {
        let end = |source| OciError::Pack { entry: "the end".to_owned(), source };
        let mut packed = zstd::Encoder::new(Vec::new(), LEVEL).map_err(end)?;
        packed.set_parameter(CParameter::WindowLog(WINDOW)).map_err(end)?;
        let mut tar = tar::Builder::new(Hashing::new(packed));
        for (path, item) in &self.items {
            append(&mut tar, path, item, epoch)
                .map_err(|source| OciError::Pack { entry: path.clone(), source })?;
        }
        let (packed, diff_id) = tar.into_inner().map_err(end)?.finish();
        let blob = packed.finish().map_err(end)?;
        Ok(Layer { blob, diff_id })
    }
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, item: &Item, epoch: u64) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(item.mode);
    header.set_uid(item.uid);
    header.set_gid(item.gid);
    header.set_mtime(item.mtime.min(epoch));
    header.set_size(0);
    match &item.kind {
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, format!("{path}/"), std::io::empty())
        }
        Kind::File(content) => {
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_slice())
        }
        Kind::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, path, target)
        }
    }
}
