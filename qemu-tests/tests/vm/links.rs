//! NICs: their addresses, routes and settings, those that come late and go, and the clock that comes by them.

use std::io::Write;
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::{BOOT, CHANGE, DISK, apply, lab, out, resumed, settings, text, wait_until};
use qemu_tests::{Disk, Machine, Setup, TimeServer};
use serde_json::{Value, json};

/// The first NIC's hardware address.
const MAC: &str = "52:54:00:12:34:56";
/// The address that comes of it and of the prefix that QEMU's router tells.
const SLAAC: &str = "fec0::5054:ff:fe12:3456/64";
/// The hardware address of the one that comes late.
const LATE: &str = "52:54:00:00:00:99";
/// What it makes of that in its own router's prefix.
const LATE_SLAAC: &str = "2001:db8:9:0:5054:ff:fe00:99/64";

/// What `status` says of the NIC with this hardware address.
fn nic(machine: &Machine, mac: &str) -> Option<Value> {
    let status = machine.json(&["status"], &[0, 3]).unwrap();
    let all = status["interfaces"].as_array().unwrap().iter();
    all.clone().find(|nic| nic["mac"] == mac).cloned()
}

fn wait_for(machine: &Machine, mac: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, CHANGE, || match nic(machine, mac) {
        Some(nic) if wanted(&nic) => Ok(nic),
        other => Err(format!("{other:?}")),
    })
}

fn has(list: &Value, wanted: &str) -> bool {
    list.as_array().is_some_and(|all| all.iter().any(|one| one == wanted))
}

/// Applies a document that must be taken.
fn put(machine: &Machine, document: &str) {
    let done = apply(machine, document, &["--no-wait"]);
    assert!(done.status.success(), "{}", out(&done));
}

/// Greets whoever connects on the host's loopback, which to the box is its gateway; the port.
fn greeter(loopback: &str) -> u16 {
    let listener = TcpListener::bind((loopback, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Whoever has gone is not greeted.
            let _ = stream.write_all(b"hello\n");
        }
    });
    port
}

#[test]
fn static_settings_by_apply_and_back() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &settings(&registry), &[]);
    automatic(&mut machine);
    // As rented servers have it: nobody else is on the link, and the gateways are in no network of the box's.
    let interface = format!(
        "[[box.interface]]\nmatch = {{ mac = \"{MAC}\" }}\ndhcp4 = false\naccept_ra = false\nmtu = 1400\n\
         addresses = [\"10.0.2.15/32\", \"2001:db8::99/128\"]\ndns = [\"10.0.2.3\"]\n\
         routes = [{{ to = \"default\", via = \"10.0.2.2\", on_link = true }},\n\
         {{ to = \"default\", via = \"fec0::2\", on_link = true }}]\n"
    );
    put(&machine, &(settings(&registry) + &interface));
    let fixed = wait_for(&machine, MAC, "static settings", |nic| {
        nic["source"] == "static"
            && nic["addresses"] == json!(["10.0.2.15/32", "2001:db8::99/128"])
            && nic["gateways"] == json!(["10.0.2.2", "fec0::2"])
    });
    assert!(fixed["problem"].is_null(), "{fixed}");
    text(&machine, &["network", "confirm"]);
    let name = fixed["name"].as_str().unwrap();
    assert_eq!(machine.shell(&format!("cat /sys/class/net/{name}/mtu")).unwrap(), "1400");
    assert!(!machine.shell("ip -6 addr").unwrap().contains(SLAAC), "routers are not heard");
    let resolver = machine.shell("cat /etc/resolv.conf").unwrap();
    assert!(resolver.contains("nameserver 10.0.2.3"), "{resolver}");
    // Also the gateways themselves are reached by the routes alone.
    let reached = [("10.0.2.2", greeter("127.0.0.1")), ("fec0::2", greeter("::1"))];
    for (address, port) in reached {
        assert_eq!(greeted(&mut machine, address, port), "hello", "{address}");
    }
    // What somebody else takes away comes back.
    machine.shell("ip route del default; ip -6 route del default").unwrap();
    for (address, port) in reached {
        wait_until("the route", CHANGE, || match greeted(&mut machine, address, port) {
            said if said == "hello" => Ok(()),
            said => Err(said),
        });
    }

    put(&machine, &settings(&registry));
    automatic(&mut machine);
    text(&machine, &["network", "confirm"]);
    clock(&mut machine, &settings(&registry));
    machine.kill().unwrap();
}

/// Waits until the first NIC has what DHCP and the router's advertisements give.
fn automatic(machine: &mut Machine) {
    let found = wait_for(machine, MAC, "DHCP and router advertisements", |nic| {
        nic["source"] == "dhcp"
            && has(&nic["addresses"], "10.0.2.15/24")
            && nic["gateways"] == json!(["10.0.2.2", "fe80::2"])
    });
    let name = found["name"].as_str().unwrap();
    wait_until("an address of the announced prefix", CHANGE, || {
        let addresses = machine.shell(&format!("ip -6 addr show dev {name}")).unwrap();
        if addresses.contains(SLAAC) { Ok(()) } else { Err(addresses) }
    });
}

/// What somebody outside says to the box.
fn greeted(machine: &mut Machine, address: &str, port: u16) -> String {
    machine.shell(&format!("timeout 10 nc -w 5 {address} {port} </dev/null || true")).unwrap()
}

