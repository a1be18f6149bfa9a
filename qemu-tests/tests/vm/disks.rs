//! The disk: every bus, every size, damaged tables, data in ruins.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::common::{BOOT, CHANGE, DISK, lab, out, page, started, text};
use image_layout::Slot;
use image_layout::disk::{BLOCK, MAX_DISK, MIN_DISK, Role, SECTOR, start};
use qemu_tests::{Bus, Disk, Firmware, Lab, Machine, Setup};

#[test]
fn full_every_bus_boots() {
    let lab = Lab::new().unwrap();
    for (bus, node) in [
        (Bus::VirtioBlk, "/dev/vda,"),
        (Bus::VirtioScsi, "/dev/sda,"),
        (Bus::Nvme, "/dev/nvme0n1,"),
        (Bus::Sata, "/dev/sda,"),
    ] {
        for firmware in [Firmware::Bios, Firmware::Uefi] {
            let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
            let setup = Setup { bus, firmware, ..Setup::default() };
            let machine = Machine::boot(&lab, &disk, &setup).unwrap();
            let line = started(&machine, Slot::A, 0);
            assert!(line.contains(node) && line.contains("data ok"), "{bus:?} {firmware:?}: {line}");
            machine.kill().unwrap();
        }
    }
}

/// Blocks that the ext4 of data says it has.
fn data_blocks(disk: &Disk) -> u64 {
    let superblock = disk.partition(Role::Data).unwrap().read(1024, 1024).unwrap();
    let word = |at: usize| u64::from(u32::from_le_bytes(superblock[at..at + 4].try_into().unwrap()));
    word(0x4) | word(0x150) << 32
}

fn data_grows(firmware: Firmware, sizes: &[u64]) {
    let lab = Lab::new().unwrap();
    for &size in sizes {
        let disk = Disk::new(&lab, "disk.raw", size).unwrap();
        for boot in ["first", "second"] {
            let setup = Setup { firmware, ..Setup::default() };
            let machine = Machine::boot(&lab, &disk, &setup).unwrap();
            let line = started(&machine, Slot::A, 0);
            assert!(line.contains("data ok"), "{size}, {boot}: {line}");
            machine.kill().unwrap();
            let room = size - start(Role::Data);
            let used = data_blocks(&disk) * BLOCK;
            assert!(used <= room && used + (256 << 20) > room, "{size}, {boot}: {used} of {room}");
        }
    }
}

#[test]
fn full_data_grows_to_the_end_of_small_and_large_disks() {
    data_grows(Firmware::Bios, &[MIN_DISK, 40 << 30, MAX_DISK]);
}

#[test]
fn full_data_grows_to_the_end_of_small_and_large_disks_on_uefi() {
    data_grows(Firmware::Uefi, &[MIN_DISK, MAX_DISK]);
}

/// The disk, and where one of its sectors begins, counted from its end when negative.
fn sector(disk: &Disk, number: i64) -> (File, u64) {
    let file = File::options().read(true).write(true).open(disk.path()).unwrap();
    let sectors = (file.metadata().unwrap().len() / SECTOR) as i64;
    (file, (if number < 0 { sectors + number } else { number }) as u64 * SECTOR)
}

/// The headers of both partition tables.
fn headers(disk: &Disk) -> [[u8; SECTOR as usize]; 2] {
    [1, -1].map(|number| {
        let ((file, at), mut header) = (sector(disk, number), [0; SECTOR as usize]);
        file.read_exact_at(&mut header, at).unwrap();
        header
    })
}

/// Flips a byte in a sector of the disk.
fn flip(disk: &Disk, number: i64, byte: u64) {
    let ((file, at), mut value) = (sector(disk, number), [0]);
    file.read_exact_at(&mut value, at + byte).unwrap();
    file.write_all_at(&[!value[0]], at + byte).unwrap();
}

/// Each table is damaged in turn, and is repaired from the other while the box boots.
fn table_repaired(firmware: Firmware) {
    let lab = Lab::new().unwrap();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    // What the console said until the slot started, and the events of all boots.
    let boot = || {
        let setup = Setup { firmware, ..Setup::with("format = 1\n") };
        let machine = Machine::boot(&lab, &disk, &setup).unwrap();
        let line = started(&machine, Slot::A, 0);
        let said = machine.console.text();
        assert!(line.contains("data ok"), "{line}");
        machine.wait_ssh(BOOT).unwrap();
        let events = text(&machine, &["events"]);
        machine.power_off(CHANGE).unwrap();
        (said, events)
    };
    let repairs = |events: &str| events.lines().filter(|line| line.contains(" partition-table")).count();
    boot();
    let whole = headers(&disk);
    // The disk's GUID: GRUB does not look at checksums, the kernel does.
    for (sector, said) in
        [(1, "the primary table was damaged"), (-1, "the backup table was damaged or missing")]
    {
        flip(&disk, sector, 60);
        // OVMF repairs tables too, before anything of the box runs.
        let (console, events) = boot();
        let event = format!(" partition-table: partition table rewritten: {said}");
        assert!(firmware == Firmware::Uefi || console.contains(said), "{said}");
        assert!(firmware == Firmware::Uefi || events.contains(&event), "{events}");
        assert!(headers(&disk) == whole, "{said}: it is not as it was");
        let (console, after) = boot();
        assert!(!console.contains("partition table"), "the table is repaired once");
        assert_eq!(repairs(&after), repairs(&events), "{after}");
    }
}

