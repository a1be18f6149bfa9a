//! The admin's side, on one box: status, plan, exec, logs, events, volumes, removal and return.

mod common;

use std::io::{Seek, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{BOOT, CHANGE, DISK, lab, out, page, probe};
use qemu_tests::{Disk, Machine, Setup};

fn apply(machine: &Machine, document: &str, remove: bool) -> std::process::Output {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(document.as_bytes()).unwrap();
    file.rewind().unwrap();
    let arguments: &[&str] = if remove { &["apply", "--remove", "-"] } else { &["apply", "-"] };
    machine.cli_with(arguments, Stdio::from(file)).unwrap()
}

fn text(machine: &Machine, arguments: &[&str]) -> String {
    let done = machine.cli(arguments).unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", out(&done));
    String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
}

#[test]
fn the_admins_day() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let with_volume = probe(&registry, "volumes = { data = \"/data\" }\n[recipe.volumes.data]\n");
    let document = page(&registry, "the page") + &with_volume;
    let machine = Machine::boot(&lab, &disk, &Setup::with(document.clone())).unwrap();
    machine.wait_served("the page", BOOT).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    settled(&machine);

    let status = machine.json(&["status"], &[0]).unwrap();
    assert_eq!(status["hostname"], "box");
    assert_eq!(status["health"], "healthy", "{status}");
    assert_eq!(status["slots"]["running"], "a");
    assert!(status["ports"].to_string().contains("\"open\":true"), "{}", status["ports"]);
    let screen = text(&machine, &["status"]);
    assert!(screen.lines().count() <= 40 && screen.contains("site"), "{screen}");

    let plan = machine.json(&["plan"], &[0]).unwrap();
    assert_eq!(plan["actions"].as_array().map(Vec::len), Some(0), "a second plan is empty: {plan}");
    let again = apply(&machine, &document, false);
    assert!(again.status.success() && out(&again).contains("unchanged"), "{}", out(&again));

    assert_eq!(text(&machine, &["exec", "probe.sh", "--", "/bin/sh", "-c", "echo $((40 + 2))"]), "42");
    let code = machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", "exit 7"]).unwrap();
    assert_eq!(code.status.code(), Some(7), "{}", out(&code));
    let none = machine.cli(&["exec", "probe.none", "--", "/bin/true"]).unwrap();
    assert_eq!(none.status.code(), Some(125), "{}", out(&none));

    text(&machine, &["exec", "probe.sh", "--", "/bin/sh", "-c", "echo kept >/data/file"]);
    let tar = machine.cli(&["volumes", "export", "probe.data"]).unwrap();
    assert!(tar.status.success() && tar.stdout.windows(4).any(|w| w == b"kept"), "{:?}", tar.status);
    assert!(text(&machine, &["logs", "-n", "50", "site.web"]).contains("GET /"), "nginx logs its requests");
    assert!(text(&machine, &["events"]).contains("applied"));
    assert!(text(&machine, &["images"]).contains("nginx"));

    let refused = apply(&machine, &page(&registry, "the page"), false);
    assert_eq!(refused.status.code(), Some(5), "removal wants --remove: {}", out(&refused));
    let removed = apply(&machine, &page(&registry, "the page"), true);
    assert!(removed.status.success(), "{}", out(&removed));
    assert!(!text(&machine, &["ps"]).contains("probe"));
    assert!(text(&machine, &["volumes"]).contains("probe"), "the volume outlives its instance");
    let back = apply(&machine, &document, false);
    assert!(back.status.success(), "{}", out(&back));
    assert_eq!(text(&machine, &["exec", "probe.sh", "--", "/bin/cat", "/data/file"]), "kept");

    let sftp = machine.cli(&["scp", "-t", "/tmp"]).unwrap();
    assert!(!sftp.status.success() && out(&sftp).contains("volumes import"), "{}", out(&sftp));
    let remote = machine.remote(lab.dir(), &["ps", "--json"]).unwrap();
    assert!(remote.status.success() && out(&remote).contains("site.web"), "{}", out(&remote));
    machine.kill().unwrap();
}

/// Waits until the box says that nothing is left to do.
fn settled(machine: &Machine) {
    let end = Instant::now() + CHANGE;
    loop {
        let status = machine.json(&["status"], &[0, 3]).unwrap();
        if status["health"] == "healthy" {
            return;
        }
        assert!(Instant::now() < end, "not healthy: {status}");
        std::thread::sleep(Duration::from_secs(2));
    }
}
