//! Which slot boots, from which disk, whatever happened to slots and slot state.

use std::time::Duration;

use crate::common::{BOOT, CHANGE, DISK, started, text, wait_until};
use image_layout::disk::{Role, boot, esp};
use image_layout::slots::{HEADER, TRIES_GOOD, TRIES_NEW};
use image_layout::{Slot, SlotState};
use qemu_tests::{Disk, Firmware, Lab, Machine, Setup};

const FIRMWARE: [Firmware; 2] = [Firmware::Bios, Firmware::Uefi];

fn setup(firmware: Firmware) -> Setup {
    Setup { firmware, ..Setup::default() }
}

/// A disk whose slot b is a copy of slot a and is to be tried first, once.
fn updated(lab: &Lab) -> Disk {
    let disk = Disk::new(lab, "disk.raw", DISK).unwrap();
    disk.copy_slot(Slot::A).unwrap();
    disk.set_slot_state(&state(TRIES_GOOD, TRIES_NEW)).unwrap();
    disk
}

fn state(tries_a: u8, tries_b: u8) -> SlotState {
    SlotState { slot: Slot::B, good: Slot::A, tries_a, tries_b, boot: "updated".into() }
}

/// Boots, waits for the slot's root, and cuts the power; what the console said.
fn boots(lab: &Lab, disk: &Disk, setup: &Setup, slot: Slot) -> String {
    let machine = Machine::boot(lab, disk, setup).unwrap();
    started(&machine, slot, 0);
    let text = machine.console.text();
    machine.kill().unwrap();
    text
}

/// Where a file of slot b's boot partition starts: `magic`, at the start of a sector after `skip`.
fn file_with(disk: &Disk, magic: &[u8]) -> u64 {
    let partition = disk.partition(Role::Boot(Slot::B)).unwrap();
    let step = 512;
    let limit = image_layout::disk::partition(Role::Boot(Slot::B)).size;
    let starts = |at: &u64| partition.read(*at, magic.len()).unwrap() == magic;
    (0..limit).step_by(step).find(starts).expect("the file is in the boot partition")
}

fn broken_root(firmware: Firmware) {
    let lab = Lab::new().unwrap();
    let disk = updated(&lab);
    // The superblock of erofs: read at once, so that the change is met at every boot.
    disk.partition(Role::Root(Slot::B)).unwrap().flip(1024 + 16, 1).unwrap();
    let said = boots(&lab, &disk, &setup(firmware), Slot::A);
    assert!(said.contains("starting slot b"), "{said}");
    assert!(said.contains("is corrupted"), "the box does not say why: {said}");
    assert!(!said.contains("Holdfast: slot b on"), "{said}");
}

#[test]
fn a_broken_root_never_runs_and_the_other_slot_does() {
    broken_root(Firmware::Bios);
}

#[test]
fn full_a_broken_root_never_runs_on_uefi() {
    broken_root(Firmware::Uefi);
}

#[test]
fn full_a_byte_that_rots_while_the_box_runs_is_never_read() {
    let lab = Lab::new().unwrap();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup { shell: true, ..Setup::default() };
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.shell("cp /usr/sbin/mke2fs /var/before && rm /var/before").unwrap();
    let root = disk.partition(Role::Root(Slot::A)).unwrap();
    root.flip(disk.place_in_root(&lab, Slot::A, "/usr/sbin/mke2fs").unwrap() + 100, 1).unwrap();
    let mark = machine.console.mark();
    // What is in memory was checked when it was read: it is let go of first.
    let read = "sync; echo 3 >/proc/sys/vm/drop_caches; cp /usr/sbin/mke2fs /var/after; sync";
    machine.shell(&format!("(sleep 1; {read}) &")).unwrap();
    machine.console.wait_after(mark, "is corrupted", CHANGE).unwrap();
    machine.console.wait_after(mark, "starting slot a", CHANGE).unwrap();
    // Nothing reads that file at boot.
    started(&machine, Slot::A, mark);
    assert_eq!(machine.shell("[ -s /var/after ] || echo unread").unwrap(), "unread");
    machine.kill().unwrap();
}

