//! Each way that user-data comes, to a served page.

mod common;

use common::{BOOT, DISK, lab, page};
use qemu_tests::{Channel, Disk, Firmware, Machine, Setup};

fn serves(channel: Channel, firmware: Firmware, name: &str) {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup { firmware, ..Setup::with(page(&registry, name)).by(channel) };
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    let seconds = machine.wait_served(name, BOOT).unwrap();
    println!("{name}: served after {seconds:?}");
    machine.kill().unwrap();
}

#[test]
fn nocloud() {
    serves(Channel::NoCloud, Firmware::Bios, "by nocloud");
}

#[test]
fn config_drive() {
    serves(Channel::ConfigDrive, Firmware::Bios, "by config drive");
}

#[test]
fn fw_cfg() {
    serves(Channel::FwCfg, Firmware::Bios, "by fw_cfg");
}

#[test]
fn smbios() {
    serves(Channel::Smbios, Firmware::Bios, "by smbios");
}

#[test]
fn uefi() {
    serves(Channel::NoCloud, Firmware::Uefi, "on uefi");
}

#[test]
fn full_config_drive_on_uefi() {
    serves(Channel::ConfigDrive, Firmware::Uefi, "by config drive");
}

#[test]
fn full_fw_cfg_on_uefi() {
    serves(Channel::FwCfg, Firmware::Uefi, "by fw_cfg");
}

#[test]
fn full_smbios_on_uefi() {
    serves(Channel::Smbios, Firmware::Uefi, "by smbios");
}
