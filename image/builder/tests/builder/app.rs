//! Apps: fetching what is locked, and images that are the same each time.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::archive::{Package, package, sha256};
use crate::support::workspace::{Workspace, output};

/// One package of each compression: the name's length decides.
fn packages() -> Vec<Package> {
    vec![
        package("app", "1")
            .field("Depends", "libs, data1")
            .file("usr/sbin/app", b"program")
            .file("usr/share/doc/app/changelog", b"x"),
        package("libs", "2").file("lib/x86_64-linux-gnu/liba.so.1", b"library"),
        package("data1", "3").file("usr/share/app/data", &[7; 100_000]),
    ]
}

const CONTENT: &str = r#"
[content]
drop = ["usr/share/doc/**"]
[[users]]
name = "app"
id = 33
[files."/etc/app.conf"]
content = "port = 8080\n"
mode = "0640"
owner = "33:33"
[files."/usr/bin/alias"]
link = "../sbin/app"
[image]
entrypoint = ["/usr/sbin/app"]
command = ["-v"]
env = { MODE = "test" }
user = "33:33"
ports = ["8080/tcp"]
working_dir = "/tmp"
stop_signal = "SIGQUIT"
"#;

fn locked() -> Workspace {
    let w = Workspace::new(&[], &packages());
    w.app("app", &["app"], CONTENT);
    w.run(&["lock"]).ok();
    w
}

fn mirror(w: &Workspace) -> PathBuf {
    w.dir.path().join("mirror")
}

fn build(w: &Workspace, output: &Path) -> crate::support::workspace::Run {
    w.run(&["app", "build", "app", "--output", output.to_str().unwrap()])
}

fn json(layout: &Path, digest: &str) -> serde_json::Value {
    let name = digest.strip_prefix("sha256:").unwrap();
    let bytes = fs::read(layout.join("blobs/sha256").join(name)).unwrap();
    assert_eq!(sha256(&bytes), name);
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn an_image_holds_what_the_recipe_says() {
    let w = locked();
    let layout = w.dir.path().join("layout");
    let run = build(&w, &layout).ok();
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "test.local/app:1");
    let digest = entry["digest"].as_str().unwrap();
    assert!(run.stdout.contains(&format!("test.local/app:1@{digest}")), "{}", run.stdout);
    let manifest = json(&layout, digest);
    let config = json(&layout, manifest["config"]["digest"].as_str().unwrap());
    let expected = serde_json::json!({
        "Cmd": ["-v"], "Entrypoint": ["/usr/sbin/app"], "ExposedPorts": { "8080/tcp": {} },
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "MODE=test"],
        "StopSignal": "SIGQUIT", "User": "33:33", "WorkingDir": "/tmp",
    });
    assert_eq!(config["config"], expected);
    let (tar, diff_id) = layer(&layout, &manifest);
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{diff_id}"));
    for (path, expect) in [
        ("usr/sbin/app", "file 755 0:0 program"),
        ("usr/lib/x86_64-linux-gnu/liba.so.1", "file 755 0:0 library"),
        ("lib", "link usr/lib"),
        ("usr/bin/alias", "link ../sbin/app"),
        ("etc/app.conf", "file 640 33:33 port = 8080\n"),
        ("tmp/", "folder 1777 0:0"),
        ("usr/share/", "folder 755 0:0"),
    ] {
        assert_eq!(tar.get(path).map(String::as_str), Some(expect), "{path}");
    }
    assert!(tar["etc/passwd"].contains("\napp:x:33:33:"));
    assert!(!tar.keys().any(|path| path.contains("changelog")));
}

/// Entries of the layer in words, and the hash of the unpacked tar.
fn layer(layout: &Path, manifest: &serde_json::Value) -> (BTreeMap<String, String>, String) {
    let digest = manifest["layers"][0]["digest"].as_str().unwrap();
    let blob = fs::read(layout.join("blobs/sha256").join(&digest[7..])).unwrap();
    let mut bytes = Vec::new();
    zstd::Decoder::new(blob.as_slice()).unwrap().read_to_end(&mut bytes).unwrap();
    let mut entries = BTreeMap::new();
    for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        let owner =
            format!("{:o} {}:{}", header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        let path = String::from_utf8(entry.path_bytes().to_vec()).unwrap();
        let words = match header.entry_type() {
            tar::EntryType::Directory => format!("folder {owner}"),
            tar::EntryType::Symlink => format!("link {}", entry.link_name().unwrap().unwrap().display()),
            _ => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                format!("file {owner} {}", String::from_utf8_lossy(&content))
            }
        };
        entries.insert(path, words);
    }
    (entries, sha256(&bytes))
}