#[test]
fn full_a_damaged_partition_table_is_repaired_from_the_other() {
    table_repaired(Firmware::Bios);
}

#[test]
fn full_a_damaged_partition_table_is_repaired_from_the_other_on_uefi() {
    table_repaired(Firmware::Uefi);
}

/// A box whose data cannot be read: reachable, and nothing is written to data until its owner says so.
fn ruined_data(firmware: Firmware) {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup { firmware, ..Setup::with(page(&registry, "back again")) };
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("back again", BOOT).unwrap();
    machine.kill().unwrap();
    // Superblocks and group descriptors with all their copies.
    let data = disk.partition(Role::Data).unwrap();
    for offset in (0..180 << 20).step_by(1 << 20) {
        data.write(offset, &[0xa5; 1 << 20]).unwrap();
    }
    let file = File::options().write(true).open(disk.path()).unwrap();
    for offset in (180 << 20..DISK - start(Role::Data) - (4 << 20)).step_by(1 << 20) {
        file.write_all_at(&[0xa5; 64 << 10], start(Role::Data) + offset).unwrap();
    }
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.console.wait("data unavailable", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let status = machine.json(&["status"], &[0, 3]).unwrap();
    assert!(status.to_string().contains("unavailable"), "{status}");
    let doctor = machine.json(&["doctor"], &[1]).unwrap();
    assert_eq!(doctor["findings"][0]["code"], "data-unavailable", "{doctor:#}");
    for part in ["holdfast data check", "holdfast data format --destroy", "access-host-key-temporary"] {
        assert!(doctor.to_string().contains(part), "{part}: {doctor:#}");
    }
    let check = machine.cli(&["data", "check"]).unwrap();
    assert_ne!(check.status.code(), Some(0), "{}", out(&check));
    let refused = machine.cli(&["data", "format"]).unwrap();
    assert_ne!(refused.status.code(), Some(0), "{}", out(&refused));
    assert_eq!(data.read(64 << 20, 16).unwrap(), [0xa5; 16], "something was written to data");
    let format = machine.cli(&["data", "format", "--destroy"]).unwrap();
    assert_eq!(format.status.code(), Some(0), "{}", out(&format));
    let mark = machine.console.mark();
    // The connection may be cut before the answer.
    let _ = machine.cli(&["reboot"]).unwrap();
    let line = started(&machine, Slot::A, mark);
    assert!(line.contains("data ok"), "{line}");
    machine.wait_served("back again", BOOT + CHANGE).unwrap();
    machine.kill().unwrap();
}

#[test]
fn full_ruined_data_is_never_formatted_by_the_box_and_comes_back_by_its_owner() {
    ruined_data(Firmware::Bios);
}

#[test]
fn full_ruined_data_comes_back_by_its_owner_on_uefi() {
    ruined_data(Firmware::Uefi);
}

#[test]
fn full_errors_in_data_are_repaired_and_said() {
    let lab = Lab::new().unwrap();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let boot = || {
        let machine = Machine::boot(&lab, &disk, &Setup::with("format = 1\n")).unwrap();
        let line = started(&machine, Slot::A, 0);
        machine.wait_ssh(BOOT).unwrap();
        let events = text(&machine, &["events"]);
        machine.power_off(CHANGE).unwrap();
        (line, events)
    };
    const EVENT: &str = " data-repaired: the data file system had errors, which were repaired";
    let (line, events) = boot();
    assert!(line.contains("data ok") && !events.contains("data-repaired"), "{line}: {events}");
    // A rotten block bitmap, as the kernel leaves it when it meets one: marked, to be looked at.
    let data = disk.partition(Role::Data).unwrap();
    let descriptor = data.read(BLOCK, 4).unwrap();
    let bitmap = u64::from(u32::from_le_bytes(descriptor.try_into().unwrap()));
    data.flip(bitmap * BLOCK + 77, 1).unwrap();
    let mut superblock = data.read(1024, 1024).unwrap();
    const ERRORS: u8 = 2;
    superblock[0x3a] |= ERRORS;
    let sum = crc32c(&superblock[..1020]).to_le_bytes();
    superblock[1020..].copy_from_slice(&sum);
    data.write(1024, &superblock).unwrap();
    let (line, events) = boot();
    assert!(line.contains("data repaired"), "{line}");
    assert!(events.contains(EVENT), "{events}");
    assert!(boot().0.contains("data ok"));
}

/// ext4's checksum of metadata: Castagnoli's, without the last inversion.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift))
}
