//! Slots that rot while the box runs: found, repaired, and told of.

use std::time::Duration;

use crate::common::follower::Follower;
use crate::common::{BOOT, CHANGE, DISK, lab, page, started, text, wait_until};
use image_layout::Slot;
use image_layout::disk::Role;
use qemu_tests::{Disk, FIRST, Lab, Machine, Publisher, Registry, SECOND, Setup};
use serde_json::Value;

/// Nothing reads this file at boot.
const RARE: &str = "/usr/sbin/mke2fs";
/// Reads it from the disk, not from memory.
const READ: &str =
    "sync; echo 3 >/proc/sys/vm/drop_caches; cp /usr/sbin/mke2fs /var/copy && sync && echo read";

fn setup(document: &str) -> Setup {
    Setup { shell: true, time_server: Some(env!("CARGO_BIN_EXE_sntp").into()), ..Setup::with(document) }
}

/// Flips a byte of a slot's copy of that file; again, and it is right.
fn rot(lab: &Lab, disk: &Disk, slot: Slot) {
    let place = disk.place_in_root(lab, slot, RARE).unwrap() + 100;
    disk.partition(Role::Root(slot)).unwrap().flip(place, 1).unwrap();
}

/// The whole root of a slot.
fn root(disk: &Disk, slot: Slot) -> Vec<u8> {
    let length = image_layout::disk::partition(Role::Root(slot)).size as usize;
    disk.partition(Role::Root(slot)).unwrap().read(0, length).unwrap()
}

fn events(machine: &Machine, kind: &str) -> usize {
    text(machine, &["events", "--json"]).lines().filter(|line| line.contains(kind)).count()
}

/// Scrubs; blocks that were damaged and repaired, and the whole status.
fn scrub(machine: &Machine, code: i32) -> ((u64, u64), Value) {
    let status = machine.json(&["update", "scrub"], &[code]).unwrap();
    let count = |name: &str| status["scrub"][name].as_u64().unwrap();
    ((count("damaged"), count("repaired")), status)
}

#[test]
fn full_a_byte_that_rots_is_found_after_the_restart_and_repaired_from_the_other_slot() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    disk.copy_slot(Slot::A).unwrap();
    let whole = root(&disk, Slot::A);
    let mut machine = Machine::boot(&lab, &disk, &setup(&page(&registry, "rots"))).unwrap();
    machine.wait_served("rots", BOOT).unwrap();
    let (found, status) = scrub(&machine, 0);
    assert_eq!((found, &status["damaged"]), ((0, 0), &serde_json::json!([])));

    // Asked for, before anything reads it.
    rot(&lab, &disk, Slot::A);
    assert_eq!(scrub(&machine, 0).0, (1, 1));
    assert!(root(&disk, Slot::A) == whole);
    assert_eq!(machine.shell(READ).unwrap(), "read");
    assert_eq!((events(&machine, "slot-damaged"), events(&machine, "slot-repaired")), (1, 1));

    // Read first: the box restarts, looks by itself, and finds it.
    rot(&lab, &disk, Slot::A);
    let mark = machine.console.mark();
    machine.shell(&format!("(sleep 1; {READ}) &")).unwrap();
    machine.console.wait_after(mark, "is corrupted", CHANGE).unwrap();
    started(&machine, Slot::A, mark);
    machine.wait_ssh(BOOT).unwrap();
    wait_until("a slot that is repaired", Duration::from_secs(300), || {
        match events(&machine, "slot-repaired") {
            2 => Ok(()),
            _ => Err(text(&machine, &["events"])),
        }
    });
    assert!(root(&disk, Slot::A) == whole);
    assert_eq!(machine.shell(READ).unwrap(), "read");
    machine.kill().unwrap();
}

