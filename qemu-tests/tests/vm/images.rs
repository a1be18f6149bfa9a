//! Layers that rot on the disk or are swapped are never run: it is said, and the image is fetched again.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::common::{BOOT, CHANGE, DISK, lab, out, probe, settings, up, wait_until};
use image_layout::disk::{self, Role};
use qemu_tests::{Disk, Machine, Setup};

/// What every copy of the app's only program contains.
const NEEDLE: &[u8] = b"multi-call binary";

/// Flips the bytes of the first `NEEDLE` on data.
fn rot(disk: &Disk) {
    let file = File::options().read(true).write(true).open(disk.path()).unwrap();
    let (end, mut buffer) = (file.metadata().unwrap().len(), vec![0; (1 << 20) + NEEDLE.len()]);
    let found = (disk::start(Role::Data)..end).step_by(1 << 20).find_map(|start| {
        let length = file.read_at(&mut buffer, start).unwrap();
        let at = buffer[..length].windows(NEEDLE.len()).position(|window| window == NEEDLE)?;
        Some(start + at as u64)
    });
    let flipped: Vec<u8> = NEEDLE.iter().map(|byte| !byte).collect();
    file.write_all_at(&flipped, found.expect("the layer is not on data")).unwrap();
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    wait_until(what, CHANGE, || if holds() { Ok(()) } else { Err("not yet".into()) });
}

#[test]
fn full_rotten_and_swapped_layers_are_said_and_fetched_again() {
    let (lab, mut registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup {
        shell: true,
        expected: vec!["fs-verity", "FILE CORRUPTED"],
        ..Setup::with(settings(&registry) + &probe(&registry, ""))
    };
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    up(&machine, &["probe.sh"]);
    machine.shell("sync").unwrap();
    machine.kill().unwrap();

    rot(&disk);
    registry.down().unwrap();
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let read = machine.shell("cat /var/lib/holdfast/images/layers/*.erofs 2>&1 >/dev/null || true").unwrap();
    let events = |machine: &Machine| out(&machine.cli(&["events"]).unwrap());
    // Unless the agent was quicker and has removed it.
    let gone = events(&machine).contains("is damaged");
    assert!(gone || read.contains("Input/output error"), "a wrong byte was read: {read}");
    wait_for("the event", || events(&machine).contains("is damaged"));
    let status = machine.json(&["status"], &[0, 3]).unwrap();
    assert_ne!(status["health"], "healthy", "{status}");
    registry.up(&lab).unwrap();
    let run =
        |machine: &Machine| machine.cli(&["exec", "probe.sh", "--", "/bin/true"]).unwrap().status.success();
    wait_for("the container", || run(&machine));

    // Another file under the layer's name.
    let swap = "cd /var/lib/holdfast/images/layers && set -- *.erofs && cp $1 /run/copy && \
                echo more >>/run/copy && rm $1 && cp /run/copy $1 && rm /run/copy";
    machine.shell(swap).unwrap();
    machine.kill().unwrap();
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    wait_for("the event", || events(&machine).matches("is damaged").count() >= 2);
    wait_for("the container", || run(&machine));
    machine.kill().unwrap();
}