/// Every file below a folder with its mode and content.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    use std::os::unix::fs::MetadataExt;
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            let mode = path.metadata().unwrap().mode();
            let content = if path.is_dir() { vec![] } else { fs::read(&path).unwrap() };
            if path.is_dir() {
                folders.push(path.clone());
            }
            files.insert(path.strip_prefix(folder).unwrap().to_owned(), (mode, content));
        }
    }
    files
}

#[test]
fn two_builds_are_the_same_bytes_wherever_they_are_made() {
    let w = locked();
    let (one, two) = (w.dir.path().join("one"), w.dir.path().join("elsewhere/two"));
    build(&w, &one).ok();
    fs::rename(w.root(), w.dir.path().join("moved")).unwrap();
    let program = env!("CARGO_BIN_EXE_holdfast-image");
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec \"$@\"", "sh", program, "--root"]).arg(w.dir.path().join("moved"));
    command.arg("--cache").arg(w.dir.path().join("other-cache")).arg("--mirror").arg(mirror(&w));
    command.args(["app", "build", "app", "--output"]).arg(&two);
    command.env("TZ", "Asia/Kathmandu").env("LC_ALL", "tr_TR.UTF-8").env("SOURCE_DATE_EPOCH", "1");
    output(&mut command).ok();
    assert_eq!(tree(&one), tree(&two));
}

#[test]
fn a_warm_cache_needs_no_mirror() {
    let w = locked();
    let layout = w.dir.path().join("layout");
    build(&w, &layout).ok();
    fs::remove_dir_all(mirror(&w)).unwrap();
    build(&w, &layout).ok();
}

#[test]
fn a_package_changed_on_the_mirror_is_refused() {
    let w = locked();
    let deb = w.archive.deb(&packages()[0]);
    let mut bytes = fs::read(&deb).unwrap();
    bytes[100] ^= 1;
    fs::write(&deb, &bytes).unwrap();
    let before = w.cached();
    build(&w, &w.dir.path().join("layout"))
        .fails(1, &["app_1_amd64.deb` is not what was expected", "hint: "]);
    let final_name =
        w.cached().into_iter().find(|path| !before.contains(path) && fs::read(path).unwrap() == bytes);
    assert_eq!(final_name, None);
    assert!(!w.dir.path().join("layout").exists());
}

#[test]
fn a_package_changed_in_the_cache_is_never_used() {
    let w = locked();
    let layout = w.dir.path().join("layout");
    build(&w, &layout).ok();
    let before = tree(&layout);
    let good = fs::read(w.archive.deb(&packages()[0])).unwrap();
    let cached = w.cached().into_iter().find(|path| fs::read(path).unwrap() == good).unwrap();
    let mut bad = good.clone();
    bad[100] ^= 1;
    fs::write(&cached, &bad).unwrap();
    let run = build(&w, &layout).ok();
    assert!(run.stderr.contains("note: the cached app 1 is damaged and not used"), "{}", run.stderr);
    assert_eq!(fs::read(&cached).unwrap(), good, "it is fetched anew");
    assert_eq!(tree(&layout), before);
    fs::write(&cached, &bad).unwrap();
    fs::remove_dir_all(mirror(&w)).unwrap();
    build(&w, &layout).fails(1, &["app 1 is gone from the mirror"]);
    assert_eq!(tree(&layout), before, "what was built before stays");
}

