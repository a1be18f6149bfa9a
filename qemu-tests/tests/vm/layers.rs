//! Images of several layers as their containers see them: what is on top, what is gone, whose it is.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{lab, out, resumed, settings, text, up};
use flate2::{Compression, write::GzEncoder};
use qemu_tests::{Lab, Machine, Registry};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Mode, user and group of an entry.
type Access = (u32, u64, u64);
const FILE: Access = (0o644, 0, 0);
const FOLDER: Access = (0o755, 0, 0);

/// `CAP_CHOWN` for whoever runs the file, as the attribute of a kernel without user namespaces has it.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A layer's tar stream in the making.
struct Layer(Builder<Vec<u8>>);

impl Layer {
    fn new() -> Layer {
        Layer(Builder::new(Vec::new()))
    }

    fn put(mut self, kind: EntryType, path: &str, access: Access, target: &str, content: &[u8]) -> Layer {
        let (mode, uid, gid) = access;
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_size(content.len() as u64);
        if !target.is_empty() {
            header.set_link_name(target).unwrap();
        }
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    fn file(self, path: &str, access: Access, content: impl AsRef<[u8]>) -> Layer {
        self.put(EntryType::Regular, path, access, "", content.as_ref())
    }

    /// Files of root's with one content.
    fn files(self, content: &str, paths: &[&str]) -> Layer {
        paths.iter().fold(self, |layer, path| layer.file(path, FILE, content))
    }

    fn folder(self, path: &str, access: Access) -> Layer {
        self.put(EntryType::Directory, path, access, "", b"")
    }

    fn symlink(self, path: &str, target: &str) -> Layer {
        self.put(EntryType::Symlink, path, (0o777, 0, 0), target, b"")
    }

    fn hard_link(self, path: &str, target: &str) -> Layer {
        self.put(EntryType::Link, path, FILE, target, b"")
    }

    /// Gives the next entry an extended attribute.
    fn attribute(mut self, name: &str, value: &[u8]) -> Layer {
        self.0.append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), value)]).unwrap();
        self
    }

    fn end(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// What the layers above change, and files that give rights.
fn lowest(busybox: &[u8]) -> Vec<u8> {
    Layer::new()
        .file("etc/passwd", FILE, "root::0:0:root:/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n")
        .folder("srv", (0o775, 7, 8))
        .file("srv/kept", (0o640, 1000, 1001), "one\n")
        .file("srv/replaced", (0o600, 3, 3), "one\n")
        .files("one\n", &["srv/order", "srv/deleted", "srv/returned", "srv/shape", "srv/gone/inner"])
        .folder("srv/opaque", (0o700, 4, 4))
        .files("one\n", &["srv/opaque/old", "srv/opaque/sub/old"])
        .folder("srv/again", (0o700, 5, 5))
        .files("one\n", &["srv/again/old", "srv/turned/inner"])
        .folder("srv/deep", (0o555, 9, 10))
        .folder("srv/deep/er", (0o2775, 11, 65_000))
        .file("srv/link-a", (0o600, 17, 18), "one\n")
        .hard_link("srv/link-b", "srv/link-a")
        .file("opt/busybox-setuid", (0o4755, 0, 0), busybox)
        .attribute("security.capability", CAPABILITY)
        .file("opt/busybox-capable", (0o755, 0, 0), busybox)
        .end()
}

/// Replaces, removes, hides and makes anew; has no entry for many of the folders that it has files in.
fn middle() -> Vec<u8> {
    Layer::new()
        .file("etc/passwd", FILE, "root::0:0:root:/:/bin/sh\napp:x:1001:1002::/:/bin/sh\n")
        .file("srv/replaced", (0o444, 33, 34), "two\n")
        .files("", &["srv/.wh.deleted", "srv/.wh.returned", "srv/.wh.gone", "srv/.wh.again"])
        .folder("srv/opaque", (0o755, 13, 14))
        .files("", &["srv/opaque/.wh..wh..opq"])
        .folder("srv/again", (0o705, 6, 6))
        .folder("srv/shape", FOLDER)
        .symlink("srv/turned", "kept")
        .files("two\n", &["srv/order", "srv/opaque/new", "srv/again/fresh", "srv/shape/inside"])
        .files("two\n", &["srv/deep/er/file", "srv/new/parents/file"])
        .end()
}

fn highest() -> Vec<u8> {
    Layer::new()
        .file("srv/returned", (0o600, 15, 16), "three\n")
        .files("three\n", &["srv/order", "srv/opaque/late"])
        .end()
}

/// Everything below is hidden: what runs is here.
fn bare(busybox: &[u8]) -> Vec<u8> {
    let layer = Layer::new()
        .files("", &[".wh..wh..opq"])
        .file("usr/bin/busybox", (0o755, 0, 0), busybox)
        .symlink("bin", "usr/bin")
        .files("bare\n", &["only"]);
    let applets = ["sh", "sleep", "true", "find", "stat", "sort", "cat", "ls", "xargs"];
    applets.iter().fold(layer, |layer, name| layer.symlink(&format!("usr/bin/{name}"), "busybox")).end()
}

/// The layout of an app with more layers on top of its own, each other one compressed.
fn stacked(lab: &Lab, app: &str, name: &str, layers: &[Vec<u8>]) -> PathBuf {
    let to = lab.dir().join(format!("layout-{name}"));
    let copied = Command::new("cp").arg("-r").arg(lab.app(app)).arg(&to).status().unwrap();
    assert!(copied.success());
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| to.join("blobs/sha256").join(&digest.as_str().unwrap()["sha256:".len()..]);
    let hex = |bytes: &[u8]| -> String { Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect() };
    let put = |kind: &str, bytes: &[u8]| {
        fs::write(to.join("blobs/sha256").join(hex(bytes)), bytes).unwrap();
        json!({ "mediaType": kind, "digest": format!("sha256:{}", hex(bytes)), "size": bytes.len() })
    };
    let mut index = read(&to.join("index.json"));
    let mut manifest = read(&blob(&index["manifests"][0]["digest"]));
    let mut config = read(&blob(&manifest["config"]["digest"]));
    for (number, layer) in layers.iter().enumerate() {
        let (suffix, bytes) = match number % 2 {
            0 => ("", layer.clone()),
            _ => ("+gzip", gzip(layer)),
        };
        let kind = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        manifest["layers"].as_array_mut().unwrap().push(put(&kind, &bytes));
        let diff_ids = config["rootfs"]["diff_ids"].as_array_mut().unwrap();
        diff_ids.push(json!(format!("sha256:{}", hex(layer))));
        config["history"].as_array_mut().unwrap().push(json!({ "created_by": format!("layer {number}") }));
    }
    let kind = |value: &Value| value["mediaType"].as_str().unwrap().to_owned();
    manifest["config"] = put(&kind(&manifest["config"]), config.to_string().as_bytes());
    index["manifests"][0] = put(&kind(&manifest), manifest.to_string().as_bytes());
    fs::write(to.join("index.json"), index.to_string()).unwrap();
    to
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An instance `probe` with these containers: name, image, what a shell runs before it sleeps, and more.
fn instance(registry: &Registry, containers: &[(&str, &str, &str, &str)]) -> String {
    let container = |(name, image, first, more): &(&str, &str, &str, &str)| {
        let image = registry.reference(image);
        format!(
            "[recipe.containers.{name}]\nimage = \"{image}\"\nstop_timeout = \"1s\"\n\
             entrypoint = [\"/bin/sh\", \"-c\", \"{first} exec sleep 1000000\"]\n{more}\n"
        )
    };
    "\n[[recipe]]\nname = \"probe\"\n".to_owned() + &containers.iter().map(container).collect::<String>()
}

/// Becomes root by a setuid file, where that is possible.
const BECOME_ROOT: &str = "/opt/busybox-setuid su -c 'echo became $(id -u)';";

#[test]
fn full_containers_see_the_layers_as_one() {
    let (lab, registry) = lab();
    let busybox = fs::read(lab.tool_file("usr/bin/busybox").unwrap()).unwrap();
    let stack = stacked(&lab, "probe", "stack", &[lowest(&busybox), middle(), highest()]);
    registry.push(&lab, &stack, "stack:1").unwrap();
    let above = Layer::new().files("above\n", &["srv/file"]).end();
    let bare = stacked(&lab, "probe", "bare", &[lowest(&busybox), bare(&busybox), above]);
    registry.push(&lab, &bare, "bare:1").unwrap();
    let containers = [
        ("sh", "stack:1", "", ""),
        ("app", "stack:1", BECOME_ROOT, "user = \"app\""),
        ("free", "stack:1", BECOME_ROOT, "user = \"app\"\nprivileged = true"),
        ("bare", "bare:1", "", ""),
    ];
    let allowed = settings(&registry).replace("[box]\n", "[box]\nallow_privileged = true\n");
    let mut machine = resumed(&lab, &(allowed + &instance(&registry, &containers)), &[]);
    up(&machine, &["probe.sh", "probe.app", "probe.free", "probe.bare"]);

    everything_is_there(&machine);
    rights(&machine);
    writes(&mut machine);
    nothing_below_an_opaque_root(&machine);
    machine.kill().unwrap();
}

fn inside(machine: &Machine, container: &str, line: &str) -> String {
    text(machine, &["exec", container, "--", "/bin/sh", "-c", line])
}

/// Lists what is below a folder: name, kind, mode and owner of each.
const LIST: &str = "find . -exec stat -c '%n %F %a %u:%g' {} + | sort";

/// The whole folder, so that nothing else is there.
const SEEN: &str = "\
. directory 775 7:8
./again directory 705 6:6
./again/fresh regular file 644 0:0
./deep directory 555 9:10
./deep/er directory 2775 11:65000
./deep/er/file regular file 644 0:0
./kept regular file 640 1000:1001
./link-a regular file 600 17:18
./link-b regular file 600 17:18
./new directory 755 0:0
./new/parents directory 755 0:0
./new/parents/file regular file 644 0:0
./opaque directory 755 13:14
./opaque/late regular file 644 0:0
./opaque/new regular file 644 0:0
./order regular file 644 0:0
./replaced regular file 444 33:34
./returned regular file 600 15:16
./shape directory 755 0:0
./shape/inside regular file 644 0:0
./turned symbolic link 777 0:0";

/// What the files of it hold.
const CONTENTS: &str = "\
./again/fresh:two
./deep/er/file:two
./kept:one
./link-a:one
./link-b:one
./new/parents/file:two
./opaque/late:three
./opaque/new:two
./order:three
./replaced:two
./returned:three
./shape/inside:two";

fn everything_is_there(machine: &Machine) {
    // Each with an upper folder of its own.
    for container in ["probe.sh", "probe.app", "probe.free"] {
        assert_eq!(inside(machine, container, &format!("cd /srv && {LIST}")), SEEN, "{container}");
    }
    let contents = "cd /srv && find . -type f -exec grep -H . {} + | sort";
    assert_eq!(inside(machine, "probe.sh", contents), CONTENTS);
    assert_eq!(inside(machine, "probe.sh", "readlink /srv/turned"), "kept");
    let links = inside(machine, "probe.sh", "stat -c '%i %h' /srv/link-a /srv/link-b");
    let links: Vec<&str> = links.lines().collect();
    assert!(links[0] == links[1] && links[0].ends_with(" 2"), "one file by two names: {links:?}");
}

/// Names of users, setuid files and capabilities of files, as a user who is not root finds them.
fn rights(machine: &Machine) {
    for container in ["probe.app", "probe.free"] {
        assert_eq!(inside(machine, container, "id -u; id -g"), "1001\n1002", "the upper layer's `app`");
    }
    let effective = |container: &str, program: &str| {
        inside(machine, container, &format!("{program} grep CapEff /proc/self/status"))
    };
    // Nothing gives rights where new ones are refused.
    assert!(out(&machine.cli(&["logs", "probe.app"]).unwrap()).contains("must be suid"));
    assert_eq!(effective("probe.app", "/opt/busybox-capable"), "CapEff:\t0000000000000000");
    // A user of a privileged container has all of them but in a program that names its own.
    assert!(text(machine, &["logs", "probe.free"]).contains("became 0"));
    assert_eq!(effective("probe.free", "/opt/busybox-capable"), "CapEff:\t0000000000000001");
    assert_ne!(effective("probe.free", ""), "CapEff:\t0000000000000001");
}

/// What is changed in one container: the whole of it, and nothing of what others see.
fn writes(machine: &mut Machine) {
    let said =
        inside(machine, "probe.sh", "cd /srv && echo more >>kept && cat kept && stat -c '%a %u:%g' kept");
    assert_eq!(said, "one\nmore\n640 1000:1001");
    // On the disk: that file alone, of the container's ids.
    let all = machine.json(&["ps"], &[0, 3]).unwrap();
    let pid = &all.as_array().unwrap().iter().find(|c| c["name"] == "probe.sh").unwrap()["pid"];
    let base = machine.shell(&format!("awk '{{ print $2 }}' /proc/{pid}/uid_map")).unwrap();
    let base: u32 = base.parse().unwrap();
    assert_ne!(base, 0);
    let upper = "/var/lib/holdfast/containers/probe.sh/upper/srv";
    assert_eq!(machine.shell(&format!("ls -A {upper}")).unwrap(), "kept");
    let owner = machine.shell(&format!("stat -c '%a %u:%g' {upper}/kept")).unwrap();
    assert_eq!(owner, format!("640 {}:{}", base + 1000, base + 1001));

    let touched = "touch /opt/busybox-setuid && stat -c '%a %u:%g' /opt/busybox-setuid";
    assert_eq!(inside(machine, "probe.sh", touched), "4755 0:0");
    let changes = "cd /srv && chmod 0500 deep && chown 19:20 deep/er && mv shape moved && rm order turned \
                   && rm -r opaque && mkdir opaque && echo mine >again/mine";
    inside(machine, "probe.sh", changes);
    let seen = inside(machine, "probe.sh", &format!("cd /srv && {LIST}"));
    let mut expected: Vec<String> = SEEN
        .lines()
        .filter(|line| !["./opaque", "./order", "./turned"].iter().any(|gone| line.starts_with(gone)))
        .map(|line| line.replace("./shape", "./moved").replace("555 9:10", "500 9:10"))
        .map(|line| line.replace("2775 11:65000", "2775 19:20"))
        .chain(["./again/mine regular file 644 0:0".into(), "./opaque directory 755 0:0".into()])
        .collect();
    expected.sort();
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
}

fn nothing_below_an_opaque_root(machine: &Machine) {
    let bare = |line: &str| inside(machine, "probe.bare", line);
    assert_eq!(bare("cat /only /srv/file"), "bare\nabove");
    // The folder's owner and mode are below, too.
    assert_eq!(bare(&format!("cd /srv && {LIST}")), ". directory 755 0:0\n./file regular file 644 0:0");
    let all = bare("cd / && ls -A | xargs; ls usr; test -e etc/passwd || echo nobody");
    assert_eq!(all, "bin dev etc only proc srv sys usr\nbin\nnobody");
}