/// Time servers of user-data: one that does not answer, then one that does, and is days ahead.
fn clock(machine: &mut Machine, settings: &str) {
    let with = |server: &str| settings.replace("[box]\n", &format!("[box]\nntp = [\"{server}\"]\n"));
    put(machine, &with("10.0.2.77"));
    let time = |machine: &Machine| machine.json(&["status"], &[0, 3]).unwrap()["time"].clone();
    let wait = |machine: &Machine, server: &str, synchronized: bool| {
        wait_until(server, CHANGE, || match time(machine) {
            time if time["server"] == server && time["synchronized"] == synchronized => Ok(()),
            time => Err(time.to_string()),
        });
    };
    wait(machine, "10.0.2.77", false);
    TimeServer::start(AHEAD).unwrap().redirect(machine).unwrap();
    put(machine, &with("10.0.2.2"));
    wait(machine, "10.0.2.2", true);
    let now: u64 = machine.shell("date +%s").unwrap().parse().unwrap();
    assert!(now > epoch() + AHEAD / 2, "{now}");
}

/// Seconds that the time server is ahead.
const AHEAD: u64 = 2 * 24 * 3600;

fn epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn full_a_nic_comes_late_goes_and_comes_back() {
    let (lab, _registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let mut setup = Setup { shell: true, hostname: "named-outside".into(), ..Setup::with("format = 1\n") };
    setup.arguments = ["-device", "pcie-root-port,id=hot,chassis=1"].map(str::to_owned).to_vec();
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let name = || machine.json(&["status"], &[0, 3]).unwrap()["hostname"].clone();
    wait_until("the provider's host name", CHANGE, || {
        if name() == "named-outside" { Ok(()) } else { Err(name().to_string()) }
    });
    assert_eq!(ours(&mut machine), Vec::<String>::new(), "one way out needs no rules");
    let network =
        json!({ "type": "user", "id": "late", "net": "10.9.0.0/24", "ipv6-prefix": "2001:db8:9::" });
    machine.qmp("netdev_add", network).unwrap();

    plug(&mut machine);
    let late = wait_for(&machine, LATE, "a lease, and what the router tells", |nic| {
        nic["source"] == "dhcp" && nic["addresses"] == json!(["10.9.0.15/24", LATE_SLAAC])
    });
    assert!(has(&late["gateways"], "10.9.0.2"), "{late}");
    let late_name = late["name"].as_str().unwrap();
    let first = nic(&machine, MAC).unwrap();
    by_source(&mut machine, &[("10.0.2.15", "10.0.2.2", &first), ("10.9.0.15", "10.9.0.2", &late)]);

    unplug(&mut machine);
    let events = text(&machine, &["events"]);
    assert!(events.contains("nic-gone") && events.contains(&format!("{late_name}: it is gone")), "{events}");
    wait_until("no rules", CHANGE, || match ours(&mut machine) {
        none if none.is_empty() => Ok(()),
        some => Err(some.join("\n")),
    });

    // Settings for a NIC that is not there wait for it.
    let interface = format!(
        "format = 1\n[box]\n[[box.interface]]\nmatch = {{ mac = \"{LATE}\" }}\naddresses = [\"10.9.0.77/24\"]\n\
         routes = [{{ to = \"default\", via = \"10.9.0.2\" }}]\n"
    );
    put(&machine, &interface);
    plug(&mut machine);
    let fixed = wait_for(&machine, LATE, "static settings", |nic| {
        nic["source"] == "static" && has(&nic["addresses"], "10.9.0.77/24")
    });
    assert!(!has(&fixed["addresses"], "10.9.0.15/24") && fixed["problem"].is_null(), "{fixed}");
    by_source(&mut machine, &[("10.0.2.15", "10.0.2.2", &first), ("10.9.0.77", "10.9.0.2", &fixed)]);
    text(&machine, &["network", "confirm"]);
    machine.kill().unwrap();
}

fn plug(machine: &mut Machine) {
    let device = json!({
        "driver": "virtio-net-pci", "id": "nic", "netdev": "late", "bus": "hot", "mac": LATE, "romfile": ""
    });
    // The last one may still be on its way out.
    wait_until("a slot for the NIC", CHANGE, || {
        machine.qmp("device_add", device.clone()).map_err(|error| format!("{error:#}"))
    });
}

fn unplug(machine: &mut Machine) {
    machine.qmp("device_del", json!({ "id": "nic" })).unwrap();
    wait_until("a NIC that is gone", CHANGE, || match nic(machine, LATE) {
        None => Ok(()),
        Some(nic) => Err(nic.to_string()),
    });
}

/// The kernel's rules that are not its own.
fn ours(machine: &mut Machine) -> Vec<String> {
    let rules = machine.shell("ip rule; ip -6 rule").unwrap();
    let own = |rule: &&str| ["0:", "32766:", "32767:"].iter().any(|priority| rule.starts_with(priority));
    rules.lines().filter(|rule| !own(rule)).map(str::to_owned).collect()
}

/// Waits until each address is answered from by its own NIC.
fn by_source(machine: &mut Machine, ways: &[(&str, &str, &Value)]) {
    for (address, gateway, nic) in ways {
        let wanted = format!("via {gateway} dev {}", nic["name"].as_str().unwrap());
        let rule = format!("from {address} ");
        wait_until(&wanted, CHANGE, || {
            let rules = ours(machine).join("\n");
            let way = machine.shell(&format!("ip route get 192.0.2.1 from {address}")).unwrap();
            if way.contains(&wanted) && rules.contains(&rule) {
                Ok(())
            } else {
                Err(format!("{way}\n{rules}"))
            }
        });
    }
    let marks = ours(machine).iter().filter(|rule| rule.contains("fwmark")).count();
    assert_eq!(marks, ways.len());
}
