//! PAX extended headers: records of `LENGTH KEY=VALUE\n`.

use std::collections::BTreeMap;

use super::entry::printable;
use super::error::Problem;

/// Bytes of all attributes of an entry, with room for what stands around each in a header: `mkfs.erofs`
/// reads headers of at most 32 KiB, which have to hold two long names too.
const ATTRIBUTES: usize = 24 << 10;
/// What is counted for an attribute beside its name and value.
const AROUND: usize = 32;

/// What the records of one header say, as far as we use it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    /// Whole seconds; the fraction is dropped.
    pub(super) mtime: Option<u64>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

/// GNU's records of a sparse file, in its formats 0.0, 0.1 and 1.0.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// `GNU.sparse.size` or `GNU.sparse.realsize`.
    pub(super) size: Option<u64>,
    /// Formats 0.0 and 0.1: offset and length of each piece.
    pub(super) map: Option<Vec<(u64, u64)>>,
    /// Format 0.0: an offset whose length has not come yet.
    offset: Option<u64>,
}

impl SparseRecords {
    /// Whether any record of a sparse file was there.
    pub(super) fn any(&self) -> bool {
        *self != SparseRecords::default()
    }
}

/// Reads the records of an entry's own header.
pub(super) fn parse(bytes: &[u8]) -> Result<Records, Problem> {
    let mut records = Records::default();
    let mut xattrs = BTreeMap::new();
    each(bytes, |key, value| match key {
        b"path" => set(&mut records.path, value.to_vec()),
        b"linkpath" => set(&mut records.link, value.to_vec()),
        b"size" => set(&mut records.size, decimal(value)?),
        b"uid" => set(&mut records.uid, decimal(value)?),
        b"gid" => set(&mut records.gid, decimal(value)?),
        b"mtime" => set(&mut records.mtime, seconds(value)?),
        _ => match key.strip_prefix(b"SCHILY.xattr.") {
            Some(name) => keep_attribute(&mut xattrs, name, value),
            None => match key.strip_prefix(b"GNU.sparse.") {
                Some(name) => sparse(&mut records.sparse, name, value),
                None => Ok(()),
            },
        },
    })?;
    if records.sparse.offset.is_some() {
        return Err(Problem::Sparse);
    }
    let bytes = |(name, value): (&Vec<u8>, &Vec<u8>)| name.len() + value.len() + AROUND;
    if xattrs.iter().map(bytes).sum::<usize>() > ATTRIBUTES {
        return Err(Problem::Attributes);
    }
    records.xattrs = xattrs.into_iter().collect();
    Ok(records)
}

/// Checks a global header: comments alone are harmless. What would change every later entry is refused,
/// since no tool that makes layers writes it.
pub(super) fn check_global(bytes: &[u8]) -> Result<(), Problem> {
    each(bytes, |key, _| match key {
        b"comment" => Ok(()),
        _ => Err(Problem::Global(printable(key))),
    })
}

/// POSIX: the last of two records of a key counts.
fn set<T>(field: &mut Option<T>, value: T) -> Result<(), Problem> {
    *field = Some(value);
    Ok(())
}

fn each(bytes: &[u8], mut record: impl FnMut(&[u8], &[u8]) -> Result<(), Problem>) -> Result<(), Problem> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = rest.iter().take(21).position(|byte| *byte == b' ').ok_or(Problem::Pax)?;
        let length =
            usize::try_from(decimal(&rest[..space]).map_err(|_| Problem::Pax)?).map_err(|_| Problem::Pax)?;
        if length <= space + 1 || length > rest.len() || rest[length - 1] != b'\n' {
            return Err(Problem::Pax);
        }
        let text = &rest[space + 1..length - 1];
        let equals = text.iter().position(|byte| *byte == b'=').ok_or(Problem::Pax)?;
        if equals == 0 {
            return Err(Problem::Pax);
        }
        record(&text[..equals], &text[equals + 1..])?;
        rest = &rest[length..];
    }
    Ok(())
}

pub(super) fn decimal(text: &[u8]) -> Result<u64, Problem> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Problem::Pax);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Problem::Pax)
}

/// `[-]SECONDS[.FRACTION]`; times before 1970 become 0.
fn seconds(text: &[u8]) -> Result<u64, Problem> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = decimal(parts.next().unwrap_or_default())?;
    if !parts.next().unwrap_or_default().iter().all(u8::is_ascii_digit) {
        return Err(Problem::Pax);
    }
    Ok(if negative { 0 } else { whole })
}