#[test]
fn full_a_byte_that_nobody_else_has_stays_a_problem() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let machine = Machine::boot(&lab, &disk, &setup(&page(&registry, "rots"))).unwrap();
    machine.wait_served("rots", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    rot(&lab, &disk, Slot::A);
    let (found, status) = scrub(&machine, 3);
    assert_eq!(found, (1, 0));
    assert_eq!(status["damaged"][0]["slot"], "a", "{status}");
    let status = machine.json(&["status"], &[3]).unwrap();
    assert!(status["problems"].to_string().contains("slot a"), "{status}");
    // There is no other slot to prefer.
    assert_eq!((&status["health"], &status["slots"]["good"]), (&"degraded".into(), &"a".into()), "{status}");
    // Mended from outside.
    rot(&lab, &disk, Slot::A);
    assert_eq!(scrub(&machine, 0).0, (0, 0));
    assert_eq!(events(&machine, "is whole again"), 1);
    machine.kill().unwrap();
}

#[test]
fn full_a_byte_that_rots_comes_from_the_release_or_stays_a_problem() {
    let (lab, registry) = lab();
    let publisher = Publisher::new(&lab).unwrap();
    let update = format!("\n[box.update]\nurl = \"{}\"\npolicy = \"manual\"\n", publisher.url());
    let document = page(&registry, "rots").replace("[box]\n", "[box]\nntp = [\"127.0.0.1\"]\n") + &update;
    let disk = Disk::of(&lab, &publisher.raw(FIRST), "disk.raw", DISK).unwrap();
    let whole = root(&disk, Slot::A);
    let mut machine = Machine::boot(&lab, &disk, &setup(&document)).unwrap();
    machine.wait_served("rots", BOOT).unwrap();
    wait_until("a clock that was set", CHANGE, || {
        let status = machine.json(&["status"], &[0, 3]).unwrap();
        if status["time"]["synchronized"] == true { Ok(()) } else { Err(status["time"].to_string()) }
    });
    rot(&lab, &disk, Slot::A);
    let (found, status) = scrub(&machine, 3);
    assert_eq!(found, (1, 0));
    assert_eq!(status["damaged"][0]["slot"], "a", "{status}");
    let status = machine.json(&["status"], &[3]).unwrap();
    assert_eq!(status["health"], "degraded");
    assert!(status["problems"][0].as_str().unwrap().contains("is damaged"), "{status}");
    // There is no other slot to prefer.
    assert_eq!(status["slots"]["good"], "a", "{status}");

    publisher.add(&publisher.image(FIRST)).unwrap();
    publisher.add(&publisher.image(SECOND)).unwrap();
    assert_eq!(scrub(&machine, 0).0, (1, 1));
    assert!(root(&disk, Slot::A) == whole);
    crate::common::settled(&machine);
    assert_eq!(machine.shell(READ).unwrap(), "read");
    let mark = machine.console.mark();
    text(&machine, &["reboot"]);
    started(&machine, Slot::A, mark);
    machine.wait_served("rots", BOOT).unwrap();
    assert_eq!(machine.shell(READ).unwrap(), "read");
    machine.kill().unwrap();
}

