//! That what is written runs nothing, that no module comes after the boot, that late devices work nevertheless,
//! and that the kernel is as closed as its settings say.

use std::collections::BTreeMap;
use std::fs::File;

use crate::common::{BOOT, CHANGE, DISK, lab, resumed, settings, wait_until};
use qemu_tests::{Disk, Lab, Machine, Setup};
use serde_json::json;

/// Where files can be made on a running box.
const WRITTEN: [&str; 5] = ["/var/lib", "/var/tmp", "/run", "/tmp", "/dev/shm"];

#[test]
fn nothing_runs_from_what_is_written_and_no_module_is_loaded() {
    let (lab, registry) = lab();
    // Its crash is the test's.
    let mut machine = resumed(&lab, &settings(&registry), &["segfault"]);
    machine.wait_ssh(CHANGE).unwrap();
    for folder in WRITTEN {
        let copy = format!("cp /run/lab/busybox {folder}/program && chmod 755 {folder}/program");
        machine.shell(&copy).unwrap();
        let run = format!("{folder}/program true; echo $?; rm {folder}/program");
        assert_eq!(machine.shell(&run).unwrap().lines().last(), Some("126"), "{folder}");
        let options = format!(
            "awk '$2 == \"'$(df -P {folder} | tail -n 1 | sed 's/.* //')'\" {{ print $4 }}' /proc/mounts"
        );
        let options = machine.shell(&options).unwrap();
        for option in ["nosuid", "nodev", "noexec"] {
            assert!(options.split(',').any(|o| o == option), "{folder}: no {option} in {options}");
        }
    }
    let again = "mount -o remount,exec /tmp && cp /run/lab/busybox /tmp/busybox && /tmp/busybox true";
    machine.shell(again).unwrap();
    no_core(&mut machine);
    modules(&mut machine);
    machine.kill().unwrap();
}

/// A program that crashes leaves nothing, whatever its limit.
fn no_core(machine: &mut Machine) {
    let crash =
        "cd /var/tmp; (ulimit -c unlimited; sh -c 'kill -SEGV $$'); ls /var/tmp | grep -c core || true";
    assert_eq!(machine.shell(crash).unwrap().lines().last(), Some("0"));
    machine.shell("echo core >/proc/sys/kernel/core_pattern").unwrap();
    assert_eq!(machine.shell(crash).unwrap().lines().last(), Some("1"), "the probe cannot fail");
}

/// All of the image's are loaded, one that is not cannot be, and nobody takes that back.
fn modules(machine: &mut Machine) {
    let missing =
        "for m in $(cat /usr/lib/modules-load.d/holdfast.conf); do test -d /sys/module/$m || echo $m; done";
    assert_eq!(machine.shell(missing).unwrap(), "");
    for wanted in ["bonding", "8021q", "nft_masq", "virtio_net", "virtio_scsi", "isofs", "vfat"] {
        machine.shell(&format!("test -d /sys/module/{wanted}")).unwrap();
    }
    // Where modules could be loaded, one that is there already would be said to be.
    let file = "$(find /usr/lib/modules -name 'veth.ko*')";
    let said = machine.shell(&format!("insmod {file} 2>&1 || true")).unwrap();
    assert!(said.contains("Operation not permitted"), "{said}");
    let back = machine.shell("echo 0 2>&1 >/proc/sys/kernel/modules_disabled || true").unwrap();
    assert!(back.contains("Invalid argument") || back.contains("not permitted"), "{back}");
    let failed =
        machine.shell("journalctl -b -o cat -u systemd-modules-load -u systemd-sysctl -p warning").unwrap();
    assert!(!failed.contains("ail"), "{failed}");
}

/// What the files of the image say: names and values.
fn wanted(lab: &Lab) -> BTreeMap<String, String> {
    let path = lab.root().join("image/files/usr/lib/sysctl.d/50-holdfast.conf");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(" = ")).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn full_the_kernel_is_as_closed_as_its_settings_say() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &settings(&registry), &[]);
    machine.wait_ssh(CHANGE).unwrap();
    // NICs that come later take router advertisements from the start: the agent says so when it begins.
    let of_the_agent = "net.ipv6.conf.default.accept_ra";
    let mut wanted = wanted(&lab);
    assert_eq!(wanted.insert(of_the_agent.into(), "2".into()).as_deref(), Some("0"));
    for (name, value) in wanted {
        let found = machine.shell(&format!("cat /proc/sys/{}", name.replace('.', "/"))).unwrap();
        assert_eq!(found, value, "{name}");
    }
    let lockdown = machine.shell("cat /sys/kernel/security/lockdown").unwrap();
    assert!(lockdown.contains("[confidentiality]"), "{lockdown}");
    for (what, line) in [
        ("kernel addresses", "grep -qv '^0000000000000000' /proc/kallsyms"),
        ("the kernel's memory", "head -c 1 /proc/kcore"),
        ("debugfs", "mkdir -p /tmp/at && mount -t debugfs none /tmp/at"),
        ("a disk that is mounted", "exec 3<>$(awk '$2 == \"/var\" { print $1 }' /proc/mounts)"),
    ] {
        let said =
            machine.shell(&format!("if ({line}) >/dev/null 2>&1; then echo had; else echo refused; fi"));
        assert_eq!(said.unwrap(), "refused", "{what}");
    }
    // The services that are closed do their work.
    let failed = machine.shell("systemctl list-units --failed --no-legend --plain").unwrap();
    assert_eq!(failed, "");
    machine.shell("systemctl start systemd-tmpfiles-clean").unwrap();
    machine.kill().unwrap();
}

