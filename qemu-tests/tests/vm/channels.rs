//! Each way that user-data comes, to a served page.

use crate::common::{BOOT, CHANGE, DISK, lab, page, wait_until};
use qemu_tests::{Channel, Disk, Firmware, Machine, Nic, Setup};

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
fn config_drive_with_two_nics_that_each_have_a_lease() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let nic = Nic { net: "10.9.0.0/24".into(), mac: "52:54:00:12:34:57".into() };
    let channel = Channel::ConfigDrive;
    let setup = Setup { more_nics: vec![nic], ..Setup::with(page(&registry, "by config drive")).by(channel) };
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("by config drive", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    wait_until("both leases", CHANGE, || {
        let interfaces = machine.json(&["status"], &[0, 3]).unwrap()["interfaces"].to_string();
        let both = ["10.0.2.15/24", "10.9.0.15/24"].iter().all(|address| interfaces.contains(address));
        if both { Ok(()) } else { Err(interfaces) }
    });
    machine.kill().unwrap();
}

#[test]
fn full_fw_cfg() {
    serves(Channel::FwCfg, Firmware::Bios, "by fw_cfg");
}

#[test]
fn full_smbios() {
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