/// A box on its second version, with the one before in slot a.
fn updated(lab: &Lab, registry: &Registry) -> (Publisher, Disk, Machine, Setup) {
    let publisher = Publisher::new(lab).unwrap();
    publisher.add(&publisher.image(SECOND)).unwrap();
    let update = format!("\n[box.update]\nurl = \"{}\"\npolicy = \"manual\"\n", publisher.url());
    let document = page(registry, "rots").replace("[box]\n", "[box]\nntp = [\"127.0.0.1\"]\n") + &update;
    let setup = setup(&document);
    let disk = Disk::of(lab, &publisher.raw(FIRST), "disk.raw", DISK).unwrap();
    let machine = Machine::boot(lab, &disk, &setup).unwrap();
    machine.wait_served("rots", BOOT).unwrap();
    wait_until("a version that is switched to", CHANGE, || {
        let done = machine.cli(&["update", "apply"]).unwrap();
        if done.status.success() { Ok(()) } else { Err(crate::common::out(&done)) }
    });
    started(&machine, Slot::B, 0);
    machine.wait_served("rots", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    wait_until("a version that stays", Duration::from_secs(300), || {
        let status = machine.json(&["update"], &[0, 3]).unwrap();
        if status["last"]["kept"] == true { Ok(()) } else { Err(status.to_string()) }
    });
    (publisher, disk, machine, setup)
}

#[test]
fn full_a_slot_that_cannot_be_repaired_gives_way_to_the_version_before() {
    let (lab, registry) = lab();
    let (mut publisher, disk, machine, _) = updated(&lab, &registry);
    publisher.down().unwrap();
    // A block that the version before does not have: its own name is in it.
    let version = disk.place_in_root(&lab, Slot::B, "/usr/lib/os-release").unwrap();
    disk.partition(Role::Root(Slot::B)).unwrap().flip(version, 1).unwrap();
    let (found, status) = scrub(&machine, 3);
    assert_eq!(found, (1, 0));
    assert_eq!(status["damaged"][0]["version"], SECOND, "{status}");
    let slots = machine.json(&["status"], &[3]).unwrap()["slots"].clone();
    assert_eq!((&slots["good"], &slots["next"]), (&"a".into(), &"a".into()), "{slots}");
    publisher.up(&lab).unwrap();
    assert_eq!(scrub(&machine, 0).0, (1, 1));
    let slots = machine.json(&["status"], &[0, 3]).unwrap()["slots"].clone();
    assert_eq!((&slots["good"], &slots["next"]), (&"b".into(), &"b".into()), "{slots}");
    machine.kill().unwrap();
}

#[test]
fn full_a_slot_that_restarts_the_box_at_each_start_is_left_and_repaired() {
    let (lab, registry) = lab();
    let (_publisher, disk, machine, setup) = updated(&lab, &registry);
    let whole = root(&disk, Slot::B);
    // Read by each start of a container, soon after the agent is up.
    let shim = format!("{}/holdfast-shim", image_layout::paths::LIBEXEC);
    let place = disk.place_in_root(&lab, Slot::B, &shim).unwrap() + 100;
    machine.kill().unwrap();
    disk.partition(Role::Root(Slot::B)).unwrap().flip(place, 1).unwrap();
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    started(&machine, Slot::A, 0);
    let mark = machine.console.mark();
    let starts = machine.console.text().matches("starting slot b").count();
    assert!((1..=3).contains(&starts), "{starts}");
    machine.wait_served("rots", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    wait_until("a slot that is repaired", Duration::from_secs(300), || {
        let events = text(&machine, &["events"]);
        let told = events.contains("rolled-back") && events.contains("slot-repaired");
        if told { Ok(()) } else { Err(events) }
    });
    assert!(root(&disk, Slot::B) == whole);
    let status = machine.json(&["update"], &[0, 3]).unwrap();
    assert_eq!((&status["running"], &status["previous"]), (&FIRST.into(), &SECOND.into()), "{status}");
    assert_eq!(status["last"]["reason"], "slot b could not be started any more", "{status}");
    text(&machine, &["update", "rollback"]);
    started(&machine, Slot::B, mark);
    machine.wait_served("rots", BOOT).unwrap();
    machine.kill().unwrap();
}

#[test]
fn full_damage_of_a_release_that_failed_is_told_no_more() {
    let mut follower = Follower::new(Setup::default(), "policy = \"manual\"");
    let (bad, reason) = follower.publish_another_root();
    follower.clock();
    follower.text(&["update", "stage"]);
    let (_, status) = scrub(&follower.machine, 3);
    let damaged = &status["damaged"][0];
    assert_eq!((&damaged["slot"], &damaged["version"]), (&"b".into(), &bad.as_str().into()), "{status}");
    let mark = follower.switch(&bad);
    follower.is_back(mark, &bad, |said| said == reason, BOOT + BOOT);
    assert_eq!(follower.status()["damaged"], serde_json::json!([]));
    // It says that the box went back, and of no damage.
    let (found, status) = scrub(&follower.machine, 3);
    assert_eq!((found, &status["damaged"]), ((0, 0), &serde_json::json!([])), "{status}");
    crate::common::settled(&follower.machine);
    follower.machine.kill().unwrap();
}
