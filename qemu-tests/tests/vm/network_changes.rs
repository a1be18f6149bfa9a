//! Changes of the network end by themselves unless they are confirmed, and the provider's descriptions hold.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{BOOT, CHANGE, DISK, apply, lab, out, page, resumed, settings, text, wait_until};
use qemu_tests::{Answer, Channel, Disk, Gate, Lab, Machine, Mode, NameServer, Nic, Setup};
use serde_json::{Value, json};

/// The first NIC's hardware address.
const MAC: &str = "52:54:00:12:34:56";
const SECOND: &str = "52:54:00:12:34:57";
/// A public key whose other half is nowhere.
const NOBODYS_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICoiWpKmWTg/2K1qvcbdz22tNIk6jOM4rSgxHuhu18FN";
/// The two minutes of a trial, and what a busy host adds.
const TRIAL: Duration = Duration::from_secs(300);

/// What the box says of a NIC, or of all when there is none of that name; an error while it cannot be reached.
fn nic(machine: &Machine, name_or_mac: &str) -> Result<Value, String> {
    let state = machine.json(&["network"], &[0, 3]).map_err(|error| format!("{error:#}"))?;
    let all = state["interfaces"].as_array().unwrap().iter();
    let found = all.clone().find(|nic| nic["name"] == name_or_mac || nic["mac"] == name_or_mac);
    Ok(found.cloned().unwrap_or_else(|| state["interfaces"].clone()))
}

fn wait_for(machine: &Machine, nic: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, TRIAL, || {
        let nic = self::nic(machine, nic)?;
        if wanted(&nic) { Ok(nic) } else { Err(nic.to_string()) }
    })
}

fn has(nic: &Value, key: &str, value: &str) -> bool {
    nic[key].as_array().is_some_and(|all| all.iter().any(|one| one == value))
}

/// An ssh connection that stays, and by which commands can be sent as its owner would without noticing.
struct Shared {
    master: Child,
    path: String,
}

impl Shared {
    fn open(lab: &Lab, machine: &Machine) -> Shared {
        let path = lab.dir().join("shared").display().to_string();
        let mut ssh = machine.ssh_command();
        ssh.args(["-M", "-N", "-S", &path, "admin@127.0.0.1"]).stdin(Stdio::null());
        let master = ssh.spawn().unwrap();
        wait_until("a shared connection", CHANGE, || {
            if std::path::Path::new(&path).exists() { Ok(()) } else { Err("no socket".into()) }
        });
        Shared { master, path }
    }

    fn cli(&self, machine: &Machine, command: &str) -> std::process::Output {
        machine.ssh_command().args(["-S", &self.path, "admin@127.0.0.1", command]).output().unwrap()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.master.kill();
        let _ = self.master.wait();
    }
}

/// Lets a name server answer whatever is asked of any.
fn answer_names(machine: &mut Machine) {
    NameServer::start(Answer::Failure).unwrap().redirect(machine).unwrap();
}