#[test]
fn full_the_new_slot_boots_and_is_marked_good() {
    let lab = Lab::new().unwrap();
    for firmware in FIRMWARE {
        let disk = updated(&lab);
        let machine = Machine::boot(&lab, &disk, &setup(firmware)).unwrap();
        started(&machine, Slot::B, 0);
        machine.console.wait("ready addresses=", BOOT).unwrap();
        let good = |s: &SlotState| s.good == Slot::B && s.slot == Slot::B && s.tries_b == TRIES_GOOD;
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while !disk.slot_states().unwrap().iter().flatten().any(good) {
            assert!(std::time::Instant::now() < end, "{:?}", disk.slot_states());
            std::thread::sleep(Duration::from_millis(200));
        }
        machine.kill().unwrap();
        let states = disk.slot_states().unwrap();
        assert!(states.iter().flatten().all(|s| s.boot != "updated"), "{states:?}");
    }
}

#[test]
fn full_a_new_slot_of_which_nothing_is_on_record_stays_once_it_is_good() {
    let lab = Lab::new().unwrap();
    let disk = updated(&lab);
    let mut machine = Machine::boot(&lab, &disk, &Setup { shell: true, ..Setup::default() }).unwrap();
    started(&machine, Slot::B, 0);
    machine.console.wait("state healthy", BOOT).unwrap();
    // Left behind, it would restart the box an hour later.
    wait_until("no way back any more", CHANGE, || {
        let left = machine.shell("ls /run/holdfast").unwrap();
        if left.lines().any(|name| name == "trial") { Err(left) } else { Ok(()) }
    });
    machine.kill().unwrap();
    for state in disk.slot_states().unwrap() {
        let state = state.expect("both copies are whole");
        assert_eq!((state.slot, state.good, state.tries_b), (Slot::B, Slot::B, TRIES_GOOD));
    }
}

#[test]
fn full_a_broken_kernel_or_initrd_is_passed_over() {
    let lab = Lab::new().unwrap();
    for firmware in FIRMWARE {
        for (what, magic, at) in
            [(boot::KERNEL, &b"MZ"[..], 0x10_0000), (boot::INITRD, &b"\x28\xb5\x2f\xfd"[..], 0x1_0000)]
        {
            let disk = updated(&lab);
            let start = file_with(&disk, magic);
            disk.partition(Role::Boot(Slot::B)).unwrap().flip(start + at, 1).unwrap();
            let said = boots(&lab, &disk, &setup(firmware), Slot::A);
            assert!(said.contains("slot b cannot be started"), "{firmware:?} {what}: {said}");
            assert!(!said.contains("starting slot b"), "{firmware:?} {what}: {said}");
        }
    }
}

fn tries_are_counted(firmware: Firmware) {
    let lab = Lab::new().unwrap();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    disk.copy_slot(Slot::A).unwrap();
    // Both slots are broken: every try of both is used, and then they are refilled.
    for slot in [Slot::A, Slot::B] {
        disk.partition(Role::Root(slot)).unwrap().flip(1024 + 16, 1).unwrap();
    }
    disk.set_slot_state(&state(TRIES_GOOD, TRIES_NEW)).unwrap();
    let machine = Machine::boot(&lab, &disk, &setup(firmware)).unwrap();
    machine.console.wait("refilling the tries", BOOT).unwrap();
    let text = machine.console.text();
    assert_eq!(text.matches("starting slot b").count(), 1, "{text}");
    assert_eq!(text.matches("starting slot a").count(), 3, "{text}");
    machine.console.wait_after(text.len(), "starting slot a, tries left: a 2", BOOT).unwrap();
    machine.kill().unwrap();
    // Mended from outside while it was off, it boots again with nothing done by hand.
    disk.partition(Role::Root(Slot::A)).unwrap().flip(1024 + 16, 1).unwrap();
    boots(&lab, &disk, &setup(firmware), Slot::A);
}

#[test]
fn full_a_slot_that_fails_is_not_tried_for_ever_and_a_good_one_three_times() {
    tries_are_counted(Firmware::Bios);
}

#[test]
fn full_tries_are_counted_on_uefi() {
    tries_are_counted(Firmware::Uefi);
}

#[test]
fn full_exhausted_slots_are_refilled_and_the_good_one_boots() {
    let lab = Lab::new().unwrap();
    for firmware in FIRMWARE {
        let disk = updated(&lab);
        disk.set_slot_state(&state(0, 0)).unwrap();
        let said = boots(&lab, &disk, &setup(firmware), Slot::A);
        assert!(said.contains("refilling the tries"), "{said}");
    }
}

