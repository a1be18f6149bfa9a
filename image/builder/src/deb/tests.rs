//! Packages made by code, unpacked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{DebError, entries, unpack};
use crate::fetch::digest;

/// A path, what it is, its permission bits.
type Made<'a> = (&'a str, tar::EntryType, &'a str, u32);

use tar::EntryType::{Directory, Link, Regular, Symlink};

/// A package with these entries: the text is a file's content or a link's target.
fn deb(folder: &TempDir, name: &str, entries: &[Made<'_>]) -> PathBuf {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, kind, text, mode) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(7);
        let is_file = *kind == Regular;
        header.set_size(if is_file { text.len() as u64 } else { 0 });
        if matches!(kind, Symlink | Link) {
            header.as_gnu_mut().unwrap().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, if is_file { text.as_bytes() } else { b"" }).unwrap();
    }
    write(folder, name, "data.tar", &tar.into_inner().unwrap())
}

fn write(folder: &TempDir, name: &str, member: &str, data: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    let mut builder = ar::Builder::new(fs::File::create(&path).unwrap());
    for (member, bytes) in [("debian-binary", &b"2.0\n"[..]), (member, data)] {
        builder.append(&ar::Header::new(member.into(), bytes.len() as u64), bytes).unwrap();
    }
    path
}

fn unpacked(folder: &TempDir, debs: &[PathBuf]) -> Result<PathBuf, DebError> {
    let into = folder.path().join("tree");
    fs::create_dir(&into).unwrap();
    unpack(debs.iter().map(PathBuf::as_path), &into).map(|_| into)
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_tree_is_merged_and_keeps_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let one = deb(
        &folder,
        "one.deb",
        &[
            ("./", Directory, "", 0o755),
            ("./lib/", Directory, "", 0o755),
            ("./lib/x/", Directory, "", 0o555),
            ("./lib/x/one", Regular, "one", 0o644),
            ("./usr/bin/su", Regular, "program", 0o4755),
            ("./usr/bin/also", Link, "./usr/bin/su", 0o755),
            ("./etc/alternatives/tool", Symlink, "/usr/bin/su", 0o777),
            ("./usr/lib/rel", Symlink, "x/one", 0o777),
        ],
    );
    let two = deb(&folder, "two.deb", &[("./usr/lib/x/one", Regular, "newer", 0o600)]);
    let tree = unpacked(&folder, &[one, two]).unwrap();
    assert_eq!(fs::read_link(tree.join("lib")).unwrap(), Path::new("usr/lib"));
    assert_eq!(fs::read_to_string(tree.join("usr/lib/rel")).unwrap(), "newer");
    assert_eq!(fs::read_link(tree.join("etc/alternatives/tool")).unwrap(), Path::new("../../usr/bin/su"));
    assert_eq!(fs::read_to_string(tree.join("etc/alternatives/tool")).unwrap(), "program");
    assert_eq!(mode(&tree.join("usr/bin/su")), 0o755, "setuid bits are not taken over");
    assert_eq!(mode(&tree.join("usr/lib/x")), 0o755, "folders can be written");
}

#[test]
fn the_sums_are_those_of_what_lies_there() {
    let folder = tempfile::tempdir().unwrap();
    let one = deb(
        &folder,
        "one.deb",
        &[
            ("./usr/a", Regular, "old", 0o644),
            ("./usr/b", Regular, "b", 0o644),
            ("./usr/c", Link, "usr/b", 0o644),
        ],
    );
    let two =
        deb(&folder, "two.deb", &[("./usr/a", Regular, "new", 0o644), ("./usr/b", Symlink, "a", 0o777)]);
    let into = folder.path().join("tree");
    let sums = unpack([one.as_path(), &two], &into).unwrap();
    let expected = [("usr/a", digest::sha256(b"new")), ("usr/c", digest::sha256(b"b"))];
    assert_eq!(sums.into_iter().collect::<Vec<_>>(), expected.map(|(path, sum)| (path.to_owned(), sum)));
}

#[test]
fn what_leads_out_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    let link = outside.path().to_str().unwrap();
    let up = format!("{}{}", "../".repeat(20), &link[1..]);
    let cases: [(&[Made<'_>], &str); 4] = [
        (&[("../a", Regular, "x", 0o644)], "leads out of it"),
        (&[("./a/../../b", Regular, "x", 0o644)], "leads out of it"),
        (&[("./l", Symlink, &up, 0o777), ("./l/a", Regular, "x", 0o644)], "failed to unpack"),
        (&[("./a", Link, "../../etc/passwd", 0o644)], "leads out of it"),
    ];
    for (entries, expect) in cases {
        let folder = tempfile::tempdir().unwrap();
        let error = unpacked(&folder, &[deb(&folder, "evil.deb", entries)]).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_package_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let junk = folder.path().join("junk.deb");
    fs::write(&junk, "no archive at all").unwrap();
    for (path, expect) in [
        (junk, "failed to read the package"),
        (write(&folder, "none.deb", "other", b""), "it has no data"),
        (write(&folder, "lz.deb", "data.tar.lzma", b""), "unknown compression `.lzma`"),
        (write(&folder, "cut.deb", "data.tar.xz", b"\xfd7zXZ"), "failed to read the package"),
        (deb(&folder, "device.deb", &[("./dev/x", tar::EntryType::Char, "", 0o600)]), "is of kind Char"),
    ] {
        let error = entries(&path, |_, _| Ok::<(), DebError>(())).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
}
