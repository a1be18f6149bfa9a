//! The tar stream that `mkfs.erofs` reads: ustar headers, and PAX records for what does not fit one.

use std::io::{self, Write};

use tar::{EntryType, Header};

/// Largest id that seven octal digits hold.
const OCTAL_ID: u32 = 0o777_7777;

/// What to write of one entry, content aside.
pub(super) struct Item<'a> {
    pub(super) path: &'a [u8],
    pub(super) link: &'a [u8],
    pub(super) kind: EntryType,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: u64,
    pub(super) device: (u32, u32),
    pub(super) size: u64,
    pub(super) xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Writes an entry's headers; its content, padded by [`pad`], is the caller's.
pub(super) fn entry(out: &mut impl Write, item: &Item<'_>) -> io::Result<()> {
    let mut records = Vec::new();
    let mut header = Header::new_ustar();
    let fields = header.as_old_mut();
    if item.path.len() <= fields.name.len() {
        fields.name[..item.path.len()].copy_from_slice(item.path);
    } else {
        records.extend(record(b"path", item.path));
    }
    if item.link.len() <= fields.linkname.len() {
        fields.linkname[..item.link.len()].copy_from_slice(item.link);
    } else {
        records.extend(record(b"linkpath", item.link));
    }
    for (key, id) in [(&b"uid"[..], item.uid), (b"gid", item.gid)] {
        if id > OCTAL_ID {
            records.extend(record(key, id.to_string().as_bytes()));
        }
    }
    for (name, value) in item.xattrs {
        records.extend(record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value));
    }
    header.set_entry_type(item.kind);
    header.set_mode(item.mode);
    header.set_uid(u64::from(item.uid.min(OCTAL_ID)));
    header.set_gid(u64::from(item.gid.min(OCTAL_ID)));
    header.set_mtime(item.mtime);
    header.set_size(item.size);
    header.set_device_major(item.device.0)?;
    header.set_device_minor(item.device.1)?;
    header.set_cksum();
    if !records.is_empty() {
        extension(out, &records)?;
    }
    out.write_all(header.as_bytes())
}

/// Writes the zeroes after `size` bytes of content.
pub(super) fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    out.write_all(&[0; 512][..(size.wrapping_neg() % 512) as usize])
}

/// Ends the archive.
pub(super) fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 1024])?;
    out.flush()
}

fn extension(out: &mut impl Write, records: &[u8]) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..4].copy_from_slice(b"././");
    header.set_entry_type(EntryType::XHeader);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(records.len() as u64);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(records)?;
    pad(out, records.len() as u64)
}

/// One PAX record. Its length counts its own digits.
pub(super) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    let mut bytes = format!("{length} ").into_bytes();
    bytes.extend_from_slice(key);
    bytes.push(b'=');
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::record;

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record(b"a", b"b"), b"6 a=b\n");
        for size in 0..2000 {
            let bytes = record(b"key", &vec![b'v'; size]);
            let said: usize = String::from_utf8_lossy(&bytes).split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, bytes.len());
        }
    }
}
