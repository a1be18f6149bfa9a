//! Power that is cut at each stage of an update, and a record of updates that is harmed: the box serves, tells
//! the truth of what it did, and takes the next update.

use std::time::{Duration, Instant};

use crate::common::follower::Follower;
use crate::common::{BOOT, CHANGE, wait_until};
use image_layout::Slot;
use image_layout::disk::Role;
use image_layout::manifest::Manifest;
use image_layout::slots::TRIES_GOOD;
use qemu_tests::{Disk, FIRST, Firmware, SECOND, Setup};
use serde_json::Value;

/// How long an update may take to come to the moment of a cut.
const STAGE: Duration = Duration::from_secs(600);
const MANUAL: &str = "policy = \"manual\"";

/// Starts an update, and cuts the power at the moment that the disk shows.
fn cut_when(follower: Follower, what: &str, reached: impl Fn(&Disk) -> bool) -> Follower {
    follower.clock();
    crate::common::settled(&follower.machine);
    let mut apply = follower.machine.cli_start(&["update", "apply"], false).unwrap();
    let end = Instant::now() + STAGE;
    while !reached(&follower.disk) {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("cut: {what}");
    let follower = follower.cut();
    apply.kill().unwrap();
    apply.wait().unwrap();
    follower
}

/// The box serves from slot a and knows of no update that came to anything.
fn nothing_happened(follower: &mut Follower) {
    follower.machine.console.wait("Holdfast: slot a on", BOOT).unwrap();
    follower.serves();
    let status = follower.status();
    assert_eq!((&status["running"], &status["last"]), (&FIRST.into(), &Value::Null), "{status}");
    assert_eq!(status["staged"], Value::Null, "{status}");
}

/// Whether slot b's root is that of the release, and its boot partition still starts with zeroes.
fn root_is_written(disk: &Disk, root: &[u8]) -> bool {
    let partition = |role| disk.partition(role).unwrap();
    let zeroes = partition(Role::Boot(Slot::B)).read(0, 4096).unwrap().iter().all(|byte| *byte == 0);
    zeroes && partition(Role::Root(Slot::B)).read(0, root.len()).unwrap() == root
}

fn cuts(firmware: Firmware) {
    let follower = Follower::new(Setup { firmware, ..Setup::default() }, MANUAL);
    let image = follower.publisher.image(SECOND);
    follower.publish(&image);
    let manifest = std::fs::read_to_string(image.join("manifest.json")).unwrap();
    let manifest: Manifest = serde_json::from_str(&manifest).unwrap();
    let release =
        Disk::of(&follower.lab, &follower.publisher.raw(SECOND), "release.raw", crate::common::DISK);
    let root = release.unwrap().partition(Role::Root(Slot::A)).unwrap();
    let root = root.read(0, manifest.root_size as usize).unwrap();

    let part = manifest.root_size * 3 / 10;
    let mut follower = cut_when(follower, "a third of the root is written", |disk| {
        let written = disk.partition(Role::Root(Slot::B)).unwrap().read(part, 4096).unwrap();
        written.iter().any(|byte| *byte != 0)
    });
    nothing_happened(&mut follower);

    let mut follower =
        cut_when(follower, "all but the first block is written", |disk| root_is_written(disk, &root));
    nothing_happened(&mut follower);

    let follower = cut_when(follower, "the boot loader was told", |disk| {
        disk.slot_states().unwrap().iter().all(|state| state.as_ref().is_some_and(|s| s.slot == Slot::B))
    });
    follower.machine.console.wait("Holdfast: slot b on", BOOT).unwrap();
    follower.machine.wait_ssh(BOOT).unwrap();
    let status = follower.status();
    assert_eq!((&status["running"], &status["state"]), (&SECOND.into(), &"on-trial".into()), "{status}");

    println!("cut: its agent answers");
    let mut follower = follower.cut();
    let restarted = format!("{SECOND} was restarted before it had proved itself");
    follower.is_back(0, SECOND, |reason| reason.starts_with(&restarted), BOOT);

    let mark = follower.apply(SECOND);
    follower.machine.console.wait_after(mark, "Holdfast: slot b on", BOOT).unwrap();
    println!("cut: before its agent answers");
    let mut follower = follower.cut();
    let never = format!("the agent of {SECOND} was never up: its initrd ran");
    follower.is_back(0, SECOND, |reason| reason == never, BOOT);

    let mut follower = cut_when(follower, "it is marked good", |disk| {
        disk.slot_states().unwrap().iter().flatten().any(|state| state.good == Slot::B)
    });
    follower.stays(0, SECOND);

    let mark = follower.machine.console.mark();
    assert_eq!(follower.text(&["update", "rollback"]), format!("the box restarts into {FIRST}"));
    follower.machine.console.wait_after(mark, "Holdfast: slot a on", BOOT).unwrap();
    follower.serves();
    let status = wait_until("a version that stays", STAGE, || {
        let status = follower.status();
        if status["last"]["version"] == FIRST { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!(status["last"]["kept"], true, "{status}");
    follower.machine.kill().unwrap();
}

#[test]
fn full_a_cut_at_each_stage_of_an_update_loses_nothing() {
    cuts(Firmware::Bios);
}

#[test]
fn full_a_cut_at_each_stage_of_an_update_loses_nothing_on_uefi() {
    cuts(Firmware::Uefi);
}

/// What may have become of the record, as the shell writes it.
const HARMS: [(&str, &str); 3] = [
    ("torn", "head -c 100 $1 >$1.x && mv $1.x $1"),
    ("zeroed", "head -c 4096 /dev/zero >$1"),
    ("of a newer format", "sed 's/\"format\": 1/\"format\": 99/' $1 >$1.x && mv $1.x $1"),
];

/// Harms the record while no agent runs, and waits until one that does says so.
fn harm(follower: &mut Follower, (what, how): (&str, &str)) {
    println!("the record is {what}");
    let said = |follower: &Follower| follower.text(&["events"]).matches("begun anew").count();
    let before = said(follower);
    let agent = |verb: &str| format!("systemctl {verb} holdfastd.service");
    let path = "set -- /var/lib/holdfast/update.json && [ -s $1 ]";
    let line = format!("{path} && {} && {how} && sync; {}", agent("stop"), agent("start"));
    follower.machine.shell(&line).unwrap();
    follower.machine.wait_ssh(CHANGE).unwrap();
    wait_until("a word on the record", CHANGE, || {
        let now = said(follower);
        if now == before + 1 { Ok(()) } else { Err(format!("said {now} times, before {before}")) }
    });
    follower.status();
}

/// Waits until the version in slot b is on trial.
fn on_trial(follower: &Follower, mark: usize, slot: Slot) {
    follower.machine.console.wait_after(mark, &format!("Holdfast: slot {slot} on"), BOOT).unwrap();
    follower.machine.wait_ssh(BOOT).unwrap();
    let status = follower.status();
    assert_eq!(status["state"], "on-trial", "{status}");
}

#[test]
fn full_a_record_that_is_harmed_is_begun_anew_and_updates_go_on() {
    let mut follower = Follower::new(Setup::default(), MANUAL);
    follower.publish(&follower.publisher.image(SECOND));
    follower.clock();
    for each in HARMS {
        // Something to harm.
        follower.machine.json(&["update", "check"], &[0]).unwrap();
        harm(&mut follower, each);
        assert_eq!(follower.status()["available"], Value::Null);
    }
    let mark = follower.apply(SECOND);
    on_trial(&follower, mark, Slot::B);
    harm(&mut follower, HARMS[0]);
    follower.serves();
    // That it is on trial is forgotten, and it is judged as any other boot.
    follower.has_state(Slot::B, [TRIES_GOOD, TRIES_GOOD]);
    wait_until("no way back any more", CHANGE, || {
        let left = follower.machine.shell("ls -1 /run/holdfast").unwrap();
        if left.lines().any(|name| name == "trial") { Err(left) } else { Ok(()) }
    });

    let third = "0.1.0.3";
    let image = follower.publisher.built(&follower.lab, third, |_| Ok(())).unwrap();
    follower.publish(&image);
    let mark = follower.apply(third);
    on_trial(&follower, mark, Slot::A);
    harm(&mut follower, HARMS[1]);
    let mut follower = follower.cut();
    follower.machine.console.wait("Holdfast: slot", BOOT).unwrap();
    follower.serves();
    let status = follower.status();
    // Cut before or after it was marked good.
    assert!(status["running"] == SECOND || status["running"] == third, "{status}");
    if status["running"] == SECOND {
        let mark = follower.apply(third);
        on_trial(&follower, mark, Slot::A);
        harm(&mut follower, HARMS[2]);
    }
    follower.serves();
    follower.has_state(Slot::A, [TRIES_GOOD, TRIES_GOOD]);
    follower.machine.kill().unwrap();
}
