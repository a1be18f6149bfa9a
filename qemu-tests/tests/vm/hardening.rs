//! That what is written runs nothing, that no module comes after the boot, that late devices work nevertheless,
//! and that the kernel and the units that are made while the box runs are as closed as they should be.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::common::{BOOT, CHANGE, DISK, lab, probe, resumed, settings, up, wait_until};
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
        let at = machine.shell(&format!("df -P {folder} | tail -n 1 | sed 's/.* //'")).unwrap();
        is_mounted(&mut machine, &at, &["nosuid", "nodev", "noexec"]);
    }
    is_mounted(&mut machine, "/", &["ro", "nosuid", "nodev"]);
    let again = "mount -o remount,exec /tmp && cp /run/lab/busybox /tmp/busybox && /tmp/busybox true";
    machine.shell(again).unwrap();
    no_core(&mut machine);
    modules(&mut machine);
    machine.kill().unwrap();
}

/// What is mounted there has these options.
fn is_mounted(machine: &mut Machine, at: &str, options: &[&str]) {
    let line = format!("awk '$2 == \"{at}\" {{ print $4 }}' /proc/mounts | tail -n 1");
    has_options(at, &machine.shell(&line).unwrap(), options);
}

fn has_options(at: &str, found: &str, options: &[&str]) {
    for option in options {
        assert!(found.split(',').any(|o| o == *option), "{at}: no {option} in {found}");
    }
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

/// What the image says that its kernel is told.
fn arguments(lab: &Lab) -> Vec<String> {
    let text = std::fs::read_to_string(lab.root().join("image/holdfast.toml")).unwrap();
    let image: toml::Table = toml::from_str(&text).unwrap();
    image["kernel"]["arguments"].clone().try_into().unwrap()
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
    let told = machine.shell("cat /proc/cmdline").unwrap();
    for argument in arguments(&lab) {
        assert!(told.split_whitespace().any(|word| word == argument), "no {argument} in {told}");
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
fn volume(lab: &Lab, name: &str, label: &str, vfat: bool) -> PathBuf {
    let path = lab.dir().join(name);
    if vfat {
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(8 << 20).unwrap();
        let padded: [u8; 11] = format!("{label:11}").into_bytes().try_into().unwrap();
        fatfs::format_volume(&file, fatfs::FormatVolumeOptions::new().volume_label(padded)).unwrap();
    } else {
        let folder = lab.dir().join(format!("{name}.files"));
        let inside = folder.join("openstack/latest");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(inside.join("meta_data.json"), "{}").unwrap();
        let mut make = lab.tool("genisoimage");
        make.args(["-quiet", "-V", label, "-J", "-r", "-o"]).arg(&path).arg(&folder);
        assert!(make.status().unwrap().success());
    }
    path
}

/// Attaches a volume to a running machine, at a port of its own, with more words about its drive.
fn plug(machine: &mut Machine, name: &str, file: &Path, bus: &str, more: &str) {
    let drive = format!("if=none,id={name},format=raw,readonly=on,file={}{more}", file.display());
    let add = json!({ "command-line": format!("drive_add 0 {drive}") });
    machine.qmp("human-monitor-command", add).unwrap();
    let device = json!({ "driver": "virtio-blk-pci", "id": name, "drive": name, "serial": name, "bus": bus });
    machine.qmp("device_add", device).unwrap();
}

#[test]
fn full_disks_come_late_and_all_kinds_of_mounts_and_links_are_there() {
    let (lab, _registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let mut setup = Setup { shell: true, ..Setup::with("format = 1\n") };
    let ports = [1, 2, 3, 4].map(|n| ["-device".into(), format!("pcie-root-port,id=hot{n},chassis={n}")]);
    setup.arguments = ports.concat();
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    for (name, vfat, kind, bus) in [("fat", true, "vfat", "hot1"), ("iso", false, "iso9660", "hot2")] {
        plug(&mut machine, name, &volume(&lab, name, "late", vfat), bus, "");
        let node = format!("/dev/disk/by-id/virtio-{name}");
        let mount = format!("mkdir -p /run/late-{name} && mount -t {kind} -o ro {node} /run/late-{name}");
        wait_until(name, CHANGE, || machine.shell(&mount).map_err(|error| format!("{error:#}")));
    }
    provider(&lab, &mut machine);
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

/// The provider's volumes are mounted for as long as they are read, and nothing there is more than a file. One that is
/// read slowly is seen meanwhile.
fn provider(lab: &Lab, machine: &mut Machine) {
    let file = volume(lab, "drive", "config-2", false);
    plug(machine, "drive", &file, "hot4", ",throttling.iops-total=2");
    wait_until("a config drive", CHANGE, || {
        let there = machine.shell("test -b /dev/disk/by-id/virtio-drive");
        there.map_err(|error| format!("{error:#}"))
    });
    machine.shell("systemctl restart --no-block holdfastd").unwrap();
    let both = "until grep -q ' /run/holdfast/metadata/config-drive ' /proc/mounts; do :; done; \
                grep ' /run/holdfast/metadata/' /proc/mounts";
    let seen = machine.shell(&format!("timeout 120 sh -c \"{both}\"")).unwrap();
    let kinds: Vec<&str> = seen.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(kinds, ["vfat", "iso9660"], "{seen}");
    for line in seen.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        has_options(fields[1], fields[3], &["ro", "nosuid", "nodev", "noexec"]);
    }
    wait_until("volumes that have been read", CHANGE, || {
        let left = machine.shell("grep ' /run/holdfast/metadata/' /proc/mounts || true").unwrap();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// What systemd was told of the unit of each program that handles foreign bytes. What it is told of the one that
/// fetches images is looked at where that is tested.
const ALIKE: [&str; 31] = [
    "TasksMax",
    "ProtectSystem",
    "ProtectHome",
    "ProtectProc",
    "ProcSubset",
    "PrivateUsers",
    "UMask",
    "KeyringMode",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateTmp",
    "PrivateIPC",
    "PrivateNetwork",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "LockPersonality",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "MemoryDenyWriteExecute",
    "RestrictNamespaces",
    "CapabilityBoundingSet",
    "AmbientCapabilities",
    "SupplementaryGroups",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "RestrictAddressFamilies",
    "IPAddressDeny",
];

/// What is so of one of them.
type Shown = BTreeMap<String, String>;

/// The settings of a unit that runs, or will in a moment, and what the kernel says of its process.
fn running(machine: &mut Machine, unit: &str) -> (Shown, Shown) {
    let all = |text: &str, mark: char| -> Shown {
        let lines = text.lines().filter_map(|line| line.split_once(mark));
        lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    };
    wait_until(unit, CHANGE, || {
        let shown = machine.shell(&format!("systemctl show --all '{unit}'")).unwrap();
        let shown = all(&shown, '=');
        // Until it is, the process is systemd's own.
        if shown.get("ActiveState").is_none_or(|state| state != "active") {
            return Err(format!("{:?}", shown.get("ActiveState")));
        }
        let pid = shown.get("MainPID").map_or("0", String::as_str);
        let status = machine.shell(&format!("test {pid} != 0 && cat /proc/{pid}/status"));
        status.map(|status| (shown, all(&status, ':'))).map_err(|error| format!("{error:#}"))
    })
}

/// Messages and releases are handled as closed as images are. All three have to be under way.
pub(crate) fn all_are_closed_as_a_fetch_is(machine: &mut Machine) {
    let (fetch, _) = running(machine, "holdfast-fetch-*.service");
    for (unit, other) in [("notify", "update"), ("update", "notify")] {
        let (shown, process) = running(machine, &format!("holdfast-{unit}.service"));
        for name in ALIKE {
            assert!(shown.contains_key(name), "{unit}: no {name}");
            assert_eq!(shown.get(name), fetch.get(name), "{unit}: {name}");
        }
        assert_eq!(shown["User"], "holdfast-update");
        assert_eq!(shown["ReadWritePaths"], format!("/var/lib/holdfast/{unit}"));
        let hidden: Vec<&str> = shown["InaccessiblePaths"].split(' ').collect();
        for path in ["-/run/holdfast", "-/run/dbus", format!("-/var/lib/holdfast/{other}").as_str()] {
            assert!(hidden.contains(&path), "{unit}: {hidden:?}");
        }
        for (name, value) in [("CapBnd", "0000000000000000"), ("NoNewPrivs", "1"), ("Seccomp", "2")] {
            assert_eq!(process[name], value, "{unit}: {name}");
        }
        assert!(!process["Uid"].starts_with("0\t"), "{unit}: {}", process["Uid"]);
    }
}

#[test]
fn the_shim_has_no_capability_that_it_does_not_need() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &(settings(&registry) + &probe(&registry, "")), &[]);
    up(&machine, &["probe.sh"]);
    let (shown, process) = running(&mut machine, "holdfast-probe.sh.service");
    assert_eq!(shown["NoNewPrivileges"], "yes");
    let bits = |set: &str| u64::from_str_radix(set, 16).unwrap();
    // capabilities(7): LEASE, modules and the like are gone, SYS_ADMIN is what it works by.
    let gone = [16, 17, 20, 22, 25, 26, 28, 30, 32, 33, 34, 35, 36, 37];
    for set in ["CapBnd", "CapPrm", "CapEff"] {
        let has: Vec<u32> = (0..=40).filter(|number| bits(&process[set]) >> number & 1 == 1).collect();
        assert!(has.contains(&21) && has.len() + gone.len() == 41, "{set}: {has:?}");
        assert!(gone.iter().all(|number| !has.contains(number)), "{set}: {has:?}");
    }
    machine.kill().unwrap();
}