#[test]
fn a_package_that_is_gone_says_what_to_run() {
    let w = locked();
    let layout = w.dir.path().join("layout");
    let mut newer = packages();
    newer[0] = package("app", "2").field("Depends", "libs").file("usr/share/doc/app/changelog", b"y");
    w.archive.publish(&newer);
    build(&w, &layout)
        .fails(1, &["app 1 is gone from the mirror", "hint: run `holdfast-image lock --update`"]);
    assert!(!layout.exists());
    let lock = w.root().join("recipes/apps/app.lock");
    let before = fs::read(&lock).unwrap();
    let arguments = ["--relock", "app", "build", "app", "--output", layout.to_str().unwrap()];
    let run = w.run(&arguments).ok();
    assert!(run.stderr.contains("note: locked anew: this build uses `"), "{}", run.stderr);
    assert_eq!(fs::read(&lock).unwrap(), before, "the repository's lock file stays");
    let text = fs::read_to_string(w.root().join("target/relock/app.lock")).unwrap();
    assert!(text.contains("name = \"app\", version = \"2\""), "{text}");
    fs::remove_dir_all(mirror(&w)).unwrap();
    let run = w.run(&arguments).ok();
    assert!(run.stderr.contains("note: locked anew earlier: this build uses `"), "{}", run.stderr);
}

#[test]
fn a_full_disk_leaves_nothing_under_a_final_name() {
    let w = Workspace::new(&[], &[package("big", "1").file("usr/share/big", &noise(3_000_000))]);
    w.app("app", &["big"], "");
    w.run(&["lock"]).ok();
    let before = w.cached();
    let layout = w.dir.path().join("layout");
    // As a shell limits it: 1 MiB a file, and an error instead of a signal.
    let full = |w: &Workspace| {
        let mut command = Command::new("sh");
        let inner = w.command(&["app", "build", "app", "--output"]);
        command.args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$@\"", "sh"]);
        command.arg(inner.get_program()).args(inner.get_args()).arg(&layout);
        output(&mut command)
    };
    full(&w).fails(1, &["failed to use the cache file", "File too large", "hint: free some space"]);
    assert_eq!(w.cached(), before, "nothing is left in the cache");
    build(&w, &w.dir.path().join("other")).ok();
    full(&w).fails(1, &["failed to access", "File too large"]);
    assert!(!layout.exists());
    let left: Vec<_> = fs::read_dir(w.dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".part-")), "{left:?}");
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn mistakes_in_a_recipe_are_told() {
    let w = locked();
    for (more, expect) in [
        ("[content]\nkeep = [\"usr/bin/nothing\"]\n", "no file of the packages matches `usr/bin/nothing`"),
        ("[files.\"/a\"]\n", "the file `/a` of the recipe needs one of `content`"),
        ("[files.\"a\"]\ncontent = \"\"\n", "the file `a` of the recipe is no absolute path"),
        ("[files.\"/a/../b\"]\ncontent = \"\"\n", "is no absolute path"),
        (
            "[files.\"/a\"]\ncontent = \"\"\nmode = \"4755\"\n",
            "has a mode that is not octal, or sets user or group",
        ),
        ("[image]\nports = [\"http\"]\n", "`http` is no port like `8080/tcp`"),
        ("[content]\nkeeps = []\n", "unknown field `keeps`"),
    ] {
        w.app("app", &["app"], more);
        build(&w, &w.dir.path().join("layout")).fails(2, &[expect]);
    }
    w.run(&["app", "build", "missing"]).fails(2, &["there is no app `missing`", "hint: there are: app"]);
    w.app("new", &["app"], "");
    w.run(&["app", "build", "new"])
        .fails(1, &["new.lock` does not exist", "hint: for this app alone: `holdfast-image lock --app "]);
}

#[test]
fn a_folder_that_is_no_layout_is_not_replaced() {
    let w = locked();
    let folder = w.dir.path().join("precious");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "mine").unwrap();
    build(&w, &folder).fails(1, &["exists and is not an image layout"]);
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "mine");
}

#[test]
fn a_hostile_package_is_refused() {
    for (path, expect) in [("../../etc/passwd", "leads out of it"), ("usr/../../x", "leads out of it")] {
        let w = Workspace::new(&[], &[package("evil", "1").file(path, b"x")]);
        w.app("app", &["evil"], "");
        w.run(&["lock"]).ok();
        build(&w, &w.dir.path().join("layout")).fails(1, &[expect]);
    }
}
