//! The same archives through GNU tar's extraction and through the normaliser, entry by entry.
//!
//! GNU tar makes the archives too, in each of its formats, from a tree with everything in it that an
//! ordinary user can make. Owners are compared with its listing, since only root extracts them.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use support::listing::{Facts, lossy, read};
use support::{limits, normalise};

/// Runs GNU tar and gives what it prints.
fn tar(arguments: &[&OsStr]) -> String {
    let output = Command::new("tar").env("LC_ALL", "C").env("TZ", "UTC").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn words<'a>(words: &[&'a str]) -> Vec<&'a OsStr> {
    words.iter().map(|word| OsStr::new(*word)).collect()
}

/// A tree of every kind of file. `long`: with names that the oldest format cannot hold.
fn tree(at: &Path, long: bool) {
    let file = |name: &str, content: &[u8], mode| {
        let path = at.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    for size in [0, 1, 511, 512, 513, 10_240, 70_000] {
        file(&format!("sizes/{size}"), &vec![b'a' + (size % 26) as u8; size], 0o644);
    }
    for mode in [0o400, 0o755, 0o4755, 0o2711, 0o1777, 0o600] {
        file(&format!("modes/{mode:o}"), b"x", mode);
    }
    file("names/with space", b"", 0o644);
    file("names/ünïcode", b"", 0o644);
    file("names/line\nfeed", b"", 0o644);
    if long {
        let deep = format!("{0}/{0}/{0}/{1}", "d".repeat(90), "f".repeat(250));
        file(&deep, b"deep", 0o644);
        symlink("t".repeat(300), at.join("links-long")).unwrap();
        fs::hard_link(at.join(&deep), at.join("hard-long")).unwrap();
    }
    fs::create_dir_all(at.join("links")).unwrap();
    for (name, target) in
        [("up", "../.."), ("absolute", "/etc/passwd"), ("dangling", "none"), ("self", "self")]
    {
        symlink(target, at.join("links").join(name)).unwrap();
    }
    fs::hard_link(at.join("sizes/513"), at.join("links/hard")).unwrap();
    fs::hard_link(at.join("sizes/513"), at.join("zz-hard")).unwrap();
    assert!(Command::new("mkfifo").arg(at.join("fifo")).status().unwrap().success());
    fs::create_dir(at.join("folder")).unwrap();
    fs::set_permissions(at.join("folder"), Permissions::from_mode(0o2750)).unwrap();
    let times = fs::FileTimes::new()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_234_567_890, 500_000_000));
    File::options().write(true).open(at.join("sizes/1")).unwrap().set_times(times).unwrap();
    let holes = File::create(at.join("holes")).unwrap();
    holes.write_all_at(b"begin", 0).unwrap();
    for piece in 1..30 {
        holes.write_all_at(b"piece", piece * 40_960).unwrap();
    }
    holes.set_len(2 << 20).unwrap();
}

/// What GNU tar extracts, as an ordinary user, in the form of a normalised listing.
fn extracted(archive: &Path, at: &Path) -> BTreeMap<Vec<u8>, Facts> {
    let mut arguments =
        words(&["--extract", "--preserve-permissions", "--no-same-owner", "--xattrs", "--xattrs-include=*"]);
    arguments.extend([OsStr::new("-C"), at.as_os_str(), OsStr::new("-f"), archive.as_os_str()]);
    tar(&arguments);
    let mut files = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    walk(at, b"", &mut files, &mut inodes);
    files
}

fn walk(at: &Path, name: &[u8], files: &mut BTreeMap<Vec<u8>, Facts>, inodes: &mut BTreeMap<u64, Vec<u8>>) {
    let path = at.join(OsStr::from_bytes(name));
    let metadata = fs::symlink_metadata(&path).unwrap();
    let kind = metadata.file_type();
    let mut facts = Facts {
        mode: metadata.mode() & 0o7777,
        mtime: u64::try_from(metadata.mtime()).unwrap(),
        same_as: inodes.entry(metadata.ino()).or_insert_with(|| name.to_vec()).clone(),
        ..Facts::default()
    };
    facts.kind = match kind {
        kind if kind.is_dir() => 'd',
        kind if kind.is_symlink() => 'l',
        kind if kind.is_fifo() => 'p',
        kind if kind.is_file() => 'f',
        other => panic!("{other:?}"),
    };
    match facts.kind {
        'f' => facts.content = readable(&path),
        'l' => facts.target = fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(),
        _ => {}
    }
    files.insert(name.to_vec(), facts);
    if kind.is_dir() {
        let mut names: Vec<_> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for child in names {
            let parts = if name.is_empty() { vec![] } else { vec![name] };
            walk(at, &[parts, vec![child.as_bytes()]].concat().join(&b'/'), files, inodes);
        }
    }
}