/// A box with these settings, and what it is made of; name servers answer it.
fn booted(lab: &Lab, document: String) -> (Machine, Disk, Setup) {
    let disk = Disk::new(lab, "disk.raw", DISK).unwrap();
    let setup = Setup { shell: true, ..Setup::with(document) };
    let mut machine = Machine::boot(lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    answer_names(&mut machine);
    (machine, disk, setup)
}

/// Puts settings on trial by the CLI.
fn try_settings(machine: &Machine, settings: &str) -> std::process::Output {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(settings.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    machine.cli_with(&["network", "try", "-"], Stdio::from(file)).unwrap()
}

fn fixed(more: &str) -> String {
    format!(
        "[[box.interface]]\nmatch = {{ mac = \"{MAC}\" }}\naddresses = [\"10.0.2.15/24\"]\n\
         routes = [{{ to = \"default\", via = \"10.0.2.2\" }}]\n{more}"
    )
}

#[test]
fn what_is_tried_ends_unless_it_is_confirmed_by_a_new_connection() {
    let (lab, registry) = lab();
    let (mut machine, disk, setup) = booted(&lab, settings(&registry));

    // What is no network setting is refused with its place, and nothing is tried.
    let refused = try_settings(&machine, "[box]\nhostname = \"x\"\n");
    assert_eq!(refused.status.code(), Some(2), "{}", out(&refused));
    assert!(out(&refused).contains("stdin:2:1: `hostname` is no network setting"), "{}", out(&refused));
    let none = machine.cli(&["network", "confirm"]).unwrap();
    assert_eq!(none.status.code(), Some(4), "{}", out(&none));

    let shared = Shared::open(&lab, &machine);
    let tried = try_settings(&machine, &fixed("mtu = 1400\n"));
    assert!(tried.status.success(), "{}", out(&tried));
    wait_for(&machine, MAC, "what is tried", |nic| nic["source"] == "static" && nic["mtu"] == 1400);
    let old = shared.cli(&machine, "network confirm");
    assert_eq!(old.status.code(), Some(5), "{}", out(&old));
    assert!(out(&old).contains("older than the change"), "{}", out(&old));
    assert!(text(&machine, &["network"]).contains("being tried"));
    // A restart of the agent changes nothing of it.
    machine.shell("systemctl restart holdfastd").unwrap();
    wait_until("the agent", CHANGE, || match machine.cli(&["network"]) {
        Ok(done) if out(&done).contains("being tried") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    text(&machine, &["network", "confirm"]);
    assert!(text(&machine, &["network", "show"]).contains("confirmed by hand"));

    // It stands above the document, and nobody confirms that it should not.
    let dropped = text(&machine, &["network", "revert"]);
    assert!(dropped.contains("the document's settings are tried"), "{dropped}");
    wait_for(&machine, MAC, "the document's", |nic| nic["source"] == "dhcp");
    machine.kill().unwrap();
    // A power cut in the middle of it.
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    wait_for(&machine, MAC, "what was confirmed", |nic| nic["source"] == "static" && nic["mtu"] == 1400);
    text(&machine, &["network", "revert"]);
    text(&machine, &["network", "confirm"]);
    wait_for(&machine, MAC, "the document's", |nic| nic["source"] == "dhcp");
    assert!(text(&machine, &["network"]).contains("settings of the document"));
    machine.kill().unwrap();
}

#[test]
fn full_what_nobody_confirms_ends_by_itself_and_with_a_restart() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &settings(&registry), &[]);
    machine.wait_ssh(BOOT).unwrap();
    answer_names(&mut machine);
    let tries = |machine: &Machine| {
        let tried = try_settings(machine, &fixed("mtu = 1400\n"));
        assert!(tried.status.success(), "{}", out(&tried));
        wait_for(machine, MAC, "what is tried", |nic| nic["source"] == "static" && nic["mtu"] == 1400);
        assert!(text(machine, &["network"]).contains("being tried"));
    };
    let is_back = |machine: &Machine| {
        wait_for(machine, MAC, "the document's", |nic| nic["source"] == "dhcp");
        assert!(text(machine, &["network"]).contains("settings of the document"));
        let none = machine.cli(&["network", "confirm"]).unwrap();
        assert_eq!(none.status.code(), Some(4), "{}", out(&none));
    };
    // They work, and nothing but the time ends them: not a document that says nothing else of the network, and one that
    // does has to wait.
    tries(&machine);
    let applied = apply(&machine, &(settings(&registry) + "# Nothing of the network.\n"), &["--no-wait"]);
    assert!(applied.status.success() && !out(&applied).contains("tried for"), "{}", out(&applied));
    let refused = apply(&machine, &(settings(&registry) + &fixed("")), &["--no-wait"]);
    assert_eq!(refused.status.code(), Some(5), "{}", out(&refused));
    assert!(out(&refused).contains("a change of the network is being tried"), "{}", out(&refused));
    let tried = nic(&machine, MAC).unwrap();
    assert_eq!((&tried["source"], &tried["mtu"]), (&json!("static"), &json!(1400)), "{tried}");
    is_back(&machine);
    let events = text(&machine, &["events"]);
    assert!(events.contains("nobody confirmed them within 120 seconds"), "{events}");

    tries(&machine);
    let mark = machine.console.mark();
    // The connection may be cut before the answer.
    let _ = machine.cli(&["reboot"]).unwrap();
    machine.console.wait_after(mark, "Holdfast: slot a on", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    is_back(&machine);
    let events = text(&machine, &["events"]);
    assert_eq!(events.matches("nobody confirmed them").count(), 1, "the restart ended the second: {events}");
    machine.kill().unwrap();
}

#[test]
fn full_a_document_that_cuts_its_owner_off_is_undone() {
    let (lab, registry) = lab();
    let (mut machine, disk, setup) = booted(&lab, settings(&registry));
    // The gateway is right and answers, the address is not the one that leads here.
    let wrong = settings(&registry) + &fixed("").replace("10.0.2.15", "10.0.2.99");
    let applied = apply(&machine, &wrong, &["--no-wait"]);
    assert!(out(&applied).contains("tried for 120 seconds"), "{}", out(&applied));
    wait_until("the wrong address", CHANGE, || {
        let said = machine.shell("ip -4 addr show").unwrap();
        if said.contains("10.0.2.99/24") && !said.contains("10.0.2.15/24") { Ok(()) } else { Err(said) }
    });
    wait_until("a box that is cut off", CHANGE, || match machine.cli(&["status"]) {
        Ok(done) if done.status.code() == Some(255) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    wait_until("a box that is back", TRIAL, || match machine.cli(&["network"]) {
        Ok(done) if out(&done).contains("settings before the document's") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(text(&machine, &["events"]).contains("network-reverted"));
    let status = machine.json(&["status"], &[0, 3]).unwrap();
    assert_eq!(status["user_data"]["generation"], 2, "the document is accepted all the same");

    // After a restart too, and the same document is tried again when it is applied again.
    drop(machine);
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    answer_names(&mut machine);
    assert!(text(&machine, &["network"]).contains("settings before the document's"));
    let again = apply(&machine, &wrong, &["--no-wait"]);
    assert!(out(&again).contains("tried for 120 seconds"), "{}", out(&again));
    machine.wait_ssh(TRIAL).unwrap();

    // The last key is not taken away by mistake.
    let locked = wrong.replace("[box]\n", "[box]\nprovider_keys = false\n");
    let refused = apply(&machine, &locked, &["--no-wait"]);
    assert_eq!(refused.status.code(), Some(5), "{}", out(&refused));
    assert!(out(&refused).contains("takes the last one away"), "{}", out(&refused));
    // Nor exchanged for one by which nobody has logged in yet.
    let admins = format!("[box]\nprovider_keys = false\nadmins = [\"{NOBODYS_KEY}\"]\n");
    let refused = apply(&machine, &wrong.replace("[box]\n", &admins), &["--no-wait"]);
    assert_eq!(refused.status.code(), Some(5), "{}", out(&refused));
    assert!(out(&refused).contains("none of the keys"), "{}", out(&refused));

    // One that is confirmed after it does not make it good: the box may come back to it.
    let is_before = |machine: &Machine| {
        wait_until("the settings before", TRIAL, || match machine.cli(&["network"]) {
            Ok(done) if out(&done).contains("settings before the document's") => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    is_before(&machine);
    let applied = apply(&machine, &(settings(&registry) + &fixed("mtu = 1400\n")), &["--no-wait"]);
    assert!(out(&applied).contains("tried for 120 seconds"), "{}", out(&applied));
    let good = |nic: &Value| nic["source"] == "static" && nic["mtu"] == 1400;
    wait_for(&machine, MAC, "settings that are good", good);
    text(&machine, &["network", "confirm"]);
    let status = machine.json(&["status"], &[0, 3]).unwrap();
    assert_eq!(status["user_data"]["generation"], 3);
    machine.shell("rm /var/lib/holdfast/generations/3.json*; systemctl restart holdfastd").unwrap();
    is_before(&machine);
    wait_for(&machine, MAC, "settings that are good", good);
    machine.kill().unwrap();
}

#[test]
fn full_settings_whose_name_servers_are_silent_give_way_to_those_that_worked() {
    let (lab, registry) = lab();
    let document = settings(&registry) + &fixed("accept_ra = false\ndns = [\"10.0.2.3\"]\n");
    let (machine, disk, setup) = booted(&lab, document.clone());
    wait_for(&machine, MAC, "settings that are good", |nic| {
        nic["source"] == "static" && nic["problem"].is_null()
    });
    // Those of another box's document, as after a snapshot: nobody tries them, so they have to prove themselves.
    machine.kill().unwrap();
    let silent = document.replace("10.0.2.3", "10.0.2.77");
    let other = Setup { instance_id: "i-2".into(), user_data: Setup::with(silent).user_data, ..setup };
    let machine = Machine::boot(&lab, &disk, &other).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let back = wait_for(&machine, MAC, "the last good", |nic| nic["source"] == "last-good");
    assert!(back["problem"].as_str().unwrap().contains("10.0.2.77 did not answer"), "{back}");
    assert!(text(&machine, &["events"]).contains("resolver-silent"));
    machine.kill().unwrap();
}

/// What OpenStack says of static addresses, name servers and an MTU.
#[test]
fn full_a_config_drive_that_describes_static_addresses() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let network = json!({
        "links": [
            { "id": "tap1", "type": "ovs", "ethernet_mac_address": MAC, "mtu": 1442 },
            { "id": "tap2", "type": "ovs", "ethernet_mac_address": SECOND },
        ],
        "networks": [
            {
                "id": "network0", "type": "ipv4", "link": "tap1",
                "ip_address": "10.0.2.15", "netmask": "255.255.255.0",
                "routes": [{ "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.2.2" }],
            },
            { "id": "network1", "type": "ipv4_dhcp", "link": "tap2" },
        ],
        "services": [{ "type": "dns", "address": "10.0.2.3" }],
    });
    let more = Nic { net: "10.9.0.0/24".into(), mac: SECOND.into() };
    let setup = Setup {
        network: Some(network.to_string()),
        more_nics: vec![more],
        ..Setup::with(page(&registry, "described")).by(Channel::ConfigDrive)
    };
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_served("described", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let first = wait_for(&machine, MAC, "static addresses", |nic| nic["source"] == "provider");
    assert!(has(&first, "addresses", "10.0.2.15/24") && has(&first, "gateways", "10.0.2.2"), "{first}");
    assert_eq!((&first["mtu"], &first["problem"]), (&json!(1442), &Value::Null));
    let second = wait_for(&machine, SECOND, "a lease", |nic| has(nic, "addresses", "10.9.0.15/24"));
    assert_eq!(second["source"], "provider");
    let state = machine.json(&["network"], &[0]).unwrap();
    assert!(state["provider"] == true && has(&state, "dns", "10.0.2.3"), "{state}");
    // The owner's settings come first.
    let owner = page(&registry, "described").replace(
        "[[recipe]]",
        &format!(
            "[[box.interface]]\nmatch = {{ mac = \"{SECOND}\" }}\naddresses = [\"10.9.0.77/24\"]\n[[recipe]]"
        ),
    );
    apply(&machine, &owner, &["--no-wait"]);
    wait_for(&machine, SECOND, "the owner's", |nic| {
        nic["source"] == "static" && has(nic, "addresses", "10.9.0.77/24")
    });
    assert_eq!(nic(&machine, MAC).unwrap()["source"], "provider");
    machine.kill().unwrap();
}

/// A bond of the first two NICs, and a VLAN on the third, at whose other end is the fourth in a network
/// namespace of its own. The fifth is alone in a bond of LACP, by which nothing has to come.
#[test]
fn full_a_bond_and_a_vlan_of_the_providers() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let (third, fourth, fifth) = ("52:54:00:12:34:58", "52:54:00:12:34:59", "52:54:00:12:34:5a");
    let network = format!(
        "version: 2\nethernets:\n  a: {{match: {{macaddress: '{MAC}'}}}}\n  b: {{match: {{macaddress: '{SECOND}'}}}}\n  \
         c: {{match: {{macaddress: '{third}'}}}}\n  e: {{match: {{macaddress: '{fifth}'}}}}\n\
         bonds:\n  bond0:\n    interfaces: [a, b]\n    parameters: {{mode: active-backup, mii-monitor-interval: 100}}\n    dhcp4: true\n  \
         bond1:\n    interfaces: [e]\n    parameters: {{mode: 802.3ad, lacp-rate: fast, \
         transmit-hash-policy: layer3+4}}\n\
         vlans:\n  vlan7: {{id: 7, link: c, addresses: [192.0.2.7/24]}}\n"
    );
    let hub = |n: u8, mac: &str| {
        [
            "-netdev".to_owned(),
            format!("hubport,id=hub{n},hubid=1"),
            "-device".to_owned(),
            format!("virtio-net-pci,netdev=hub{n},romfile=,mac={mac}"),
        ]
    };
    let setup = Setup {
        shell: true,
        network: Some(network),
        more_nics: vec![Nic { net: "10.0.2.0/24".into(), mac: SECOND.into() }],
        arguments: [hub(1, third), hub(2, fourth), hub(3, fifth)].concat(),
        ..Setup::with(page(&registry, "by a bond"))
    };
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.console.wait("holdfast: host-key", BOOT).unwrap();
    // The host's ports lead to the first NIC alone, and the bond uses whichever was up first.
    let active = format!(
        "P=$(grep -i -B 6 '{MAC}' /proc/net/bonding/bond0 | sed -n 's/^Slave Interface: //p'); \
         echo $P >/sys/class/net/bond0/bonding/active_slave"
    );
    wait_until("the bond's first port", BOOT, || {
        machine.shell(&active).map_err(|error| format!("{error:#}"))
    });
    machine.wait_served("by a bond", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let bond = wait_for(&machine, "bond0", "a lease", |nic| has(nic, "addresses", "10.0.2.15/24"));
    assert_eq!((&bond["source"], &bond["problem"]), (&json!("provider"), &Value::Null));
    let state = machine.json(&["network"], &[0, 3]).unwrap();
    let names: Vec<&str> =
        state["interfaces"].as_array().unwrap().iter().filter_map(|nic| nic["name"].as_str()).collect();
    assert_eq!(names.len(), 5, "the bonds, the VLAN and two NICs: {state}");
    let ports = machine.shell("grep -c 'Slave Interface' /proc/net/bonding/bond0").unwrap();
    assert_eq!(ports, "2");
    let lacp = machine.shell("cat /proc/net/bonding/bond1").unwrap();
    for said in [
        "Bonding Mode: IEEE 802.3ad Dynamic link aggregation",
        "Transmit Hash Policy: layer3+4 (1)",
        "LACP rate: fast",
        "Slave Interface: ",
    ] {
        assert!(lacp.contains(said), "{said}: {lacp}");
    }

    let far = machine.shell(&format!("grep -l {fourth} /sys/class/net/*/address")).unwrap();
    let far = far.trim_start_matches("/sys/class/net/").trim_end_matches("/address").to_owned();
    machine
        .shell(&format!(
            "unshare -n sleep 600 >/dev/null 2>&1 & sleep 1; P=$(pidof sleep | tr ' ' '\\n' | tail -n 1); \
             ip link set {far} netns $P; nsenter -t $P -n sh -c '\
             ip link set {far} up; ip link add link {far} name tag type vlan id 7; ip link set tag up; \
             ip addr add 192.0.2.1/24 dev tag'"
        ))
        .unwrap();
    wait_until("an answer by the tagged network", CHANGE, || {
        let said = machine.shell("ping -c 1 -W 2 192.0.2.1 || true").unwrap();
        if said.contains("1 packets received") { Ok(()) } else { Err(said) }
    });
    wait_for(&machine, "vlan7", "its address", |nic| has(nic, "addresses", "192.0.2.7/24"));
    // The agent starts anew, and everything stays.
    let before = machine.shell("ip link show bond0; ip link show vlan7").unwrap();
    machine.shell("systemctl restart holdfastd").unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    wait_for(&machine, "vlan7", "its address", |nic| has(nic, "addresses", "192.0.2.7/24"));
    assert_eq!(machine.shell("ip link show bond0; ip link show vlan7").unwrap(), before);
    machine.kill().unwrap();
}

#[test]
fn full_a_bond_that_leads_nowhere_is_done_without() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let network = format!(
        "version: 2\nethernets:\n  a: {{match: {{macaddress: '{MAC}'}}}}\n\
         bonds:\n  bond0:\n    interfaces: [a]\n    addresses: [10.0.2.15/24]\n    gateway4: 10.0.2.77\n"
    );
    let setup = Setup { network: Some(network), ..Setup::with(page(&registry, "without")) };
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let back = wait_for(&machine, MAC, "the NIC by itself", |nic| {
        nic["name"] != "bond0" && has(nic, "addresses", "10.0.2.15/24") && has(nic, "gateways", "10.0.2.2")
    });
    assert!(back["problem"].as_str().is_some_and(|said| said.contains("10.0.2.77 did not answer")), "{back}");
    machine.wait_served("without", CHANGE).unwrap();
    machine.kill().unwrap();
}

/// A metadata service that is not well at first; the port on the host's loopback, and how often it was asked.
fn service(user_data: String, network: String, key: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let metadata =
        json!({ "uuid": "i-service", "hostname": "served", "public_keys": { "owner": key } }).to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let turn = count.fetch_add(1, Ordering::SeqCst);
            let answer = |path: &str| match path {
                _ if turn < 2 => None,
                "/openstack/latest/meta_data.json" => Some(metadata.clone()),
                "/openstack/latest/user_data" => Some(user_data.clone()),
                "/openstack/latest/network_data.json" => Some(network.clone()),
                _ => None,
            };
            // Who has gone is not answered.
            let _ = reply(stream, answer);
        }
    });
    (port, asked)
}

fn reply(mut stream: TcpStream, answer: impl Fn(&str) -> Option<String>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
    let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
    match answer(&path) {
        Some(body) => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        None => stream.write_all(b"HTTP/1.1 503 Not Yet\r\nContent-Length: 0\r\n\r\n"),
    }
}

#[test]
fn full_a_metadata_service_that_is_late_holds_nothing_up() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let network = json!({
        "links": [{ "id": "a", "type": "phy", "ethernet_mac_address": MAC, "mtu": 1450 }],
        "networks": [{ "id": "n", "type": "ipv4_dhcp", "link": "a" }],
    });
    let (port, asked) =
        service(page(&registry, "by the service"), network.to_string(), lab.public_key().unwrap());
    // Until the box is up without it, it takes connections and says nothing.
    let gate = Gate::to(port, Mode::Hangs).unwrap();
    let with = |forward: String| {
        let arguments = [
            "-smbios",
            "type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova",
            "-netdev",
            &format!("user,id=link,net=169.254.169.0/24{forward}"),
            "-device",
            "virtio-net-pci,netdev=link,romfile=,mac=52:54:00:12:34:60",
        ];
        Setup { arguments: arguments.map(str::to_owned).to_vec(), ..Setup::default() }
    };
    let forward = format!(",guestfwd=tcp:169.254.169.254:80-cmd:busybox nc 127.0.0.1 {}", gate.port());
    let machine = Machine::boot(&lab, &disk, &with(forward)).unwrap();
    // Its own name is what a box calls itself that knows no other.
    for said in ["holdfast: ready addresses=10.0.2.15", " hostname=holdfast"] {
        machine.console.wait(said, BOOT).unwrap();
    }
    gate.set(Mode::Open);
    machine.wait_served("by the service", BOOT).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    assert!(asked.load(Ordering::SeqCst) > 4, "it was asked until it was well");
    let status = machine.json(&["status"], &[0, 3]).unwrap();
    assert_eq!(status["user_data"]["channel"], "metadata-service");
    assert_eq!(status["user_data"]["notes"], json!([]), "nothing is lacking any more");
    let first = wait_for(&machine, MAC, "what the service describes", |nic| nic["source"] == "provider");
    assert_eq!(first["mtu"], 1450);
    machine.kill().unwrap();

    // Without the service its key lets its owner in, and the network is as it said.
    let machine = Machine::boot(&lab, &disk, &with(String::new())).unwrap();
    machine.wait_served("by the service", BOOT).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    let first = wait_for(&machine, MAC, "what the service described", |nic| nic["source"] == "provider");
    assert_eq!(first["mtu"], 1450);
    machine.kill().unwrap();
}
