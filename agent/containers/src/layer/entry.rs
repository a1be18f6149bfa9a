//! One entry of a tar stream, with everything that its extension headers say applied.

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    Character,
    Block,
    Fifo,
}

/// An entry. Names are bytes as they stand in the stream, not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1; extension headers do not count.
    pub number: u64,
    /// Its name.
    pub path: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The twelve permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Whole seconds since 1970; earlier times become 0.
    pub mtime: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Bytes of content, holes included.
    pub size: u64,
    /// Extended attributes that are kept.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Its name for a message.
    pub fn name(&self) -> String {
        printable(&self.path)
    }
}

/// Foreign bytes for a message: no control characters, at most 200 bytes or so.
pub(super) fn printable(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(200)];
    let mut text: String = String::from_utf8_lossy(shown).escape_debug().collect();
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text
}