fn readable(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

/// The first name of a hard link is a matter of order: compare which names are one file.
fn one_file(files: &BTreeMap<Vec<u8>, Facts>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut first: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    for (path, facts) in files {
        first.entry(&facts.same_as).or_insert(path);
    }
    files.iter().map(|(path, facts)| (path.clone(), first[facts.same_as.as_slice()].to_vec())).collect()
}

fn compare(archive: &Path) {
    let out = tempfile::tempdir().unwrap();
    let theirs = extracted(archive, out.path());
    let ours = read(&normalise(&fs::read(archive).unwrap(), &limits()).unwrap());
    assert_eq!(one_file(&ours), one_file(&theirs), "{}", archive.display());
    for (path, theirs) in &theirs {
        let ours = &ours[path];
        let name = lossy(path);
        assert_eq!(ours.kind, theirs.kind, "{name}");
        assert!(ours.content == theirs.content, "content of {name}");
        assert_eq!(lossy(&ours.target), lossy(&theirs.target), "{name}");
        // A symbolic link has no mode of its own. The root's mode and time are those of the test's folder
        // where the archive has no entry for it.
        if theirs.kind != 'l' && !path.is_empty() {
            assert_eq!(ours.mode, theirs.mode, "mode of {name}");
            assert_eq!(ours.mtime, theirs.mtime, "time of {name}");
        }
    }
}

/// Owners as GNU tar's listing has them, in its order of entries.
fn owners_agree(archive: &Path) {
    let listing = tar(&[
        OsStr::new("--list"),
        OsStr::new("-vv"),
        OsStr::new("--numeric-owner"),
        OsStr::new("-f"),
        archive.as_os_str(),
    ]);
    let mut theirs: Vec<String> =
        listing.lines().map(|l| l.split_whitespace().nth(1).unwrap().to_owned()).collect();
    let ours = read(&normalise(&fs::read(archive).unwrap(), &limits()).unwrap());
    let mut ours: Vec<String> = ours
        .iter()
        .filter(|(path, _)| !path.is_empty())
        .map(|(_, facts)| format!("{}/{}", facts.owner.0, facts.owner.1))
        .collect();
    theirs.sort();
    ours.sort();
    assert_eq!(ours, theirs);
}

#[test]
fn every_format_of_gnu_tar() {
    for (format, long) in [("v7", false), ("oldgnu", true), ("gnu", true), ("ustar", false), ("posix", true)]
    {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        tree(&source, long);
        if matches!(format, "v7" | "ustar") {
            // The old formats leave these out.
            for name in ["fifo", "names/ünïcode"] {
                fs::remove_file(source.join(name)).unwrap();
            }
        }
        let archive = folder.path().join("archive.tar");
        let format = format!("--format={format}");
        let make = |extra: &[&str]| {
            let mut arguments = words(&["--create", "--sort=name", &format]);
            arguments.extend(words(extra));
            arguments.extend([OsStr::new("-f"), archive.as_os_str()]);
            arguments.extend([OsStr::new("-C"), source.as_os_str(), OsStr::new(".")]);
            tar(&arguments);
            compare(&archive);
        };
        make(&[]);
        match format.as_str() {
            "--format=gnu" | "--format=oldgnu" => make(&["--sparse"]),
            "--format=posix" => {
                for version in ["0.0", "0.1", "1.0"] {
                    make(&["--sparse", &format!("--sparse-version={version}")]);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn an_archive_that_was_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let archive = at.join("archive.tar");
    let add = |mode: &str, names: &[&str]| {
        let mut arguments = words(&[mode, "-C"]);
        arguments.extend([at.as_os_str(), OsStr::new("-f"), archive.as_os_str()]);
        arguments.extend(words(names));
        tar(&arguments);
    };
    fs::create_dir(at.join("d")).unwrap();
    fs::write(at.join("d/a"), "first").unwrap();
    fs::write(at.join("b"), "b").unwrap();
    fs::hard_link(at.join("b"), at.join("c")).unwrap();
    add("--create", &["d", "b", "c"]);
    fs::write(at.join("d/a"), "second, and longer").unwrap();
    fs::remove_file(at.join("b")).unwrap();
    fs::write(at.join("b"), "another b").unwrap();
    add("--append", &["d/a", "b"]);
    fs::set_permissions(at.join("d"), Permissions::from_mode(0o711)).unwrap();
    add("--append", &["--no-recursion", "d"]);
    compare(&archive);
}

#[test]
fn owners() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive.tar");
    fs::write(folder.path().join("a"), "").unwrap();
    for (format, owner) in [
        ("gnu", "7:8"),
        ("posix", "3000000:4000000"),
        ("gnu", "3000000:4000000"),
        ("ustar", "2000000:2000001"),
    ] {
        let (uid, gid) = owner.split_once(':').unwrap();
        let options = [
            format!("--format={format}"),
            format!("--owner=x:{uid}"),
            format!("--group=x:{gid}"),
            "--numeric-owner".into(),
        ];
        let mut arguments = words(&["--create"]);
        arguments.extend(options.iter().map(OsStr::new));
        arguments.extend([OsStr::new("-f"), archive.as_os_str(), OsStr::new("-C")]);
        arguments.extend([folder.path().as_os_str(), OsStr::new("a")]);
        tar(&arguments);
        owners_agree(&archive);
    }
}
