//! Boxes that follow a publisher: what is staged, switched to, kept and gone back from.

use std::time::Duration;

use crate::common::{BOOT, CHANGE, DISK, lab, page, started, text, wait_until};
use image_layout::Slot;
use qemu_tests::{Disk, FIRST, Lab, Machine, Publisher, Registry, SECOND, Setup};
use serde_json::Value;

/// A document with the page and a publisher.
fn document(registry: &Registry, publisher: &Publisher, text: &str) -> String {
    let update = format!("[box.update]\nurl = \"{}\"\npolicy = \"manual\"\n", publisher.url());
    page(registry, text).replace("[box]\n", "[box]\nntp = [\"127.0.0.1\"]\n") + "\n" + &update
}

fn setup(document: &str) -> Setup {
    Setup { shell: true, time_server: Some(env!("CARGO_BIN_EXE_sntp").into()), ..Setup::with(document) }
}

fn disk(lab: &Lab, publisher: &Publisher) -> Disk {
    Disk::of(lab, &publisher.raw(FIRST), "disk.raw", DISK).unwrap()
}

/// Waits until the box's clock was set.
fn clock(machine: &Machine) {
    wait_until("a clock that was set", CHANGE, || {
        let status = machine.json(&["status"], &[0, 3]).unwrap();
        if status["time"]["synchronized"] == true { Ok(()) } else { Err(status["time"].to_string()) }
    });
}

fn update(machine: &Machine) -> Value {
    machine.json(&["update"], &[0, 3]).unwrap()
}

#[test]
fn a_box_updates_to_the_next_release_and_back() {
    let (lab, registry) = lab();
    let publisher = Publisher::new(&lab).unwrap();
    publisher.add(&publisher.image(SECOND)).unwrap();
    let document = document(&registry, &publisher, "before and after");
    let machine = Machine::boot(&lab, &disk(&lab, &publisher), &setup(&document)).unwrap();
    machine.wait_served("before and after", BOOT).unwrap();
    clock(&machine);
    assert_eq!(update(&machine)["running"], FIRST);
    let checked = machine.json(&["update", "check"], &[0]).unwrap();
    assert_eq!(
        (&checked["state"], &checked["available"]),
        (&"available".into(), &SECOND.into()),
        "{checked}"
    );

    let mark = machine.console.mark();
    let said = text(&machine, &["update", "apply"]);
    assert_eq!(said, format!("the box restarts into {SECOND}"));
    started(&machine, Slot::B, mark);
    machine.wait_served("before and after", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let status = wait_until("a version that stays", Duration::from_secs(300), || {
        let status = update(&machine);
        if status["last"]["kept"] == true { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!((&status["running"], &status["previous"]), (&SECOND.into(), &FIRST.into()), "{status}");

    let mark = machine.console.mark();
    assert_eq!(text(&machine, &["update", "rollback"]), format!("the box restarts into {FIRST}"));
    started(&machine, Slot::A, mark);
    machine.wait_served("before and after", BOOT).unwrap();
}

#[test]
fn full_a_boot_in_2038_or_in_1999_blocks_nothing() {
    let (lab, registry) = lab();
    let publisher = Publisher::new(&lab).unwrap();
    publisher.add(&publisher.image(SECOND)).unwrap();
    let document = document(&registry, &publisher, "in time");
    let disk = disk(&lab, &publisher);
    for (date, years) in [("2038-02-01T00:00:00", 2038..=2038), ("1999-02-01T00:00:00", 2026..=2037)] {
        let arguments = ["-rtc".to_owned(), format!("base={date}")].to_vec();
        let wrong = Setup { time_server: None, arguments, ..setup(&document) };
        let mut machine = Machine::boot(&lab, &disk, &wrong).unwrap();
        machine.wait_served("in time", BOOT).unwrap();
        let year: u32 = machine.shell("date +%Y").unwrap().parse().unwrap();
        assert!(years.contains(&year), "{date}: {year}");
        let refused = machine.cli(&["update", "check"]).unwrap();
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("no time server has set the clock"), "{said}");
        // There is a note of the time, which the next boot must not go by.
        machine.shell("ls /var/lib/systemd/timesync/clock").unwrap();
        machine.power_off(CHANGE).unwrap();
    }

    let mut machine = Machine::boot(&lab, &disk, &setup(&document)).unwrap();
    machine.wait_served("in time", BOOT).unwrap();
    assert_ne!(machine.shell("date +%Y").unwrap(), "2038");
    clock(&machine);
    assert_eq!(machine.json(&["update", "check"], &[0]).unwrap()["available"], SECOND);
    let mark = machine.console.mark();
    text(&machine, &["update", "apply"]);
    started(&machine, Slot::B, mark);
    machine.wait_served("in time", BOOT).unwrap();
}
