//! QEMU's arguments for a machine.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::disk::Disk;
use crate::lab::{Lab, public_half};
use crate::machine::{Bus, Firmware, Setup};
use crate::relay::Relay;
use crate::seed::Seed;

/// Writes what the provider offers into `dir` and gives QEMU's arguments for it.
pub(crate) fn seed(setup: &Setup, key: &Path, dir: &Path) -> Result<Vec<String>> {
    let Some((channel, user_data)) = &setup.user_data else { return Ok(vec![]) };
    let public_key = public_half(key)?;
    let (instance_id, hostname) = (&setup.instance_id, &setup.hostname);
    let network = setup.network.as_deref();
    Seed { user_data, instance_id, hostname, public_key: &public_key, network }.arguments(*channel, dir)
}

pub(crate) fn base(setup: &Setup) -> Vec<String> {
    let memory = setup.memory.to_string();
    let accel = std::env::var("HOLDFAST_ACCEL").unwrap_or_else(|_| "tcg,thread=multi".into());
    let mut arguments =
        vec!["-nodefaults", "-display", "none", "-machine", "q35", "-cpu", "max", "-smp", "2"];
    arguments.extend(["-m", &memory, "-accel", &accel, "-device", "virtio-rng-pci"]);
    if setup.watchdog {
        arguments.extend(["-device", "i6300esb", "-action", "watchdog=reset"]);
    }
    arguments.into_iter().map(str::to_owned).collect()
}

pub(crate) fn firmware(lab: &Lab, setup: &Setup, dir: &Path) -> Result<Vec<String>> {
    if setup.firmware == Firmware::Bios {
        return Ok(vec![]);
    }
    let code = lab.tool_file("usr/share/OVMF/OVMF_CODE_4M.fd")?;
    let vars = dir.join("vars.fd");
    std::fs::copy(lab.tool_file("usr/share/OVMF/OVMF_VARS_4M.fd")?, &vars)?;
    Ok(vec![
        "-drive".into(),
        format!("if=pflash,format=raw,unit=0,readonly=on,file={}", code.display()),
        "-drive".into(),
        format!("if=pflash,format=raw,unit=1,file={}", vars.display()),
    ])
}

pub(crate) fn network(setup: &Setup, http: u16, ssh: u16, relay: Option<&Relay>) -> Vec<String> {
    let forward = format!("hostfwd=tcp:127.0.0.1:{http}-:80,hostfwd=tcp:127.0.0.1:{ssh}-:22");
    let mut arguments = match relay {
        None => vec!["-netdev".to_owned(), format!("user,id=net0,{forward}")],
        Some(relay) => relay.arguments("net0", &format!("user,{forward}")),
    };
    arguments
        .extend(["-device", "virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:12:34:56"].map(str::to_owned));
    for (n, nic) in setup.more_nics.iter().enumerate() {
        let n = n + 1;
        arguments.extend(["-netdev".to_owned(), format!("user,id=net{n},net={}", nic.net)]);
        let device = format!("virtio-net-pci,netdev=net{n},romfile=,mac={}", nic.mac);
        arguments.extend(["-device".to_owned(), device]);
    }
    arguments
}

pub(crate) fn disks(disk: &Disk, setup: &Setup) -> Vec<String> {
    let before = setup.more_disks.iter().filter(|(_, first)| *first).map(|(d, _)| (d, false));
    let after = setup.more_disks.iter().filter(|(_, first)| !first).map(|(d, _)| (d, false));
    let all = before.chain([(disk, true)]).chain(after);
    let mut arguments = match setup.bus {
        Bus::VirtioScsi => vec!["-device".to_owned(), "virtio-scsi-pci,id=scsi".to_owned()],
        Bus::VirtioBlk | Bus::Nvme | Bus::Sata => vec![],
    };
    for (n, (disk, boots)) in all.enumerate() {
        let device = match setup.bus {
            Bus::VirtioBlk => format!("virtio-blk-pci,drive=disk{n}"),
            Bus::VirtioScsi => format!("scsi-hd,bus=scsi.0,drive=disk{n}"),
            Bus::Nvme => format!("nvme,serial=disk{n},drive=disk{n}"),
            Bus::Sata => format!("ide-hd,bus=ide.{n},drive=disk{n}"),
        };
        let device = if boots { format!("{device},bootindex=1") } else { device };
        arguments.extend(drive(disk, n));
        arguments.extend(["-device".to_owned(), device]);
    }
    arguments
}

/// What is behind `disk{n}`: a raw file, or one whose every request is logged first.
pub(crate) fn drive(disk: &Disk, n: usize) -> [String; 2] {
    let path = disk.path().display();
    let Some(log) = disk.log() else {
        let names = format!("id=disk{n},node-name=image{n},file.node-name=file{n}");
        let drive = format!("if=none,{names},format=raw,cache=writeback,discard=unmap,file={path}");
        return ["-drive".into(), drive];
    };
    // The files need not outlive the host, so their flushes are left out; those of the guest reach the log.
    let lazy = json!({ "no-flush": true });
    let node = json!({
        "driver": "blklogwrites",
        "node-name": format!("disk{n}"),
        "discard": "unmap",
        "log-super-update-interval": 1,
        "log": { "driver": "file", "filename": log, "cache": lazy },
        "file": {
            "driver": "raw",
            "discard": "unmap",
            "cache": lazy,
            "file": { "driver": "file", "filename": disk.path(), "discard": "unmap", "cache": lazy },
        },
    });
    ["-blockdev".into(), node.to_string()]
}
