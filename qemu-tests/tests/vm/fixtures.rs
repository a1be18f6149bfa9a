//! Data of a box as other versions left it: the box goes on with it.

use std::io::Write;
use std::path::Path;

use crate::common::{BOOT, CHANGE, DISK, apply, lab, out, page, settings, settled, text, wait_until};
use base64::prelude::{BASE64_STANDARD, Engine};
use qemu_tests::{Disk, Lab, Machine, Registry, Setup};

/// A folder of `agent/core/tests/fixtures/state` as a tar, with images of this lab instead of made-up ones.
fn fixture(lab: &Lab, registry: &Registry, name: &str) -> Vec<u8> {
    let digest = |app: &str| {
        let index = std::fs::read_to_string(lab.app(app).join("index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_str(&index).unwrap();
        index["manifests"][0]["digest"].as_str().unwrap().to_owned()
    };
    let made_up = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let places = [
        ("registry.example:5000".to_owned(), registry.host()),
        (made_up("1"), digest("nginx")),
        (made_up("2"), digest("probe")),
    ];
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(vec![], flate2::Compression::best()));
    add(&mut tar, &lab.root().join("agent/core/tests/fixtures/state").join(name), Path::new(""), &places);
    tar.into_inner().unwrap().finish().unwrap()
}

fn add(tar: &mut tar::Builder<impl Write>, folder: &Path, inside: &Path, places: &[(String, String)]) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, inside) = (entry.path(), inside.join(entry.file_name()));
        if path.is_dir() {
            add(tar, &path, &inside, places);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text = places.iter().fold(text, |text, (from, to)| text.replace(from, to));
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, inside, text.as_bytes()).unwrap();
    }
}

/// Puts a fixture in the place of what the agent has written, under its hands, and starts it anew.
fn put(machine: &mut Machine, fixture: &[u8]) {
    machine.shell("umask 077; rm -f /run/state.b64").unwrap();
    // The terminal takes lines of so many bytes.
    for chunk in BASE64_STANDARD.encode(fixture).as_bytes().chunks(3000) {
        machine.shell(&format!("echo {} >>/run/state.b64", str::from_utf8(chunk).unwrap())).unwrap();
    }
    let agent = machine.shell("pidof holdfastd").unwrap();
    let lines = [
        &format!("kill -STOP {agent}"),
        "cd /var/lib/holdfast",
        "rm -rf *.json generations/* instances/* secrets/* volumes/*/*.json events/* network/*",
        "base64 -d /run/state.b64 | gunzip | tar x",
        "chmod 700 generations instances secrets events",
        "chmod 711 volumes volumes/*",
        "mkdir -p volumes/00000000000000a1/data volumes/00000000000000a2/data-2",
        "chmod 755 volumes/*/data*",
        "echo kept >volumes/00000000000000a1/data/file",
        "echo gone >volumes/00000000000000a2/data-2/file",
        "sync",
        &format!("kill -9 {agent}"),
    ];
    machine.shell(&lines.join(" && ")).unwrap();
    wait_until("another agent", CHANGE, || {
        let now = machine.shell("pidof holdfastd || true").unwrap();
        let answers = now != agent && machine.cli(&["version"]).unwrap().status.success();
        if answers { Ok(()) } else { Err(now) }
    });
}

/// The box serves what the fixture says, with the volumes and secrets that it had.
fn goes_on(machine: &mut Machine) {
    machine.wait_served("kept page", BOOT).unwrap();
    settled(machine);
    let status = machine.json(&["status"], &[0]).unwrap();
    assert_eq!(status["user_data"]["generation"], 2, "{status}");
    wait_until("the volume in its container", CHANGE, || {
        let read =
            machine.cli(&["exec", "probe.sh", "--", "/bin/cat", "/data/file", "/run/secrets/made"]).unwrap();
        let said = out(&read);
        if said.contains("kept") && said.contains("0123456789abcdef0123") { Ok(()) } else { Err(said) }
    });
    assert_eq!(machine.shell("cat /var/lib/holdfast/volumes/00000000000000a2/data-2/file").unwrap(), "gone");
    assert!(text(machine, &["volumes"]).contains("gone"));
}

#[test]
fn full_a_box_goes_on_with_data_of_each_format_and_of_a_version_that_is_not_there_yet() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    // User-data in base64, as some tools make it.
    let setup = Setup { shell: true, ..Setup::with(BASE64_STANDARD.encode(settings(&registry))) };
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    wait_until("the document in force", CHANGE, || {
        let status = machine.json(&["status"], &[0, 3]).unwrap();
        if status["user_data"]["generation"] == 1 { Ok(()) } else { Err(status.to_string()) }
    });

    put(&mut machine, &fixture(&lab, &registry, "format-1"));
    goes_on(&mut machine);
    assert!(!text(&machine, &["events"]).contains("state-format"));

    put(&mut machine, &fixture(&lab, &registry, "format-next"));
    goes_on(&mut machine);
    let status = machine.json(&["status"], &[0]).unwrap();
    assert!(status["warnings"].to_string().contains("what was kept of it"), "{status}");
    let events = text(&machine, &["events"]);
    let said = |events: &str| events.matches("what was kept of it in format 1 is used").count();
    let files = machine.shell("cd /var/lib/holdfast; find . -name '*.format-2' | wc -l").unwrap();
    assert_eq!(said(&events).to_string(), files, "{events}");
    assert!(events.contains("instances/site.json` in format 2"), "{events}");

    // What comes now is kept as ever, and nothing is said twice.
    let accepted = apply(&machine, &page(&registry, "another page"), &["--remove"]);
    assert!(accepted.status.success(), "{}", out(&accepted));
    machine.wait_served("another page", CHANGE).unwrap();
    machine.kill().unwrap();
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("another page", BOOT).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    // The record says what slot b held, and there it is not: that is found after the cut, and nothing else.
    wait_until("a box that has read its slots", CHANGE, || {
        let status = machine.json(&["status"], &[0, 3]).unwrap();
        let problems = status["problems"].as_array().unwrap();
        let only =
            problems.len() == 1 && problems[0].as_str().unwrap().starts_with("slot b (0.0.9) is damaged");
        if only && status["instances"][0]["health"] == "healthy" { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(said(&text(&machine, &["events"])).to_string(), files);
    machine.kill().unwrap();
}
