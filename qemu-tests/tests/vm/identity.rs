//! Who a box is: its machine-id and host key, which stay its own whatever happens to its disk, and which it
//! gives up when the provider calls it by another name.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{
    BOOT, CHANGE, DISK, lab, out, page, probe, resumed, settings, settled, started, text, wait_until,
};
use image_layout::disk::{BLOCK, Role};
use image_layout::{Slot, initrd};
use qemu_tests::{Disk, Entry, Lab, Machine, Setup, cpio};
use serde_json::json;

/// What tells this box from others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    machine_id: String,
    host_key: String,
}

impl Identity {
    fn of(machine: &mut Machine) -> Identity {
        Identity { machine_id: machine.shell("cat /etc/machine-id").unwrap(), host_key: host_key(machine) }
    }
}

/// The host key that sshd shows.
fn host_key(machine: &Machine) -> String {
    let ssh = machine.ssh_command();
    let arguments: Vec<_> = ssh.get_args().collect();
    let at = arguments.iter().position(|argument| *argument == "-p").unwrap();
    wait_until("a host key", CHANGE, || {
        let mut scan = Command::new("ssh-keyscan");
        let done = scan.arg("-p").arg(arguments[at + 1]).arg("127.0.0.1").output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let keys: Vec<&str> =
            said.lines().filter_map(|line| line.split_once(' ')).map(|(_, key)| key).collect();
        match keys[..] {
            [key] => Ok(key.to_owned()),
            _ => Err(out(&done)),
        }
    })
}

/// A key's fingerprint, as OpenSSH reckons it.
fn fingerprint(key: &str) -> String {
    let mut list = Command::new("ssh-keygen");
    let mut child =
        list.args(["-l", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{key}").unwrap();
    let done = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&done.stdout).split(' ').nth(1).unwrap().to_owned()
}

/// Waits until the console says, behind `mark`, where the box is, how it stands, and which key to expect.
fn told(machine: &Machine, mark: usize, state: &str, key: &str) {
    for said in [
        "holdfast: ready addresses=10.0.2.15".to_owned(),
        format!("holdfast: state {state}"),
        format!("holdfast: host-key {}", fingerprint(key)),
    ] {
        machine.console.wait_after(mark, &said, CHANGE).unwrap();
    }
}

/// Waits until the agent has been started anew and answers.
fn restart(machine: &mut Machine) {
    machine.shell("systemctl restart holdfastd").unwrap();
    machine.wait_ssh(CHANGE).unwrap();
}

#[test]
fn the_providers_name_for_the_box_decides_who_it_is() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &page(&registry, "as before"), &[]);
    machine.wait_served("as before", CHANGE).unwrap();
    let kept = "cd /var/lib/holdfast/identity && cat machine-id ssh_host_ed25519_key.pub";
    let before = machine.shell(kept).unwrap();
    let mark = machine.console.mark();
    machine.offer(&Setup::with(page(&registry, "not asked for"))).unwrap();
    restart(&mut machine);
    let key = host_key(&machine);
    told(&machine, mark, "healthy", &key);
    assert_eq!(machine.shell(kept).unwrap(), before, "the same name, the same box");
    assert!(machine.serves("as before"));

    let another = Setup { instance_id: "i-2".into(), ..Setup::with(page(&registry, "somebody else")) };
    machine.offer(&another).unwrap();
    restart(&mut machine);
    machine.wait_served("somebody else", CHANGE).unwrap();
    let after = machine.shell(kept).unwrap();
    for (old, new) in before.lines().zip(after.lines()) {
        assert_ne!(old, new);
    }
    assert!(text(&machine, &["events"]).contains("identity"));

    // A document that is no good is said there too, and costs nothing.
    let mark = machine.console.mark();
    let bad = Setup { instance_id: "i-3".into(), ..Setup::with("format = 1\n[box]\nhostnam = 1\n") };
    machine.offer(&bad).unwrap();
    restart(&mut machine);
    for said in ["holdfast: error user-data is not valid: ", ":3:", "hostnam"] {
        machine.console.wait_after(mark, said, CHANGE).unwrap();
    }
    machine.console.wait_after(mark, "holdfast: state degraded", CHANGE).unwrap();
    assert!(machine.serves("somebody else"));
    machine.kill().unwrap();
}

