//! Releases that a box never switches to, one after another on one box, and last the same release unharmed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{BOOT, CHANGE, DISK, lab, out, page, started, wait_until};
use image_layout::Slot;
use image_layout::disk::Role;
use qemu_tests::{Disk, FIRST, Machine, Publisher, Registry, SECOND, Setup};
use serde_json::{Value, json};

/// A repository's files as they were.
struct Kept(PathBuf);

impl Kept {
    fn of(publisher: &Publisher, at: PathBuf) -> Kept {
        copy(publisher.repository(), &at);
        Kept(at)
    }

    fn put_back(&self, publisher: &Publisher) {
        for folder in ["metadata", "targets"] {
            fs::remove_dir_all(publisher.repository().join(folder)).unwrap();
            copy(&self.0.join(folder), &publisher.repository().join(folder));
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// The only file of a folder whose name ends so.
fn file(folder: &Path, end: &str) -> PathBuf {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> = all.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{end}: {found:?}");
    found[0].clone()
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

/// Of metadata that nobody has signed whom the box trusts for it.
const UNTRUSTED: &str = "the timestamp metadata has 0 of 1 signatures by keys that this box trusts for it";

/// `update apply` that must come to nothing, for just this reason, which `update status` has too. In it `HOST` is
/// the publisher's address, and `HASH` what a target's name begins with.
fn refuses(machine: &Machine, url: &str, reason: &str) {
    let before = machine.json(&["status"], &[0, 3]).unwrap()["slots"].clone();
    let done: Output = machine.cli(&["update", "apply"]).unwrap();
    assert_eq!(done.status.code(), Some(1), "{reason}: {}", out(&done));
    let status = machine.json(&["update"], &[0, 3]).unwrap();
    let problem = status["problem"].as_str().unwrap_or_default();
    let mut told = problem.replace(url, "HOST");
    if let Some(start) = told.find("/targets/").map(|at| at + "/targets/".len()) {
        told.replace_range(start..start + 64, "HASH");
    }
    assert_eq!(told, reason);
    assert!(String::from_utf8_lossy(&done.stderr).contains(problem), "{}", out(&done));
    assert_eq!((&status["running"], &status["state"]), (&json!(FIRST), &json!("blocked")), "{status}");
    let after = machine.json(&["status"], &[0, 3]).unwrap()["slots"].clone();
    for key in ["running", "next", "good"] {
        assert_eq!(after[key], before[key], "{reason}");
    }
    assert!(machine.serves("as before"), "{reason}");
}

/// A box with a page that follows a publisher.
fn setup(registry: &Registry, publisher: &Publisher) -> Setup {
    let update = format!("[box.update]\nurl = \"{}\"\npolicy = \"manual\"\n", publisher.url());
    let document = page(registry, "as before").replace("[box]\n", "[box]\nntp = [\"127.0.0.1\"]\n") + &update;
    let time_server = Some(env!("CARGO_BIN_EXE_sntp").into());
    Setup { shell: true, time_server, ..Setup::with(document) }
}

/// Waits until the page is served and a time server has set the clock.
fn serves(machine: &Machine) {
    machine.wait_served("as before", BOOT).unwrap();
    wait_until("a clock that was set", CHANGE, || {
        let status = machine.json(&["status"], &[0, 3]).unwrap();
        if status["time"]["synchronized"] == true { Ok(()) } else { Err(status["time"].to_string()) }
    });
}

#[test]
fn full_releases_that_are_not_what_they_should_be_are_never_switched_to() {
    let (lab, registry) = lab();
    let mut publisher = Publisher::new(&lab).unwrap();
    publisher.add(&publisher.image(SECOND)).unwrap();
    let good = Kept::of(&publisher, lab.dir().join("good"));
    let setup = setup(&registry, &publisher);
    let disk = Disk::of(&lab, &publisher.raw(FIRST), "disk.raw", DISK).unwrap();
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    serves(&machine);
    let url = publisher.url();
    let timestamp = publisher.repository().join("metadata/timestamp.json");

    edit(&timestamp, |json| json["signatures"] = json!([]));
    refuses(&machine, &url, UNTRUSTED);
    good.put_back(&publisher);

    // A stranger's repository, with keys of its own, on the same address.
    let strangers = lab.dir().join("stranger");
    let own = lab.dir().join("stranger-releases");
    let image = || {
        let mut command = Command::new(lab.builder());
        command.current_dir(lab.root()).arg("release");
        command
    };
    assert!(image().args(["keys", "init", "--keys"]).arg(&strangers).status().unwrap().success());
    let mut add = image();
    add.args(["add", "--repository"]).arg(&own).arg("--keys").arg(&strangers);
    assert!(add.arg(publisher.image(SECOND)).status().unwrap().success());
    fs::copy(own.join("metadata/timestamp.json"), &timestamp).unwrap();
    refuses(&machine, &url, UNTRUSTED);
    good.put_back(&publisher);

    let blocks = file(&publisher.repository().join("targets"), "-root.blocks");
    let bytes = fs::read(&blocks).unwrap();
    fs::write(&blocks, &bytes[..bytes.len() / 2]).unwrap();
    let (has, signed) = (bytes.len() / 2, bytes.len());
    let target = "holdfast-0.1.0.2-root.blocks";
    let short = format!("`HOST/targets/HASH.{target}` has {has} bytes, and {signed} were signed");
    refuses(&machine, &url, &short);
    let wrong: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    fs::write(&blocks, wrong).unwrap();
    refuses(&machine, &url, &format!("block 0 of `{target}` cannot be unpacked"));
    good.put_back(&publisher);

    // What a staging that was given up left of the other slot cannot be started.
    let boot = disk.partition(Role::Boot(Slot::B)).unwrap();
    assert!(boot.read(0, 512).unwrap().iter().all(|byte| *byte == 0));

    // Staged, and changed on the disk behind the box's back.
    let staged = machine.json(&["update", "stage"], &[0]).unwrap();
    assert_eq!(staged["staged"]["version"], SECOND, "{staged}");
    let root = disk.partition(Role::Root(Slot::B)).unwrap();
    root.flip(5_000_000, 1).unwrap();
    publisher.down().unwrap();
    refuses(&machine, &url, "target-root is not what was staged: it has changed since");
    publisher.up(&lab).unwrap();

    // Older metadata than the box has seen, and metadata of two times side by side.
    let other = ["point", "--channel", "other", "--keys"];
    publisher.release(&other, &[&publisher.keys(), Path::new(SECOND)]).unwrap();
    machine.json(&["update", "check"], &[0]).unwrap();
    let refreshed = Kept::of(&publisher, lab.dir().join("refreshed"));
    good.put_back(&publisher);
    refuses(&machine, &url, "the timestamp metadata has version 1, and this box has seen version 2");
    refreshed.put_back(&publisher);
    let metadata = publisher.repository().join("metadata");
    fs::copy(metadata.join("1.snapshot.json"), metadata.join("2.snapshot.json")).unwrap();
    refuses(&machine, &url, "`HOST/metadata/2.snapshot.json` is not what the signed metadata says");
    refreshed.put_back(&publisher);

    // A key that was taken from its role signs once more.
    let stolen = lab.dir().join("stolen");
    copy(&publisher.keys(), &stolen);
    let keys = lab.dir().join("keys");
    copy(&publisher.keys(), &keys);
    publisher.release(&["keys", "rotate", "--role", "timestamp", "--keys"], &[&keys]).unwrap();
    let rotated = Kept::of(&publisher, lab.dir().join("rotated"));
    refreshed.put_back(&publisher);
    publisher.release(&["refresh", "--keys"], &[&stolen]).unwrap();
    publisher.release(&["refresh", "--keys"], &[&stolen]).unwrap();
    let forged = fs::read(&timestamp).unwrap();
    rotated.put_back(&publisher);
    fs::write(&timestamp, forged).unwrap();
    refuses(&machine, &url, UNTRUSTED);
    rotated.put_back(&publisher);

    // Nobody refreshed it for a month.
    machine.shell("date -s @$(( $(date +%s) + 2592000 ))").unwrap();
    refuses(&machine, &url, "the timestamp metadata has expired: the publisher has to refresh it");
    machine.shell("date -s @$(( $(date +%s) - 2592000 ))").unwrap();

    // Signed in all honesty, and older than what runs: nothing is done.
    let older = publisher.changed(&lab, "0.1.0.0", |_| Ok(())).unwrap();
    publisher.release(&["add", "--allow-older", "--keys"], &[&keys, &older]).unwrap();
    let slots = || machine.json(&["status"], &[0, 3]).unwrap()["slots"].clone();
    let before = slots();
    let done = machine.cli(&["update", "apply"]).unwrap();
    assert!(done.status.success(), "{}", out(&done));
    let status = machine.json(&["update"], &[0, 3]).unwrap();
    let reason = "the channel has 0.1.0.0, which is older than what runs: a box goes back only when told";
    assert_eq!((&status["problem"], &status["running"]), (&json!(reason), &json!(FIRST)), "{status}");
    assert_eq!(slots(), before);
    publisher.release(&["point", "--keys"], &[&keys, Path::new(SECOND)]).unwrap();

    stays(&machine);
}

/// The release is whole: it is switched to, and proves itself.
fn stays(machine: &Machine) {
    let mark = machine.console.mark();
    let done = machine.cli(&["update", "apply"]).unwrap();
    assert!(done.status.success(), "{}", out(&done));
    started(machine, Slot::B, mark);
    machine.wait_ssh(BOOT).unwrap();
    wait_until("a version that stays", BOOT, || {
        let status = machine.json(&["update"], &[0, 3]).unwrap();
        if status["last"]["kept"] == true { Ok(()) } else { Err(status.to_string()) }
    });
    assert!(machine.serves("as before"));
}

#[test]
fn full_a_release_that_is_too_big_for_its_slot_is_never_switched_to() {
    let (lab, registry) = lab();
    let publisher = Publisher::new(&lab).unwrap();
    publisher.add(&publisher.image(SECOND)).unwrap();
    let disk = Disk::of(&lab, &publisher.raw(FIRST), "disk.raw", DISK).unwrap();
    let size = fs::read_to_string(publisher.image(SECOND).join("manifest.json")).unwrap();
    let size = serde_json::from_str::<Value>(&size).unwrap()["root_size"].as_u64().unwrap();
    // The last whole MiB below it.
    let small = (size - 1) >> 20 << 20;
    let whole = image_layout::disk::partition(Role::Root(Slot::B)).size;
    disk.resize_partition(Role::Root(Slot::B), small).unwrap();
    let setup = setup(&registry, &publisher);
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    serves(&machine);
    refuses(
        &machine,
        &publisher.url(),
        &format!("the root image has {size} bytes, and target-root has {small}"),
    );
    machine.power_off(CHANGE).unwrap();

    disk.resize_partition(Role::Root(Slot::B), whole).unwrap();
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    serves(&machine);
    stays(&machine);
}