/// Which attributes of a file a layer carries over: the user's, capabilities and access lists. What
/// belongs to the machine that made the layer (labels, signatures of its kernel) is dropped; what would
/// steer our overlay is refused.
fn keep_attribute(kept: &mut BTreeMap<Vec<u8>, Vec<u8>>, name: &[u8], value: &[u8]) -> Result<(), Problem> {
    if name.is_empty() || name.len() > 255 || name.contains(&0) {
        return Err(Problem::Attribute);
    }
    if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
        return Err(Problem::OverlayAttribute(printable(name)));
    }
    let carried = (name.starts_with(b"user.") && name.len() > 5)
        || matches!(name, b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default");
    if carried {
        kept.insert(name.to_vec(), value.to_vec());
    }
    Ok(())
}

fn sparse(records: &mut SparseRecords, name: &[u8], value: &[u8]) -> Result<(), Problem> {
    match name {
        b"major" => set(&mut records.major, decimal(value)?),
        b"minor" => set(&mut records.minor, decimal(value)?),
        b"name" => set(&mut records.name, value.to_vec()),
        b"size" | b"realsize" => set(&mut records.size, decimal(value)?),
        b"numblocks" => Ok(()),
        b"offset" => match records.offset.replace(decimal(value)?) {
            None => Ok(()),
            Some(_) => Err(Problem::Sparse),
        },
        b"numbytes" => {
            let offset = records.offset.take().ok_or(Problem::Sparse)?;
            records.map.get_or_insert_default().push((offset, decimal(value)?));
            Ok(())
        }
        b"map" => {
            let numbers = value
                .split(|byte| *byte == b',')
                .filter(|text| !text.is_empty())
                .map(decimal)
                .collect::<Result<Vec<u64>, Problem>>()?;
            if numbers.len() % 2 != 0 {
                return Err(Problem::Sparse);
            }
            set(&mut records.map, numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
        }
        _ => Err(Problem::Sparse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> Vec<u8> {
        super::super::writer::record(key.as_bytes(), value.as_bytes())
    }

    #[test]
    fn records_are_read_and_the_last_one_counts() {
        let bytes = [
            record("path", "a"),
            record("path", "b\nc=d"),
            record("mtime", "12.75"),
            record("uid", "4000000000"),
            record("SCHILY.xattr.user.x", "1"),
            record("SCHILY.xattr.user.x", "2"),
            record("SCHILY.xattr.security.selinux", "label"),
            record("SCHILY.xattr.trusted.other", "x"),
            record("atime", "1"),
        ]
        .concat();
        let records = parse(&bytes).unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"b\nc=d"[..]));
        assert_eq!(records.mtime, Some(12));
        assert_eq!(records.uid, Some(4_000_000_000));
        assert_eq!(records.xattrs, [(b"user.x".to_vec(), b"2".to_vec())]);
    }

    #[test]
    fn what_is_malformed_or_dangerous_is_refused() {
        for (bytes, expect) in [
            (b"5 a=b\n".to_vec(), Problem::Pax),
            (b"7 a=b\n".to_vec(), Problem::Pax),
            (b"6 a=bx".to_vec(), Problem::Pax),
            (b"6 a:b\n".to_vec(), Problem::Pax),
            (b"5 =b\n".to_vec(), Problem::Pax),
            (b"0 \n".to_vec(), Problem::Pax),
            (b"-1 a=b\n".to_vec(), Problem::Pax),
            (b"99999999999999999999 a=b\n".to_vec(), Problem::Pax),
            (record("size", "-1"), Problem::Pax),
            (record("mtime", "1.x"), Problem::Pax),
            (record("mtime", ""), Problem::Pax),
            (record("SCHILY.xattr.", "x"), Problem::Attribute),
            (
                record("SCHILY.xattr.trusted.overlay.opaque", "y"),
                Problem::OverlayAttribute("trusted.overlay.opaque".into()),
            ),
            (
                record("SCHILY.xattr.user.overlay.redirect", "/"),
                Problem::OverlayAttribute("user.overlay.redirect".into()),
            ),
            (record("GNU.sparse.offset", "1"), Problem::Sparse),
            (record("GNU.sparse.numbytes", "1"), Problem::Sparse),
            (record("GNU.sparse.map", "1,2,3"), Problem::Sparse),
            (record("GNU.sparse.surprise", "1"), Problem::Sparse),
        ] {
            assert_eq!(parse(&bytes), Err(expect), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_global_header_may_only_comment() {
        assert_eq!(check_global(&record("comment", "made by git")), Ok(()));
        assert_eq!(check_global(&record("uid", "0")), Err(Problem::Global("uid".into())));
    }
}
