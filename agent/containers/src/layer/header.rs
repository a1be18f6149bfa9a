//! The fields of a tar header: numbers in each of their forms, and what is out of range.

use tar::Header;

use super::entry::Kind;
use super::error::Problem;
use super::pax::Records;

/// The fields of a header, with PAX records applied.
pub(super) struct Fields {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: u64,
    pub(super) device: (u32, u32),
    /// Bytes in the stream.
    pub(super) stored: u64,
}

impl Fields {
    pub(super) fn read(header: &Header, pax: &Records, path: &[u8]) -> Result<Fields, Problem> {
        let block = header.as_bytes();
        let field = |name, range: std::ops::Range<usize>| number(&block[range]).ok_or(Problem::Number(name));
        let kind = match block[156] {
            0 | b'0' if path.ends_with(b"/") && !pax.sparse.any() => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Character,
            b'4' => Kind::Block,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => return Err(Problem::Type(char::from(other))),
        };
        let stored = match pax.size {
            Some(size) => size,
            None => field("size", 124..136)?,
        };
        if kind != Kind::File && stored != 0 {
            return Err(Problem::Content);
        }
        if kind != Kind::File && pax.sparse.any() {
            return Err(Problem::Sparse);
        }
        if stored > i64::MAX as u64 {
            return Err(Problem::Range("size"));
        }
        let device = if matches!(kind, Kind::Character | Kind::Block) {
            let part = |name, range| {
                field(name, range).and_then(|value| u32::try_from(value).map_err(|_| Problem::Range(name)))
            };
            device(part("devmajor", 329..337)?, part("devminor", 337..345)?)?
        } else {
            (0, 0)
        };
        Ok(Fields {
            kind,
            mode: (field("mode", 100..108)? & 0o7777) as u32,
            uid: id("uid", pax.uid, || field("uid", 108..116))?,
            gid: id("gid", pax.gid, || field("gid", 116..124))?,
            mtime: mtime(pax.mtime, &block[136..148])?,
            device,
            stored,
        })
    }
}

/// A device's numbers within what Linux knows: 12 and 20 bits.
fn device(major: u32, minor: u32) -> Result<(u32, u32), Problem> {
    if major == 0 && minor == 0 {
        return Err(Problem::RawWhiteout);
    }
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(Problem::Range("device"));
    }
    Ok((major, minor))
}

/// A user or group id; the largest 32-bit number means "none" to the kernel.
fn id(
    name: &'static str,
    pax: Option<u64>,
    field: impl FnOnce() -> Result<u64, Problem>,
) -> Result<u32, Problem> {
    let value = pax.map_or_else(field, Ok)?;
    match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(Problem::Range(name)),
    }
}

/// Whole seconds, at most what fits a header that we write; times before 1970 become 0.
fn mtime(pax: Option<u64>, field: &[u8]) -> Result<u64, Problem> {
    let negative = field[0] == 0xff;
    let value = match pax {
        Some(value) => value,
        None if negative => 0,
        None => number(field).ok_or(Problem::Number("mtime"))?,
    };
    if value < 1 << 33 { Ok(value) } else { Err(Problem::Range("mtime")) }
}

/// A numeric field: octal digits between blanks and zeroes, nothing at all for 0, or GNU's binary form
/// (first bit set, big-endian) of a number that is not negative.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let first = u64::from(field[0] & 0x7f);
        return field[1..]
            .iter()
            .try_fold(first, |value, byte| value.checked_mul(256).map(|value| value | u64::from(*byte)));
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8).map(|value| value | u64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_in_each_form() {
        for (field, expect) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777", Some(0o7777_7777)),
            (b"12 34567", Some(0o12)),
            (b"12x", None),
            (b"8", None),
            (b"-1", None),
            (b"777777777777777777777777", None),
            (b"\x80\0\0\0\0\0\x01\x02", Some(0x102)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff", Some(u64::MAX)),
            (b"\x81\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), expect, "{field:?}");
        }
    }
}
