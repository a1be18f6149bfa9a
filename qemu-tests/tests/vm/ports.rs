//! What of a box answers to a stranger on its network: ssh, what its owner published, and nothing else.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use crate::common::{BOOT, DISK, lab, probe, settings, site, up};
use qemu_tests::wire::{self, Protocol, Wire};
use qemu_tests::{Disk, Machine, Setup};

/// The box's address and the stranger's, of each family.
const ADDRESSES: [(&str, &str); 2] = [("192.0.2.1", "192.0.2.9"), ("2001:db8:77::1", "2001:db8:77::9")];
/// How long all ports of a family may take.
const SCAN: Duration = Duration::from_secs(900);

/// Ports of the UDP sockets for whose line in `/proc/net/udp` this holds, in awk.
fn udp_ports(machine: &mut Machine, holds: &str) -> BTreeSet<u16> {
    let line = format!("awk '{holds} {{ sub(/.*:/, \"\", $2); print $2 }}' /proc/net/udp /proc/net/udp6");
    let said = machine.shell(&line).unwrap();
    said.lines().map(|port| u16::from_str_radix(port, 16).unwrap()).collect()
}

/// Those that belong to the time client, which asks from one that is different each time.
fn of_the_time_client(machine: &mut Machine) -> BTreeSet<u16> {
    udp_ports(machine, "$8 == 902")
}

#[test]
fn full_nothing_answers_but_ssh_and_what_is_published() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let path = lab.dir().join("wire");
    let listener = UnixListener::bind(&path).unwrap();
    let mac = wire::BOX.map(|byte| format!("{byte:02x}")).join(":");
    // DHCP is asked there all the while, and routers are heard.
    let interface = format!(
        "[[box.interface]]\nmatch = {{ mac = \"{mac}\" }}\ndhcp4 = true\naccept_ra = true\n\
         addresses = [\"192.0.2.1/24\", \"2001:db8:77::1/64\"]\n"
    );
    let published = "ports = [\"9053:9053/udp\", \"127.0.0.1:8081:8080\"]\n";
    let document =
        settings(&registry) + &interface + &site(&registry, "published") + &probe(&registry, published);
    let setup = Setup { shell: true, arguments: wire::arguments(&path), ..Setup::with(document) };
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let (here, there) = ADDRESSES[0];
    let mut wire = Wire::accept(&listener, address(there), address(here)).unwrap();
    machine.wait_served("published", BOOT).unwrap();
    up(&machine, &["probe.sh"]);
    // The kernel tells of few closed ports in a second, and follows few connections at a time. It listens to no
    // others for that.
    for setting in [
        "net/ipv4/icmp_ratelimit 0",
        "net/ipv4/icmp_msgs_per_sec 1000000",
        "net/ipv4/icmp_msgs_burst 1000000",
        "net/ipv6/icmp/ratelimit 0",
        "net/netfilter/nf_conntrack_max 262144",
    ] {
        let (name, value) = setting.split_once(' ').unwrap();
        machine.shell(&format!("echo {value} >/proc/sys/{name}")).unwrap();
    }
    for (here, there) in ADDRESSES {
        wire = wire.with(address(there), address(here));
        let tcp = wire.scan(Protocol::Tcp, SCAN).unwrap();
        assert_eq!(tcp.open, BTreeSet::from([22, 80]), "TCP ports of {here}");
        assert_eq!(tcp.silent, BTreeSet::new(), "TCP ports of {here} that say nothing");
        let udp = wire.scan(Protocol::Udp, SCAN).unwrap();
        let known = of_the_time_client(&mut machine).into_iter().chain([9053]).collect();
        let silent: Vec<&u16> = udp.silent.difference(&known).collect();
        assert_eq!(silent, [&0; 0], "UDP ports of {here} that are open");
        assert_eq!(udp.open, BTreeSet::new(), "UDP ports of {here} that answer");
    }
    // From inside: the box has no socket that the scan could not see.
    let listening = "netstat -ltun | awk 'NR > 2 && $1 ~ /tcp/ { print $4 }'";
    let listening = machine.shell(listening).unwrap();
    assert!(listening.lines().all(|line| line.ends_with(":22")) && !listening.is_empty(), "{listening}");
    // Those of DHCP are there while a lease is asked about, each for its own NIC.
    let unconnected = udp_ports(&mut machine, "FNR > 1 && $4 == \"07\" && $8 != 902");
    assert!(unconnected.is_subset(&BTreeSet::from([68, 546])), "UDP sockets: {unconnected:?}");
    wire = wire.with(address(there), address(here));
    // One that listens for names on the local network would be seen.
    machine
        .shell(
            "printf '[Socket]\\nListenDatagram=5353\\nListenStream=5355\\n' >/run/systemd/system/lab-names.socket; \
             printf '[Service]\\nExecStart=/run/lab/busybox sleep 7200\\n' >/run/systemd/system/lab-names.service; \
             systemctl daemon-reload; systemctl start lab-names.socket",
        )
        .unwrap();
    assert!(wire.scan(Protocol::Udp, SCAN).unwrap().silent.contains(&5353), "the probe cannot fail");
    assert!(wire.scan(Protocol::Tcp, SCAN).unwrap().open.contains(&5355), "the probe cannot fail");
    machine.kill().unwrap();
}