#[test]
fn a_new_host_key_is_the_one_that_sshd_has() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &settings(&registry), &[]);
    let before = host_key(&machine);
    machine.offer(&Setup { instance_id: "i-2".into(), ..Setup::with(settings(&registry)) }).unwrap();
    restart(&mut machine);
    let key = wait_until("a new host key", CHANGE, || match host_key(&machine) {
        key if key != before => Ok(key),
        key => Err(key),
    });
    told(&machine, 0, "healthy", &key);
    machine.kill().unwrap();
}

#[test]
fn full_a_box_that_boots_under_another_name_is_another_one() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &page(&registry, "as before"), &[]);
    machine.wait_served("as before", CHANGE).unwrap();
    let before = Identity::of(&mut machine);
    let another = Setup { instance_id: "i-2".into(), ..Setup::with(page(&registry, "somebody else")) };
    machine.offer(&another).unwrap();
    let mark = machine.console.mark();
    // The connection may be cut before the answer.
    let _ = machine.cli(&["reboot"]).unwrap();
    started(&machine, Slot::A, mark);
    machine.wait_served("somebody else", BOOT).unwrap();
    let key = host_key(&machine);
    assert_ne!(key, before.host_key);
    told(&machine, mark, "healthy", &key);
    let id = machine.shell("cat /var/lib/holdfast/identity/machine-id").unwrap();
    assert_ne!(id, before.machine_id);
    machine.kill().unwrap();
}

/// Writes a volume with the label of NoCloud's that holds this `meta-data` and no `user-data`.
fn cidata(path: &Path, metadata: &[u8]) -> File {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    file.set_len(8 << 20).unwrap();
    let label = fatfs::FormatVolumeOptions::new().volume_label(*b"cidata     ");
    fatfs::format_volume(&file, label).unwrap();
    let volume = fatfs::FileSystem::new(&file, fatfs::FsOptions::new()).unwrap();
    volume.root_dir().create_file("meta-data").unwrap().write_all(metadata).unwrap();
    volume.unmount().unwrap();
    file
}

