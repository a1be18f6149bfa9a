use std::collections::BTreeMap;

use super::*;

fn allocation(index: u32) -> Allocation {
    let host = |n: u8| {
        (Ipv4Addr::new(10, 213, index as u8, n), Ipv6Addr::new(0xfd00, 1, 2, index as u16, 0, 0, 0, n.into()))
    };
    Allocation {
        id_base: 1 << 20,
        index,
        gateway4: host(1).0,
        gateway6: host(1).1,
        addresses: BTreeMap::from([("web".to_owned(), host(2)), ("db".to_owned(), host(3))]),
    }
}

fn port(address: Option<&str>, host: u16, container: u16, protocol: Protocol) -> Port {
    Port { address: address.map(|a| a.parse().unwrap()), host, container, protocol }
}

fn networks() -> Vec<InstanceNetwork> {
    let web = [port(None, 80, 8080, Protocol::Tcp), port(Some("127.0.0.1"), 81, 8081, Protocol::Tcp)];
    let dns = [port(Some("2001:db8::7"), 53, 53, Protocol::Udp)];
    vec![
        InstanceNetwork::new(&allocation(1), [("web", &web[..]), ("gone", &web[..])]),
        InstanceNetwork::new(&allocation(4), [("db", &dns[..])]),
    ]
}

#[test]
fn the_whole_ruleset() {
    insta::assert_snapshot!(ruleset(&networks()));
}

#[test]
fn no_instances_still_forward_nothing() {
    let text = ruleset(&[]);
    assert!(text.contains("hook forward priority filter; policy drop;"));
    assert!(!text.contains("dnat ip"));
}

#[test]
fn the_order_of_instances_does_not_matter_and_their_ports_do() {
    let mut turned = networks();
    turned.reverse();
    assert_eq!(ruleset(&networks()), ruleset(&turned));
    turned[0].ports.clear();
    let comment = |networks: &[InstanceNetwork]| {
        ruleset(networks).lines().find(|line| line.contains("comment")).map(str::to_owned)
    };
    assert_ne!(comment(&networks()), comment(&turned), "the digest tells them apart");
}

#[test]
fn a_port_is_had_once() {
    let with = |index, ports: &[Port]| InstanceNetwork::new(&allocation(index), [("web", ports)]);
    let check = |first: Port, second: Port, expect: usize| {
        let networks = [with(1, std::slice::from_ref(&first)), with(2, std::slice::from_ref(&second))];
        assert_eq!(conflicts(&networks).len(), expect, "{first:?} {second:?}");
    };
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    check(port(None, 80, 80, tcp), port(None, 80, 81, tcp), 1);
    check(port(None, 80, 80, tcp), port(Some("192.0.2.1"), 80, 80, tcp), 1);
    check(port(Some("192.0.2.2"), 80, 80, tcp), port(Some("192.0.2.1"), 80, 80, tcp), 0);
    check(port(None, 80, 80, tcp), port(None, 80, 80, udp), 0);
    check(port(None, 80, 80, tcp), port(None, 81, 80, tcp), 0);
    assert!(conflicts(&networks()).is_empty());
}
