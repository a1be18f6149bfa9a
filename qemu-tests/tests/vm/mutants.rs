//! Boxes that boot with documents made wrong: whatever is in them, each box can be reached.

#[path = "../../../recipes/tests/mutation/mod.rs"]
mod mutation;

use std::process::Command;

use crate::common::{BOOT, DISK, lab, out, page, probe};
use qemu_tests::{Disk, Lab, Machine, Setup};

/// How many boxes boot.
const BOXES: u64 = 20;

#[test]
fn full_each_of_twenty_boxes_is_reached_and_says_what_is_so() {
    let (lab, registry) = lab();
    let documents = [page(&registry, "served").replacen("[box]\n", &reach(&lab), 1) + &probe(&registry, "")];
    let mut refused = 0;
    for seed in 0..BOXES {
        let document = mutation::mutant(seed, &documents);
        let disk = Disk::new(&lab, &format!("disk-{seed}.raw"), DISK).unwrap();
        let machine = Machine::boot(&lab, &disk, &Setup::with(document.clone())).unwrap();
        machine.wait_ssh(BOOT).unwrap_or_else(|error| panic!("mutant {seed}: {error:#}\n{document}"));
        let status = machine.cli(&["status"]).unwrap();
        let said = out(&status);
        assert!(matches!(status.status.code(), Some(0 | 3)), "mutant {seed}: {said}\n{document}");
        // The box refuses what the workstation does, and says where it is wrong.
        let valid = accepted(&lab, &document);
        assert_eq!(said.contains("nocloud:"), !valid, "mutant {seed}: {said}\n{document}");
        refused += u64::from(!valid);
        machine.kill().unwrap();
        std::fs::remove_file(disk.path()).unwrap();
    }
    assert!((BOXES / 4..BOXES).contains(&refused), "{refused} are refused");
}

/// Settings of the box that can keep its owner out when they are wrong.
fn reach(lab: &Lab) -> String {
    let key = lab.public_key().unwrap();
    format!(
        "[[box.interface]]\nmatch = {{ mac = \"52:54:00:12:34:56\" }}\ndhcp4 = false\naddresses = [\"10.0.2.15/24\"]\n\
         routes = [{{ to = \"default\", via = \"10.0.2.2\" }}]\n\
         [box]\nadmins = [\"{}\"]\nprovider_keys = true\ndns = [\"10.0.2.3\"]\n",
        key.trim()
    )
}

/// Whether the workstation finds nothing wrong with it.
fn accepted(lab: &Lab, document: &str) -> bool {
    let file = lab.dir().join("mutant.toml");
    std::fs::write(&file, document).unwrap();
    let done = Command::new(lab.builder()).arg("check").arg(&file).output().unwrap();
    assert!(matches!(done.status.code(), Some(0 | 2)), "{}", out(&done));
    done.status.success()
}
