//! What breaks comes back: agent, shim, container, registry, memory, the whole box.

mod common;

use std::time::{Duration, Instant};

use common::{BOOT, CHANGE, DISK, lab, out, page, probe, settings, site};
use qemu_tests::{Disk, Machine, Setup};
use serde_json::Value;

fn container(machine: &Machine, name: &str) -> Value {
    let all = machine.json(&["ps"], &[0, 3]).unwrap();
    let found = all.as_array().and_then(|a| a.iter().find(|c| c["name"] == name));
    found.cloned().unwrap_or_else(|| panic!("no {name} in {all}"))
}

fn wait_for(machine: &Machine, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + CHANGE;
    loop {
        let found = container(machine, name);
        if wanted(&found) {
            return found;
        }
        assert!(Instant::now() < end, "{name} stays {found}\n{}", machine.console.tail(40));
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn registry_down_at_first_boot_and_later() {
    let (lab, mut registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup::with(page(&registry, "at last"));
    registry.down().unwrap();
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let end = Instant::now() + CHANGE;
    while !out(&machine.cli(&["status"]).unwrap()).contains("degraded") {
        assert!(Instant::now() < end, "{}", out(&machine.cli(&["status"]).unwrap()));
        std::thread::sleep(Duration::from_secs(2));
    }
    registry.up(&lab).unwrap();
    machine.wait_served("at last", CHANGE).unwrap();
    machine.kill().unwrap();
    // The image is there: a dead registry does not matter any more.
    registry.down().unwrap();
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("at last", BOOT).unwrap();
    machine.kill().unwrap();
}

#[test]
fn killed_container_and_memory() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let eater = probe(&registry, "memory = \"32M\"\nrestart = \"never\"");
    let document = settings(&registry) + &site(&registry, "alive") + &eater;
    let setup =
        Setup { expected: vec!["memcg", "oom-kill", "Memory cgroup out of memory"], ..Setup::with(document) };
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("alive", BOOT).unwrap();
    let before = wait_for(&machine, "site.web", |c| c["state"] == "healthy");
    // The first process of a container is killed from inside: nginx's master by its own worker's uid 0.
    machine.cli(&["restart", "site.web"]).unwrap();
    let after = wait_for(&machine, "site.web", |c| c["state"] == "healthy" && c["pid"] != before["pid"]);
    assert_ne!(before["pid"], after["pid"]);
    machine.wait_served("alive", CHANGE).unwrap();
    let eat = "a=x; while :; do a=$a$a; done";
    machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", eat]).unwrap();
    let ended = wait_for(&machine, "probe.sh", |c| c["state"] == "exited");
    assert_eq!(ended["last_exit"]["cause"], "oom", "{ended}");
    assert!(machine.serves("alive"), "one container's hunger cost another");
    machine.kill().unwrap();
}
