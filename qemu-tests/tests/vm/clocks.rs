//! Clocks that are wrong by decades until a time server answers: nothing is lost, and what did not work works then.

use std::time::Duration;

use crate::common::{BOOT, CHANGE, DISK, lab, out, text, wait_until};
use crate::fetches::{Authority, document};
use qemu_tests::{Disk, Machine, Setup, TimeServer};
use serde_json::Value;

fn status(machine: &Machine) -> Value {
    machine.json(&["status"], &[0, 3]).unwrap()
}

/// The year, of the box's own clock.
fn year(machine: &mut Machine) -> u32 {
    machine.shell("date +%Y").unwrap().parse().unwrap()
}

#[test]
fn full_a_box_that_boots_in_1970_or_2040_gets_over_it_when_a_time_server_answers() {
    let (lab, registry) = lab();
    // Valid from some days ago for some days.
    let authority = Authority::of(2026, 2030);
    let secured = authority.registry(&lab, &registry);
    let access = format!(
        "ca = \"\"\"{}\"\"\"\nusername = \"{}\"\npassword = \"{}\"\n",
        authority.pem,
        qemu_tests::USER.0,
        qemu_tests::USER.1
    );
    let hello = "[[recipe]]\nuse = \"hello\"\nparams = { word = \"whenever\" }\n";
    let document =
        document(&secured.host(), &access).replace("[box]\n", "[box]\nntp = [\"10.0.2.2\"]\n") + hello;
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();

    // In 2040 no certificate is valid any more, and what is noted now lies in the future afterwards.
    let setup = |date: &str| Setup {
        shell: true,
        arguments: vec!["-rtc".to_owned(), format!("base={date}")],
        ..Setup::with(document.clone())
    };
    let mut machine = Machine::boot(&lab, &disk, &setup("2040-06-01T00:00:00")).unwrap();
    machine.wait_served("whenever", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    assert_eq!(year(&mut machine), 2040);
    wait_until("a certificate that has expired", CHANGE, || {
        let status = status(&machine);
        let said = status["problems"].to_string();
        if said.contains("invalid peer certificate") { Ok(()) } else { Err(status.to_string()) }
    });
    let before = status(&machine);
    assert_eq!(before["time"]["synchronized"], false, "{before}");
    corrected(&mut machine);
    machine.power_off(CHANGE).unwrap();

    // What the first boot noted is of the future to this one.
    let mut machine = Machine::boot(&lab, &disk, &setup("1970-01-01T00:00:00")).unwrap();
    machine.wait_served("whenever", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let image = year(&mut machine);
    assert!((2026..2040).contains(&image), "the image's own date is the least: {image}");
    corrected(&mut machine);
    assert_eq!(text(&machine, &["exec", "probe.sh", "--", "/bin/echo", "runs"]), "runs");
    machine.kill().unwrap();
}

/// A time server answers: the clock is right, and everything runs, without anybody's doing.
fn corrected(machine: &mut Machine) {
    TimeServer::start(0).unwrap().redirect(machine).unwrap();
    wait_until("a clock that was set, and a healthy box", Duration::from_secs(600), || {
        let status = status(machine);
        let right = status["time"]["synchronized"] == true && status["health"] == "healthy";
        if right { Ok(()) } else { Err(format!("{} {}", status["time"], status["problems"])) }
    });
    let now = status(machine)["time"]["now"].as_str().unwrap().to_owned();
    let host = std::process::Command::new("date").arg("+%Y-%m").output().unwrap();
    assert!(now.starts_with(String::from_utf8_lossy(&host.stdout).trim()), "{now}: {}", out(&host));
    // Times that are counted, not told, did not jump.
    let all = machine.json(&["ps"], &[0, 3]).unwrap();
    for container in all.as_array().unwrap() {
        let uptime = container["uptime"].as_u64().unwrap_or(0);
        assert!(uptime < machine.age().as_secs() + 60, "{container}");
    }
}
