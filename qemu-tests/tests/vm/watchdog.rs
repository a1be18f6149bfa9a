//! A box that hangs is restarted: by its hardware's watchdog, or by the kernel's own where there is none.

use std::time::Duration;

use crate::common::{BOOT, DISK, lab, page, started};
use image_layout::slots::{TRIES_GOOD, TRIES_NEW};
use image_layout::{Slot, SlotState};
use qemu_tests::{Disk, Entry, Firmware, Lab, Machine, Setup, cpio};

/// The seconds that the initrd arms the watchdog with, and some for a slow host.
const INITRD: Duration = Duration::from_secs(120 + 90);
/// The same for systemd.
const SYSTEMD: Duration = Duration::from_secs(60 + 60);

/// What the kernel's own watchdog says when it fires; that of the hardware says nothing.
const SOFTDOG: &str = "softdog: Initiating system reboot";

/// An initrd that loads the drivers of watchdogs and then waits for ever.
fn hangs() -> Vec<u8> {
    let names = ["watchdog", "i6300esb", "softdog"];
    let list = names.map(|name| format!("/modules/{name}.ko\n")).concat() + "/hangs\n";
    cpio(&[("modules.list", Entry::File(&list)), ("hangs", Entry::Pipe)])
}

/// Slot b's initrd hangs: the box is reset, and the other slot runs.
fn hanging_initrd(watchdog: bool, firmware: Firmware) {
    let lab = Lab::new().unwrap();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    disk.copy_slot(Slot::A).unwrap();
    disk.append_to_initrd(Slot::B, &hangs()).unwrap();
    let (tries_a, tries_b) = (TRIES_GOOD, TRIES_NEW);
    let state = SlotState { slot: Slot::B, good: Slot::A, tries_a, tries_b, boot: "updated".into() };
    disk.set_slot_state(&state).unwrap();
    let machine = Machine::boot(&lab, &disk, &Setup { watchdog, firmware, ..Setup::default() }).unwrap();
    machine.console.wait("starting slot b", BOOT).unwrap();
    machine.console.wait("starting slot a", INITRD).unwrap();
    started(&machine, Slot::A, 0);
    let said = machine.console.text();
    assert!(!said.contains("Holdfast: slot b on"), "{said}");
    assert_eq!(said.contains(SOFTDOG), !watchdog, "{said}");
    machine.kill().unwrap();
}

/// A box that runs for longer than the initrd's time, and whose PID 1 then stops.
fn frozen_init(watchdog: bool, identity: &str) {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup { watchdog, shell: true, ..Setup::with(page(&registry, "back")) };
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("back", BOOT).unwrap();
    let report = machine.shell("cat /run/holdfast/initrd.json").unwrap();
    assert!(report.contains(identity), "{report}");
    std::thread::sleep(INITRD.saturating_sub(machine.age()));
    assert!(machine.serves("back"), "a box that is well was restarted");
    let mark = machine.console.mark();
    // No signal stops PID 1, but the kernel can freeze the control group that it is in.
    machine.shell("echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze").unwrap();
    machine.console.wait_after(mark, "starting slot a", SYSTEMD).unwrap();
    started(&machine, Slot::A, mark);
    assert_eq!(machine.console.text()[mark..].contains(SOFTDOG), !watchdog, "{}", machine.console.tail(60));
    machine.wait_served("back", BOOT).unwrap();
    machine.kill().unwrap();
}

#[test]
fn full_an_initrd_that_hangs_is_reset_by_hardware() {
    hanging_initrd(true, Firmware::Bios);
}

#[test]
fn full_an_initrd_that_hangs_is_reset_by_hardware_on_uefi() {
    hanging_initrd(true, Firmware::Uefi);
}

#[test]
fn full_an_initrd_that_hangs_is_reset_by_the_kernel() {
    hanging_initrd(false, Firmware::Bios);
}

#[test]
fn full_a_frozen_init_is_reset_by_hardware() {
    frozen_init(true, "i6300ESB");
}

#[test]
fn full_a_frozen_init_is_reset_by_the_kernel() {
    frozen_init(false, "Software Watchdog");
}
