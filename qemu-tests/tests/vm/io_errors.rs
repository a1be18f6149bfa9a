//! Disks that fail or are slow: the box says so, is reached, loses nothing, and gets over it by itself.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::common::{BOOT, CHANGE, DISK, lab, out, page, probe, settled, started, text, wait_until};
use image_layout::disk::{BLOCK, Role, esp, start};
use image_layout::slots::TRIES_GOOD;
use image_layout::{Slot, SlotState};
use qemu_tests::{Disk, DiskFault, Machine, Setup};
use serde_json::Value;

/// What the kernel says of a disk that fails, and of what was on it.
const EXPECTED: [&str; 3] = ["I/O error", "EXT4-fs", "Buffer I/O"];
/// The box waits five minutes from its start, and looks once a minute.
const BY_ITSELF: Duration = Duration::from_secs(300 + 300);

fn setup(document: String) -> Setup {
    Setup { shell: true, expected: EXPECTED.into(), ..Setup::with(document) }
}

fn status(machine: &Machine) -> Value {
    machine.json(&["status"], &[0, 3]).unwrap()
}

/// Waits until the box is degraded and says these words of why.
fn says(machine: &Machine, words: &str) {
    wait_until(words, CHANGE, || {
        let status = machine.json(&["status"], &[0, 3]).map_err(|error| format!("{error:#}"))?;
        let said = status["health"] == "degraded" && status["problems"].to_string().contains(words);
        if said { Ok(()) } else { Err(status.to_string()) }
    });
}

/// Waits until this is the first of what is wrong; what is to be done about it.
fn finds(machine: &Machine, code: &str) -> String {
    wait_until(code, CHANGE, || {
        let doctor = machine.json(&["doctor"], &[0, 1, 3]).map_err(|error| format!("{error:#}"))?;
        let first = &doctor["findings"][0];
        if first["code"] == code { Ok(first["next"].to_string()) } else { Err(doctor.to_string()) }
    })
}

