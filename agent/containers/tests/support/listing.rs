//! Reading normalised streams, by another reader than the one that made them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::Read;

use tar::{Archive, EntryType};

/// What a path is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `f` file, `d` directory, `l` symbolic link, `c` `b` devices, `p` fifo.
    pub kind: char,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: u64,
    pub content: Vec<u8>,
    pub target: Vec<u8>,
    pub device: (u32, u32),
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The first path of the same file; its own path for that.
    pub same_as: Vec<u8>,
}

/// Reads a normalised stream. Panics on anything that `mkfs.erofs` does not handle right: no root first,
/// a path twice, a parent after its child, a link to nothing, content where none belongs.
pub fn read(stream: &[u8]) -> BTreeMap<Vec<u8>, Facts> {
    let mut files: BTreeMap<Vec<u8>, Facts> = BTreeMap::new();
    let mut directories = BTreeSet::new();
    let mut archive = Archive::new(stream);
    let mut records = BTreeMap::new();
    let mut index = 0;
    for entry in archive.entries().unwrap().raw(true) {
        let mut entry = entry.unwrap();
        if entry.header().entry_type() == EntryType::XHeader {
            assert!(records.is_empty(), "two extensions of one entry");
            records = pax(&mut entry);
            continue;
        }
        let records = std::mem::take(&mut records);
        let mut path = records.get("path").cloned().unwrap_or_else(|| entry.path_bytes().into_owned());
        let kind = entry.header().entry_type();
        assert_eq!(path == b"./", index == 0, "the root comes first, and once");
        assert_eq!(path.ends_with(b"/"), kind == EntryType::Directory);
        while path.last() == Some(&b'/') {
            path.pop();
        }
        if index == 0 {
            path = Vec::new();
        } else {
            let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &path[..at]);
            assert!(directories.contains(parent), "{:?} comes before its parent", lossy(&path));
            for part in path.split(|byte| *byte == b'/') {
                assert!(!matches!(part, b"" | b"." | b".."), "{:?}", lossy(&path));
            }
        }
        assert!(!files.contains_key(&path), "{:?} comes twice", lossy(&path));
        if kind != EntryType::Regular {
            assert_eq!(entry.size(), 0, "{:?} has content", lossy(&path));
        }
        let facts = facts(&mut entry, kind, &path, records, &files);
        if facts.kind == 'd' {
            directories.insert(path.clone());
        }
        files.insert(path, facts);
        index += 1;
    }
    assert!(!files.is_empty(), "no root");
    assert!(stream.ends_with(&[0; 1024]) && stream.len().is_multiple_of(512));
    files
}

fn facts(
    entry: &mut tar::Entry<'_, &[u8]>,
    kind: EntryType,
    path: &[u8],
    records: BTreeMap<String, Vec<u8>>,
    files: &BTreeMap<Vec<u8>, Facts>,
) -> Facts {
    let link = records.get("linkpath").cloned();
    let link = link.or_else(|| entry.link_name_bytes().map(|name| name.into_owned())).unwrap_or_default();
    if kind == EntryType::Link {
        let same = files.get(&link).unwrap_or_else(|| panic!("{:?} links to nothing", lossy(path)));
        assert_ne!(same.kind, 'd');
        return same.clone();
    }
    let mut xattrs = BTreeMap::new();
    let mut owner = (entry.header().uid().unwrap(), entry.header().gid().unwrap());
    for (key, value) in records {
        let number = || String::from_utf8(value.clone()).unwrap().parse().unwrap();
        match key.as_str() {
            "path" | "linkpath" => {}
            "uid" => owner.0 = number(),
            "gid" => owner.1 = number(),
            _ => {
                let name = key.strip_prefix("SCHILY.xattr.").unwrap_or_else(|| panic!("record {key}"));
                xattrs.insert(name.to_owned(), value);
            }
        }
    }
    let header = entry.header().clone();
    let mut content = Vec::new();
    entry.read_to_end(&mut content).unwrap();
    let target = match kind {
        EntryType::Symlink => link,
        _ => Vec::new(),
    };
    Facts {
        kind: match kind {
            EntryType::Regular => 'f',
            EntryType::Directory => 'd',
            EntryType::Symlink => 'l',
            EntryType::Char => 'c',
            EntryType::Block => 'b',
            EntryType::Fifo => 'p',
            other => panic!("entry of type {other:?}"),
        },
        mode: header.mode().unwrap(),
        owner,
        mtime: header.mtime().unwrap(),
        content,
        target,
        device: (header.device_major().unwrap().unwrap_or(0), header.device_minor().unwrap().unwrap_or(0)),
        xattrs,
        same_as: path.to_vec(),
    }
}

/// The records of a PAX header. The crate's own reader ends a value at its first line feed.
fn pax(entry: &mut tar::Entry<'_, &[u8]>) -> BTreeMap<String, Vec<u8>> {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).unwrap();
    let mut records = BTreeMap::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let digits = rest.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&rest[..digits]).unwrap().parse().unwrap();
        let (record, after) = rest.split_at(length);
        let (text, end) = record[digits + 1..].split_at(length - digits - 2);
        assert_eq!(end, b"\n");
        let equals = text.iter().position(|byte| *byte == b'=').unwrap();
        // A name of an attribute may be any bytes.
        let key = text[..equals].iter().map(|byte| char::from(*byte)).collect();
        assert!(records.insert(key, text[equals + 1..].to_vec()).is_none());
        rest = after;
    }
    records
}

/// A listing for people and snapshots.
pub fn show(files: &BTreeMap<Vec<u8>, Facts>) -> String {
    let mut text = String::new();
    for (path, facts) in files {
        let Facts { kind, mode, owner, mtime, .. } = facts;
        let _ = write!(text, "{kind} {mode:04o} {}:{} {mtime} /{}", owner.0, owner.1, lossy(path));
        match kind {
            'f' => {
                let _ = write!(text, " {}", brief(&facts.content));
            }
            'l' => {
                let _ = write!(text, " -> {}", lossy(&facts.target));
            }
            'c' | 'b' => {
                let _ = write!(text, " {},{}", facts.device.0, facts.device.1);
            }
            _ => {}
        }
        if facts.same_as != *path {
            let _ = write!(text, " = /{}", lossy(&facts.same_as));
        }
        for (name, value) in &facts.xattrs {
            let _ = write!(text, " [{name}={}]", lossy(value));
        }
        text.push('\n');
    }
    text
}

fn brief(content: &[u8]) -> String {
    match content.len() {
        0..=40 => format!("{:?}", lossy(content)),
        size => format!("{size} bytes {}", &agent_containers::Digest::of(content).hex()[..12]),
    }
}

pub fn lossy(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).escape_debug().collect();
    match text.len() {
        0..=120 => text,
        size => format!("{}…({size})", &text[..60]),
    }
}
