//! Whole builds: two are the same bytes, whoever makes them, where and when, and one that finds the disk full
//! leaves what was there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use qemu_tests::Lab;

/// Debian's `faketime`, for programs of the host: the compilers.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const OUTPUTS: [&str; 4] = ["holdfast.raw", "holdfast.raw.gz", "holdfast.qcow2", "manifest.json"];
/// Of file systems that are full while scratch files, the disk, and its other forms are written.
const SIZES: [&str; 3] = ["30M", "70M", "120M"];
const APPS: [&str; 2] = ["nginx", "probe"];

/// The image and the apps, here and as somebody else would build them: in another folder and home, with another
/// umask, locale, time zone and clock, from nothing but verified packages, with no mirror. What here comes from
/// earlier builds is compiled and unpacked anew there.
#[test]
fn full_two_builds_are_the_same_bytes() {
    assert!(Path::new(FAKETIME).exists(), "this test needs `apt-get install faketime`");
    let lab = Lab::new().unwrap();
    let place = tempfile::tempdir_in(lab.root().join("target")).unwrap();
    let (one, two) = (place.path().join("one"), place.path().join("somewhere else/two"));

    everything(&one, |arguments| {
        let mut command = Command::new(lab.builder());
        command.current_dir(lab.root()).args(arguments).env("HOLDFAST_RELOCK", "1");
        command
    });

    let copy = place.path().join("home/of/another/checkout");
    sources(&lab, &copy);
    let home = place.path().join("home");
    let cache = home.join("cache");
    fs::create_dir_all(&cache).unwrap();
    symlink(cache_of(&lab).join("sha256"), cache.join("sha256")).unwrap();
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| of_home(".cargo"), PathBuf::from);
    symlink(&cargo_home, home.join("crates")).unwrap();
    let rustup_home = std::env::var_os("RUSTUP_HOME").map_or_else(|| of_home(".rustup"), PathBuf::from);
    let cargo = without_rustc(&home);
    everything(&two, |arguments| {
        let mut command = Command::new("sh");
        command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(lab.builder()).args(arguments);
        command.arg("--cache").arg(&cache).args(["--mirror", "/nonexistent"]).current_dir(&copy);
        command.env("HOLDFAST_RELOCK", "1").env("HOME", &home).env_remove("XDG_CACHE_HOME");
        command.env("CARGO_HOME", home.join("crates")).env("RUSTUP_HOME", &rustup_home);
        command.env("CARGO_NET_OFFLINE", "true").env("RAYON_NUM_THREADS", "1");
        command.env("LC_ALL", "tr_TR.UTF-8").env("TZ", "Asia/Kathmandu").env("SOURCE_DATE_EPOCH", "1");
        command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", "+400d").env("NO_FAKE_STAT", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("CARGO", &cargo);
        command
    });

    for name in OUTPUTS {
        same(&one.join(name), &two.join(name));
    }
    for app in APPS {
        let (ours, theirs) = (files(&one.join(app)), files(&two.join(app)));
        assert_eq!(ours, theirs, "the layouts of {app}");
        ours.iter().for_each(|file| same(&one.join(app).join(file), &two.join(app).join(file)));
    }
}

/// A cargo that runs rustc with the host's clock: its allocator waits for itself for ever under the library. It
/// puts no time into what it makes; build scripts and the C compiler, which may, have the other clock.
fn without_rustc(home: &Path) -> PathBuf {
    let script = |name: &str, text: &str| {
        let path = home.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let rustc = script("rustc", "unset LD_PRELOAD; exec rustc \"$@\"");
    script("cargo", &format!("export RUSTC='{}'; exec cargo \"$@\"", rustc.display()))
}

/// Mounts a file system of so much at the folder, puts an older image there, and builds into it.
const ON_A_SMALL_DISK: &str = r#"
mount -t tmpfs -o size="$1" tmpfs "$2" && echo old > "$2/holdfast.raw" || exit 99
"$3" build --output "$2"
code=$?
ls -A "$2" && cat "$2/holdfast.raw" && exit $code
"#;

#[test]
fn full_a_full_disk_leaves_what_was_there() {
    let lab = Lab::new().unwrap();
    let output = lab.dir().join("output");
    fs::create_dir(&output).unwrap();
    for size in SIZES {
        // The mount is seen by this command only, and needs no right.
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", size]);
        command.arg(&output).arg(lab.builder()).current_dir(lab.root()).env("HOLDFAST_RELOCK", "1");
        let ended = command.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{size}: {said}");
        assert!(said.contains("No space left on device"), "{size}: {said}");
        assert_eq!(String::from_utf8_lossy(&ended.stdout), "holdfast.raw\nold\n", "{size}: {said}");
    }
}

/// Builds the image and the apps into a folder.
fn everything(output: &Path, command: impl Fn(&[&str]) -> Command) {
    let run = |arguments: &[&str], output: &Path| {
        let mut command = command(arguments);
        let status = command.arg("--output").arg(output).status().unwrap();
        assert!(status.success(), "{command:?}: {status}");
    };
    run(&["build"], output);
    APPS.iter().for_each(|app| run(&["app", "build", app], &output.join(app)));
}

/// Copies what git knows, with the modes that a checkout under umask 077 has, and what a test build has locked.
fn sources(lab: &Lab, to: &Path) {
    let listing = Command::new("git").args(["ls-files", "-z"]).current_dir(lab.root()).output().unwrap();
    assert!(listing.status.success(), "{listing:?}");
    let listing = String::from_utf8(listing.stdout).unwrap();
    let relock = fs::read_dir(lab.root().join("target/relock")).into_iter().flatten().flatten();
    let relock = relock.map(|entry| format!("target/relock/{}", entry.file_name().to_string_lossy()));
    for file in listing.split_terminator('\0').map(str::to_owned).chain(relock) {
        let (from, to) = (lab.root().join(&file), to.join(&file));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&from, &to).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mode = fs::metadata(&to).unwrap().permissions().mode() & 0o700;
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// The folder in which `holdfast-image` keeps what it has fetched.
fn cache_of(lab: &Lab) -> PathBuf {
    let tool = lab.tool_file("usr/bin/qemu-img").unwrap();
    let tools = tool.ancestors().find(|folder| folder.ends_with("tools"));
    tools.and_then(Path::parent).expect("the tools are in a cache").to_owned()
}

fn of_home(name: &str) -> PathBuf {
    std::env::home_dir().expect("HOME is set").join(name)
}

/// The files below a folder, by their path in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (vec![], vec![folder.to_owned()]);
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn same(one: &Path, two: &Path) {
    let (ours, theirs) = (fs::read(one).unwrap(), fs::read(two).unwrap());
    let first = ours.iter().zip(&theirs).position(|(a, b)| a != b);
    let first = first.or((ours.len() != theirs.len()).then_some(ours.len().min(theirs.len())));
    assert_eq!(first, None, "{} and {} differ from this byte on", one.display(), two.display());
}