#[test]
fn full_the_way_back_from_a_bad_version_needs_no_rights() {
    let (lab, registry) = lab();
    for unit in ["holdfast-trial-agent", "holdfast-trial"] {
        let mut machine = resumed(&lab, &settings(&registry), &[]);
        machine.wait_ssh(CHANGE).unwrap();
        machine.shell("touch /run/holdfast/trial; rm -f /run/holdfast/answered").unwrap();
        let mark = machine.console.text().len();
        machine.shell(&format!("systemctl start --no-block {unit}")).unwrap();
        machine.console.wait_after(mark, "Holdfast: slot ", BOOT).unwrap();
        machine.kill().unwrap();
    }
}

/// A volume for configuration, as a provider attaches one.
fn volume(lab: &Lab, name: &str, vfat: bool) -> std::path::PathBuf {
    let path = lab.dir().join(name);
    if vfat {
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(8 << 20).unwrap();
        fatfs::format_volume(&file, fatfs::FormatVolumeOptions::new().volume_label(*b"late       ")).unwrap();
    } else {
        let folder = lab.dir().join("late");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("file"), "x").unwrap();
        let mut make = lab.tool("genisoimage");
        make.args(["-quiet", "-V", "late", "-J", "-r", "-o"]).arg(&path).arg(&folder);
        assert!(make.status().unwrap().success());
    }
    path
}

#[test]
fn full_disks_come_late_and_all_kinds_of_mounts_and_links_are_there() {
    let (lab, _registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let mut setup = Setup { shell: true, ..Setup::with("format = 1\n") };
    let ports = [1, 2, 3].map(|n| ["-device".into(), format!("pcie-root-port,id=hot{n},chassis={n}")]);
    setup.arguments = ports.concat();
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let late = [("fat", true, "vfat"), ("iso", false, "iso9660")];
    for (n, (name, vfat, kind)) in late.into_iter().enumerate() {
        let file = volume(&lab, name, vfat);
        let drive = format!("if=none,id={name},format=raw,readonly=on,file={}", file.display());
        let add = json!({ "command-line": format!("drive_add 0 {drive}") });
        machine.qmp("human-monitor-command", add).unwrap();
        let bus = format!("hot{}", n + 1);
        let device =
            json!({ "driver": "virtio-blk-pci", "id": name, "drive": name, "serial": name, "bus": bus });
        machine.qmp("device_add", device).unwrap();
        let node = format!("/dev/disk/by-id/virtio-{name}");
        let mount = format!("mkdir -p /run/late-{name} && mount -t {kind} -o ro {node} /run/late-{name}");
        wait_until(name, CHANGE, || machine.shell(&mount).map_err(|error| format!("{error:#}")));
    }
    // A controller of another kind, with a disk behind it.
    machine
        .qmp(
            "human-monitor-command",
            json!({ "command-line": "drive_add 0 if=none,id=more,file=null-co://,format=raw" }),
        )
        .unwrap();
    machine.qmp("device_add", json!({ "driver": "virtio-scsi-pci", "id": "late", "bus": "hot3" })).unwrap();
    let scsi = json!({ "driver": "scsi-hd", "id": "more", "drive": "more", "bus": "late.0" });
    machine.qmp("device_add", scsi).unwrap();
    wait_until("a SCSI disk", CHANGE, || {
        machine.shell("test -b /dev/sda").map_err(|error| format!("{error:#}"))
    });
    for line in [
        "ip link add link $(ls /sys/class/net | grep -m 1 en) name tagged type vlan id 5",
        "echo +pair >/sys/class/net/bonding_masters",
        "ip link add name left type veth peer name right && ip link add name joined type bridge",
        "test ! -e /sys/class/net/bond0",
        "mkdir -p /run/at && truncate -s 8M /run/file && mke2fs -F -q /run/file && mount -o loop,ro /run/file /run/at && umount /run/at",
        "exec 3<>/dev/net/tun",
        "test -c /dev/fuse -a -c /dev/watchdog0",
    ] {
        machine.shell(line).unwrap();
    }
    machine.kill().unwrap();
}