#[test]
fn full_what_was_accepted_runs_without_the_providers_volume_and_with_one_that_cannot_be_read() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup { shell: true, ..Setup::with(page(&registry, "as before")) };
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("as before", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let before = Identity::of(&mut machine);
    machine.power_off(CHANGE).unwrap();

    // Its key lets its owner in all the same.
    let port = ["-device", "pcie-root-port,id=hot,chassis=1"].map(str::to_owned).to_vec();
    let setup = Setup { user_data: None, arguments: port, ..setup };
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("as before", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    settled(&machine);
    assert_eq!(Identity::of(&mut machine), before);

    // One that the kernel does not mount: no medium is of this kind.
    let path = lab.dir().join("volume");
    cidata(&path, b"instance-id: i-2\n").write_all_at(&[0], 21).unwrap();
    let drive = format!("drive_add 0 if=none,id=late,format=raw,readonly=on,file={}", path.display());
    machine.qmp("human-monitor-command", json!({ "command-line": drive })).unwrap();
    let device =
        json!({ "driver": "virtio-blk-pci", "id": "late", "drive": "late", "serial": "late", "bus": "hot" });
    machine.qmp("device_add", device).unwrap();
    wait_until("a volume", CHANGE, || {
        machine.shell("test -b /dev/disk/by-id/virtio-late").map_err(|error| format!("{error:#}"))
    });
    restart(&mut machine);
    wait_until("a line in the journal", CHANGE, || {
        let said = "journalctl -b -o cat -u holdfastd | grep 'a volume of the provider cannot be read: failed to mount'";
        machine.shell(said).map_err(|error| format!("{error:#}"))
    });

    // One that is mounted and says nothing that can be understood.
    cidata(&path, b"instance-id: [\n");
    restart(&mut machine);
    let unread = "the channel nocloud cannot be read";
    wait_until("a note", CHANGE, || {
        let notes = machine.json(&["status"], &[0, 3]).unwrap()["user_data"]["notes"].to_string();
        if notes.contains(unread) { Ok(()) } else { Err(notes) }
    });
    assert!(text(&machine, &["events"]).contains(unread));
    assert!(machine.serves("as before"));
    assert_eq!(Identity::of(&mut machine), before);
    machine.kill().unwrap();
}

/// The disk that a resumed machine was on, after its end.
fn left_behind(lab: &Lab) -> Disk {
    let entries = std::fs::read_dir(lab.dir()).unwrap().map(|entry| entry.unwrap());
    let resumed = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("resumed-");
    let folder = entries.map(|entry| entry.path()).find(|path| resumed(path.file_name().unwrap())).unwrap();
    let path = folder.join("disk-base.raw");
    Disk::of(lab, &path, "disk.raw", std::fs::metadata(&path).unwrap().len()).unwrap()
}

#[test]
fn full_data_that_a_boot_cannot_mend_is_mended_by_its_owner_and_the_box_is_the_same() {
    let (lab, registry) = lab();
    let volume = probe(&registry, "volumes = { data = \"/data\" }\n[recipe.volumes.data]\n");
    let document = page(&registry, "here again") + &volume;
    let inside = |line: &'static str| ["exec", "probe.sh", "--", "/bin/sh", "-c", line];
    let mut machine = resumed(&lab, &document, &[]);
    machine.wait_served("here again", CHANGE).unwrap();
    crate::common::up(&machine, &["probe.sh"]);
    text(&machine, &inside("echo kept >/data/file"));
    let before = Identity::of(&mut machine);
    machine.power_off(CHANGE).unwrap();

    // A rotten block bitmap, and a boot that cannot run e2fsck.
    let disk = left_behind(&lab);
    let data = disk.partition(Role::Data).unwrap();
    let descriptor = data.read(BLOCK, 4).unwrap();
    let bitmap = u64::from(u32::from_le_bytes(descriptor.try_into().unwrap()));
    data.flip(bitmap * BLOCK + 77, 1).unwrap();
    let boot = disk.partition(Role::Boot(Slot::A)).unwrap();
    let whole = boot.read(0, image_layout::disk::partition(Role::Boot(Slot::A)).size as usize).unwrap();
    let program = initrd::E2FSCK.trim_start_matches('/');
    disk.append_to_initrd(Slot::A, &cpio(&[(program, Entry::File("not a program"))])).unwrap();

    let setup = Setup { shell: true, ..Setup::with(document) };
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.console.wait("data unavailable", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let temporary = Identity::of(&mut machine);
    assert_ne!(temporary.host_key, before.host_key);
    assert_ne!(temporary.machine_id, before.machine_id);
    told(&machine, 0, "degraded", &temporary.host_key);
    let checked = machine.json(&["data", "check"], &[0]).unwrap();
    assert_eq!(checked["usable"], true, "{checked}");
    assert!(checked["output"].as_str().unwrap().contains("FILE SYSTEM WAS MODIFIED"), "{checked}");
    let again = machine.json(&["data", "check"], &[0]).unwrap();
    assert!(!again["output"].as_str().unwrap().contains("FILE SYSTEM WAS MODIFIED"), "{again}");

    boot.write(0, &whole).unwrap();
    let mark = machine.console.mark();
    let _ = machine.cli(&["reboot"]).unwrap();
    let line = started(&machine, Slot::A, mark);
    assert!(line.contains("data ok"), "{line}");
    machine.wait_served("here again", BOOT).unwrap();
    crate::common::up(&machine, &["probe.sh"]);
    assert_eq!(text(&machine, &inside("cat /data/file")), "kept");
    assert_eq!(Identity::of(&mut machine), before);
    told(&machine, mark, "healthy", &before.host_key);
    machine.kill().unwrap();
}