#[test]
fn full_data_that_takes_no_writes_any_more_comes_back_by_itself() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let mut machine = Machine::boot(&lab, &disk, &setup(page(&registry, "still here"))).unwrap();
    machine.wait_served("still here", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    settled(&machine);
    machine.shell("echo kept >/var/lib/acknowledged; sync").unwrap();

    let mark = machine.console.mark();
    machine.fail_disk(&[DiskFault::Writes]).unwrap();
    machine.shell("(echo lost >/var/lib/lost; sync) 2>/dev/null; true").unwrap();
    says(&machine, "data failed");
    let next = finds(&machine, "data-failed");
    assert!(next.contains("wait") && !next.contains("format"), "{next}");
    machine.console.wait_after(mark, "error data failed", CHANGE).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    println!("the page is served meanwhile: {}", machine.serves("still here"));
    // Nothing restarts the box while the disk fails.
    std::thread::sleep(Duration::from_secs(360).saturating_sub(machine.age()));
    assert!(!machine.console.text()[mark..].contains("starting slot"), "{}", machine.console.tail(60));
    says(&machine, "data failed");

    machine.mend_disk().unwrap();
    machine.console.wait_after(mark, "starting slot a", BY_ITSELF).unwrap();
    machine.wait_served("still here", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    settled(&machine);
    assert_eq!(machine.shell("cat /var/lib/acknowledged").unwrap(), "kept");
    machine.kill().unwrap();
}

/// Marks the data file system as one with errors, so that the next boot checks all of it.
fn mark_with_errors(disk: &Disk) {
    const ERRORS: u8 = 2;
    let data = disk.partition(Role::Data).unwrap();
    let mut superblock = data.read(1024, 1024).unwrap();
    superblock[0x3a] |= ERRORS;
    let sum = crate::disks::crc32c(&superblock[..1020]).to_le_bytes();
    superblock[1020..].copy_from_slice(&sum);
    data.write(1024, &superblock).unwrap();
}

/// Where the inode table of the first group begins, in bytes of data.
fn inode_table(disk: &Disk) -> u64 {
    let descriptor = disk.partition(Role::Data).unwrap().read(BLOCK + 8, 4).unwrap();
    u64::from(u32::from_le_bytes(descriptor.try_into().unwrap())) * BLOCK
}

#[test]
fn full_data_that_cannot_be_read_at_boot_is_not_written_over_and_comes_back_by_itself() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = setup(page(&registry, "not lost"));
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("not lost", BOOT).unwrap();
    machine.kill().unwrap();
    mark_with_errors(&disk);
    let table = inode_table(&disk);
    let inodes = || disk.partition(Role::Data).unwrap().read(table, BLOCK as usize).unwrap();
    let before = inodes();
    assert!(before.iter().any(|byte| *byte != 0));

    let faults = [DiskFault::Read(start(Role::Data) + table)];
    let mut machine = Machine::boot_after(&lab, &disk, &setup, |machine| machine.fail_disk(&faults)).unwrap();
    machine.console.wait("data unavailable", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    says(&machine, "the disk fails");
    let next = finds(&machine, "data-disk-fails");
    assert!(next.contains("wait") && next.contains("what cannot be read is lost"), "{next}");
    assert!(!next.contains("format") && !next.contains("reboot"), "{next}");
    assert!(text(&machine, &["events"]).contains("data-disk-fails"));
    assert!(inodes() == before, "what could not be read was written over");

    let mark = machine.console.mark();
    machine.mend_disk().unwrap();
    machine.console.wait_after(mark, "starting slot a", BY_ITSELF).unwrap();
    let line = started(&machine, Slot::A, mark);
    assert!(line.contains("data repaired"), "{line}");
    machine.wait_served("not lost", BOOT).unwrap();
    machine.kill().unwrap();
}

#[test]
fn full_a_copy_of_the_slot_state_that_cannot_be_had_is_done_without() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = setup(page(&registry, "one copy"));
    let first = start(Role::Esp) + esp::GRUBENV_OFFSETS[0];
    let faults = [DiskFault::Read(first), DiskFault::Write(first)];
    let mut machine = Machine::boot_after(&lab, &disk, &setup, |machine| machine.fail_disk(&faults)).unwrap();
    machine.wait_served("one copy", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    settled(&machine);
    let events = text(&machine, &["events"]);
    assert!(
        events.contains("slot-state-unwritten") && events.contains("grubenv cannot be written"),
        "{events}"
    );
    let slots = status(&machine)["slots"].clone();
    assert_eq!((&slots["good"], &slots["tries"]["a"]), (&"a".into(), &TRIES_GOOD.into()), "{slots}");
    let states = disk.slot_states().unwrap();
    assert_eq!(states[1].as_ref().map(|state| state.tries_a), Some(TRIES_GOOD), "{states:?}");

    // With the sector back, the next start makes both whole.
    machine.mend_disk().unwrap();
    let mark = machine.console.mark();
    text(&machine, &["reboot"]);
    started(&machine, Slot::A, mark);
    machine.wait_served("one copy", BOOT).unwrap();
    wait_until("both copies", CHANGE, || {
        let states = disk.slot_states().unwrap();
        if states[0].is_some() && states[0] == states[1] { Ok(()) } else { Err(format!("{states:?}")) }
    });
    machine.kill().unwrap();
}

/// Nothing reads this file at boot.
const RARE: &str = "/usr/sbin/mke2fs";

#[test]
fn full_a_root_that_cannot_be_read_is_told_and_gives_way_to_the_other_slot() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    disk.copy_slot(Slot::A).unwrap();
    let setup = setup(page(&registry, "readable"));
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("readable", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    settled(&machine);

    // One block: an error where it is read, no restart, and found by the look at the slots.
    let mark = machine.console.mark();
    let block = start(Role::Root(Slot::A)) + disk.place_in_root(&lab, Slot::A, RARE).unwrap() / BLOCK * BLOCK;
    machine.fail_disk(&[DiskFault::Read(block)]).unwrap();
    let read =
        format!("echo 3 >/proc/sys/vm/drop_caches; cat {RARE} >/dev/null 2>&1 && echo read || echo failed");
    assert_eq!(machine.shell(&read).unwrap(), "failed");
    let scrubbed = machine.json(&["update", "scrub"], &[3]).unwrap();
    assert_eq!(scrubbed["scrub"]["damaged"], 1, "{scrubbed}");
    says(&machine, "slot a");
    machine.mend_disk().unwrap();
    let scrubbed = machine.json(&["update", "scrub"], &[0]).unwrap();
    assert_eq!(scrubbed["damaged"], serde_json::json!([]), "{scrubbed}");
    assert_eq!(machine.shell(&read).unwrap(), "read");
    assert!(!machine.console.text()[mark..].contains("starting slot"), "{}", machine.console.tail(60));
    machine.kill().unwrap();

    // One that nothing goes without: the slot is tried, and left for one that has tries, as after an update.
    let updated = disk.slot_states().unwrap()[0].clone().unwrap();
    disk.set_slot_state(&SlotState { tries_b: TRIES_GOOD, ..updated }).unwrap();
    let superblock = [DiskFault::Read(start(Role::Root(Slot::A)) + 1024)];
    let machine = Machine::boot_after(&lab, &disk, &setup, |machine| machine.fail_disk(&superblock)).unwrap();
    machine.console.wait("starting slot b", BOOT).unwrap();
    let tries = machine.console.text().matches("starting slot a").count();
    assert!((1..=3).contains(&tries), "{tries}");
    machine.wait_served("readable", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    assert_eq!(status(&machine)["slots"]["running"], "b");
    machine.kill().unwrap();
}

/// Where a word first stands on a disk, in bytes.
fn place(disk: &Disk, word: &str) -> u64 {
    const CHUNK: usize = 1 << 22;
    let (file, mut bytes) = (File::open(disk.path()).unwrap(), vec![0; CHUNK + word.len()]);
    for at in (0..DISK).step_by(CHUNK) {
        let read = file.read_at(&mut bytes, at).unwrap();
        let found = bytes[..read].windows(word.len()).position(|window| window == word.as_bytes());
        if let Some(found) = found {
            return at + found as u64;
        }
    }
    panic!("`{word}` is not on the disk");
}

#[test]
fn full_a_read_error_in_a_volume_costs_what_is_in_it_and_no_more() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let volume = probe(&registry, "volumes = { data = \"/data\" }\n[recipe.volumes.data]\n");
    let mut machine = Machine::boot(&lab, &disk, &setup(page(&registry, "unharmed") + &volume)).unwrap();
    machine.wait_served("unharmed", BOOT).unwrap();
    crate::common::up(&machine, &["probe.sh"]);
    const WORD: &str = "a-word-that-is-nowhere-else";
    let inside = |machine: &Machine, line: &str| {
        machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", line]).unwrap()
    };
    // In parts: what an admin runs is noted elsewhere on the disk.
    let (begin, end) = WORD.split_at(9);
    let word = format!("a={begin}; yes ${{a}}{end} | head -n 2000 >/data/file; echo good >/data/other; sync");
    let wrote = inside(&machine, &word);
    assert!(wrote.status.success(), "{}", out(&wrote));
    let at = place(&disk, WORD);
    machine.fail_disk(&[DiskFault::Read(at)]).unwrap();
    machine.shell("sync; echo 3 >/proc/sys/vm/drop_caches").unwrap();
    let read = inside(&machine, "cat /data/file >/dev/null");
    assert!(!read.status.success(), "{}", out(&read));
    let other = inside(&machine, "cat /data/other");
    assert!(out(&other).contains("good"), "{}", out(&other));
    assert!(machine.serves("unharmed"));
    settled(&machine);
    machine.mend_disk().unwrap();
    let read = inside(&machine, &format!("a={begin}; grep -c ${{a}}{end} /data/file"));
    assert!(out(&read).contains("2000"), "{}", out(&read));
    machine.kill().unwrap();
}

#[test]
fn full_a_disk_that_does_twenty_requests_a_second_costs_time_and_nothing_else() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let document = page(&registry, "slowly");
    let mut machine = Machine::boot(&lab, &disk, &setup(document.clone())).unwrap();
    machine.wait_served("slowly", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    settled(&machine);
    let pids = "pidof holdfastd; pidof holdfast-shim; pidof sshd | tr ' ' '\\n' | sort -n | head -n 1";
    let (before, mark) = (machine.shell(pids).unwrap(), machine.console.mark());

    machine.slow_disk(20).unwrap();
    // Nothing is read from memory that was there before, and the agent has to fetch and to start something.
    machine.shell("sync; echo 3 >/proc/sys/vm/drop_caches").unwrap();
    let more = crate::common::apply(&machine, &(document.clone() + &probe(&registry, "")), &["--no-wait"]);
    assert!(more.status.success(), "{}", out(&more));
    let end = Instant::now() + Duration::from_secs(90);
    let (mut longest, mut told) = (Duration::ZERO, 0);
    while Instant::now() < end {
        let asked = Instant::now();
        told += u32::from(machine.json(&["status"], &[0, 3]).is_ok());
        longest = longest.max(asked.elapsed());
    }
    println!("the status was told {told} times, and took {longest:?} at most");
    assert!(told > 0);
    machine.slow_disk(0).unwrap();
    settled(&machine);
    assert!(machine.serves("slowly"));
    let events = text(&machine, &["events"]);
    assert!(!events.contains("unhealthy") && !events.contains("site.web ended"), "{events}");
    let after = machine.shell(pids).unwrap();
    let same = |n: usize| before.lines().nth(n) == after.lines().nth(n);
    assert!(same(0), "another agent: {before} {after}");
    assert!(after.contains(before.lines().nth(1).unwrap()), "another container: {before} {after}");
    assert!(!machine.console.text()[mark..].contains("starting slot"), "{}", machine.console.tail(60));
    // The same at boot: the watchdog has to wait.
    machine.power_off(CHANGE).unwrap();
    let mut machine =
        Machine::boot_after(&lab, &disk, &setup(document), |machine| machine.slow_disk(100)).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    assert_eq!(machine.console.text().matches("starting slot").count(), 1);
    machine.slow_disk(0).unwrap();
    machine.wait_served("slowly", BOOT).unwrap();
    machine.kill().unwrap();
}