/// What may happen to a copy of the slot state.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Torn,
    Zeroed,
    Missing,
}

impl Harm {
    fn apply(self, disk: &Disk, copy: usize) {
        let partition = disk.partition(Role::Esp).unwrap();
        let offset = esp::GRUBENV_OFFSETS[copy];
        match self {
            Harm::Torn => partition.write(offset + HEADER.len() as u64 + 7, &[0; 480]).unwrap(),
            Harm::Zeroed => partition.write(offset, &[0; 1024]).unwrap(),
            Harm::Missing => {
                let name = [&b"GRUBENV    "[..], &b"GRUBENV2   "[..]][copy];
                let entry = partition.find(name).unwrap();
                partition.write(entry, &[0xe5]).unwrap();
            }
        }
    }
}

fn harmed_copy(firmware: Firmware) {
    let lab = Lab::new().unwrap();
    for harm in [Harm::Torn, Harm::Zeroed, Harm::Missing] {
        for copy in [0, 1] {
            let disk = updated(&lab);
            harm.apply(&disk, copy);
            let said = boots(&lab, &disk, &setup(firmware), Slot::B);
            let read = ["(grubenv2)", "(grubenv)"][copy];
            let line = said.lines().find(|l| l.contains("starting slot b")).unwrap_or_default();
            assert!(line.contains(read), "{harm:?} {copy}: {line}");
            let states = disk.slot_states().unwrap();
            let whole = |s: &Option<SlotState>| {
                s.as_ref().is_some_and(|s| (s.slot, s.tries_a, s.tries_b) == (Slot::B, TRIES_GOOD, 0))
            };
            assert!(states.iter().all(whole), "{harm:?} {copy}: {states:?}");
            assert!(states.iter().flatten().all(|s| s.boot != "updated"), "{harm:?} {copy}: {states:?}");
        }
    }
}

#[test]
fn full_a_copy_that_is_torn_zeroed_or_missing_changes_nothing_and_is_rewritten() {
    harmed_copy(Firmware::Bios);
}

#[test]
fn full_a_copy_that_is_harmed_changes_nothing_on_uefi() {
    harmed_copy(Firmware::Uefi);
}

#[test]
fn full_with_no_state_left_a_slot_boots_and_the_other_one_is_next() {
    let lab = Lab::new().unwrap();
    for firmware in FIRMWARE {
        let disk = updated(&lab);
        Harm::Zeroed.apply(&disk, 0);
        Harm::Torn.apply(&disk, 1);
        let setup = Setup { firmware, ..Setup::with("format = 1\n") };
        let machine = Machine::boot(&lab, &disk, &setup).unwrap();
        started(&machine, Slot::A, 0);
        let (said, states) = (machine.console.text(), disk.slot_states().unwrap());
        machine.wait_ssh(BOOT).unwrap();
        let events = text(&machine, &["events"]);
        machine.kill().unwrap();
        let lost = "both copies of the slot state were lost";
        assert!(said.contains(lost), "{said}");
        assert!(events.contains(&format!(" slot-state-lost: {lost}")), "{events}");
        for state in states {
            let state = state.expect("both copies are written anew");
            assert_eq!((state.slot, state.tries_a, state.tries_b), (Slot::B, TRIES_NEW, TRIES_NEW));
        }
    }
}

#[test]
fn full_a_clone_attached_beside_it_is_not_mistaken_for_the_disk() {
    let lab = Lab::new().unwrap();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    boots(&lab, &disk, &setup(Firmware::Bios), Slot::A);
    for firmware in FIRMWARE {
        for before in [true, false] {
            let clone = disk.copy("clone.raw").unwrap();
            let untouched = clone.slot_states().unwrap();
            let setup = Setup { more_disks: vec![(clone.clone(), before)], ..setup(firmware) };
            let machine = Machine::boot(&lab, &disk, &setup).unwrap();
            let line = started(&machine, Slot::A, 0);
            let expect = if before { "on /dev/vdb" } else { "on /dev/vda" };
            assert!(line.contains(expect), "{firmware:?}, clone first: {before}: {line}");
            machine.kill().unwrap();
            assert_eq!(clone.slot_states().unwrap(), untouched, "the clone was written to");
        }
    }
}
