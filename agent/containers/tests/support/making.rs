//! Making tar streams, good and bad, block by block.

use tar::Header;

/// A tar stream that is being made.
#[derive(Clone, Default)]
pub struct Tar {
    pub bytes: Vec<u8>,
}

/// What a header says.
#[derive(Clone)]
pub struct Item<'a> {
    pub kind: u8,
    pub name: &'a [u8],
    pub link: &'a [u8],
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub device: (u32, u32),
}

impl Default for Item<'_> {
    fn default() -> Self {
        Item {
            kind: b'0',
            name: b"",
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1_000_000_000,
            device: (0, 0),
        }
    }
}

impl Tar {
    /// One header as it is, without content.
    pub fn header(mut self, header: &Header) -> Tar {
        self.bytes.extend(header.as_bytes());
        self
    }

    /// Bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Tar {
        self.bytes.extend(bytes);
        self
    }

    /// An entry with content.
    pub fn item(self, item: Item<'_>, content: &[u8]) -> Tar {
        let header = header(&item, content.len() as u64);
        self.header(&header).content(content)
    }

    pub fn content(mut self, content: &[u8]) -> Tar {
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, content: &[u8]) -> Tar {
        self.item(Item { name: name.as_bytes(), ..Item::default() }, content)
    }

    pub fn dir(self, name: &str, mode: u32) -> Tar {
        self.item(Item { kind: b'5', name: name.as_bytes(), mode, ..Item::default() }, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Tar {
        let (name, link) = (name.as_bytes(), target.as_bytes());
        self.item(Item { kind: b'2', name, link, mode: 0o777, ..Item::default() }, b"")
    }

    pub fn link(self, name: &str, target: &str) -> Tar {
        let (name, link) = (name.as_bytes(), target.as_bytes());
        self.item(Item { kind: b'1', name, link, ..Item::default() }, b"")
    }

    pub fn device(self, kind: u8, name: &str, device: (u32, u32)) -> Tar {
        self.item(Item { kind, name: name.as_bytes(), device, ..Item::default() }, b"")
    }

    /// A PAX header for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let bytes: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.extension(b'x', &bytes)
    }

    pub fn extension(self, kind: u8, content: &[u8]) -> Tar {
        self.item(Item { kind, name: b"extension", ..Item::default() }, content)
    }

    /// The two blocks at the end.
    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).bytes
    }
}

/// A header with its checksum.
pub fn header(item: &Item<'_>, size: u64) -> Header {
    let mut header = Header::new_ustar();
    let old = header.as_old_mut();
    old.name[..item.name.len()].copy_from_slice(item.name);
    old.linkname[..item.link.len()].copy_from_slice(item.link);
    old.linkflag = [item.kind];
    header.set_mode(item.mode);
    header.set_uid(item.uid);
    header.set_gid(item.gid);
    header.set_mtime(item.mtime);
    header.set_size(size);
    header.set_device_major(item.device.0).unwrap();
    header.set_device_minor(item.device.1).unwrap();
    header.set_cksum();
    header
}

/// A PAX record.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..8).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length);
    let mut bytes = format!("{} {key}=", length.unwrap()).into_bytes();
    bytes.extend(value);
    bytes.push(b'\n');
    bytes
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that hardly compress.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}
