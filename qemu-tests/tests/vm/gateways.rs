//! Static settings whose gateway is silent give way, and it is said.

use std::time::Duration;

use crate::common::{BOOT, DISK, apply, lab, out, settings, site, text, wait_until};
use qemu_tests::{Answer, Disk, Machine, NameServer, Setup};
use serde_json::Value;

/// Nobody has these addresses in QEMU's network; 10.0.2.2 and fec0::2 answer.
const SILENT: &str = "10.0.2.77";
const SILENT_V6: &str = "fec0::77";
/// The wait for an answer, and what a busy host adds.
const LIMIT: Duration = Duration::from_secs(150);

fn interface(address: &str, via: &str) -> String {
    format!(
        "[[box.interface]]\nmatch = {{ mac = \"52:54:00:12:34:56\" }}\ndhcp4 = false\n\
         addresses = [\"{address}\"]\nroutes = [{{ to = \"default\", via = \"{via}\" }}]\ndns = [\"10.0.2.3\"]\n"
    )
}

fn nic(machine: &Machine) -> Value {
    let status = machine.json(&["status"], &[0, 3]).unwrap();
    status["interfaces"][0].clone()
}

fn wait_for(machine: &Machine, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, LIMIT, || {
        let nic = nic(machine);
        if wanted(&nic) { Ok(nic) } else { Err(nic.to_string()) }
    })
}

fn silent(nic: &Value, gateway: &str) -> bool {
    nic["problem"].as_str().is_some_and(|problem| problem.contains(gateway))
}

#[test]
fn full_a_silent_gateway_gives_way_to_dhcp_and_later_to_the_last_good_settings() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let document = |interface: &str| settings(&registry) + interface + &site(&registry, "whichever way");
    // At boot, with nothing that worked before: DHCP.
    let bad = document(&interface("10.0.2.99/24", SILENT));
    let mut machine = Machine::boot(&lab, &disk, &Setup { shell: true, ..Setup::with(bad) }).unwrap();
    machine.wait_served("whichever way", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    NameServer::start(Answer::Failure).unwrap().redirect(&mut machine).unwrap();
    let given_up = wait_for(&machine, "DHCP", |nic| nic["source"] == "fallback" && silent(nic, SILENT));
    assert!(given_up["addresses"].to_string().contains("10.0.2.15/24"), "{given_up}");
    let status = machine.cli(&["status"]).unwrap();
    assert_eq!(status.status.code(), Some(3), "{}", out(&status));
    assert!(out(&status).contains(SILENT), "{}", out(&status));
    assert!(text(&machine, &["events"]).contains("gateway-silent"));

    // By apply: those that work stay, and are what later ones give way to.
    let good = apply(&machine, &document(&interface("10.0.2.15/24", "10.0.2.2")), &[]);
    assert!(matches!(good.status.code(), Some(0 | 3)), "{}", out(&good));
    text(&machine, &["network", "confirm"]);
    wait_for(&machine, "static", |nic| nic["source"] == "static" && nic["problem"].is_null());
    let events = text(&machine, &["events"]).matches("gateway-silent").count();
    // What is tried is left alone, and said to be silent.
    apply(&machine, &document(&interface("10.0.2.15/24", SILENT)), &["--no-wait"]);
    wait_for(&machine, "silence", |nic| nic["source"] == "static" && silent(nic, SILENT));
    assert_eq!(text(&machine, &["events"]).matches("gateway-silent").count(), events + 1);
    text(&machine, &["network", "revert"]);
    wait_for(&machine, "static", |nic| nic["source"] == "static" && nic["problem"].is_null());
    machine.kill().unwrap();

    // At boot as another box, with a document that nobody tries: the last good.
    let other = |id: &str, via: &str, address: &str| Setup {
        instance_id: id.into(),
        ..Setup::with(document(&interface(address, via)))
    };
    let machine = Machine::boot(&lab, &disk, &other("i-2", SILENT, "10.0.2.15/24")).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let back = wait_for(&machine, "the last good", |nic| nic["source"] == "last-good" && silent(nic, SILENT));
    assert!(back["gateways"].to_string().contains("10.0.2.2"), "{back}");
    machine.kill().unwrap();
    // The same by neighbour discovery.
    let machine = Machine::boot(&lab, &disk, &other("i-3", SILENT_V6, "fec0::99/64")).unwrap();
    wait_until("the last good again", BOOT, || match machine.cli(&["status", "--json"]) {
        Ok(done) if out(&done).contains(SILENT_V6) && out(&done).contains("last-good") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    machine.wait_served("whichever way", BOOT).unwrap();
    machine.kill().unwrap();
}
