//! Networks as providers describe them.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::fs;
use std::path::{Path, PathBuf};

use agent_metadata::network::{Link, Network};
use agent_metadata::{ExplainError, UserDataKind, explain};

fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/document").join(name)
}

/// A network as lines: what a link is, and below it what it has.
fn lines(network: &Network) -> String {
    let link = |link: &Link| {
        let Link { id, kind, mtu, dhcp4, dhcp6, accept_ra, addresses, routes, dns, search } = link;
        let routes: String = routes.iter().map(|route| format!("\n  {route:?}")).collect();
        format!(
            "{id}: {kind:?}\n  mtu {mtu:?} dhcp4 {dhcp4} dhcp6 {dhcp6:?} ra {accept_ra:?}\n  {addresses:?}{routes}\n  {dns:?} {search:?}\n"
        )
    };
    let links: String = network.links.iter().map(link).collect();
    format!("{links}{:?} {:?}\n{:#?}\n", network.dns, network.search, network.notes)
}

#[test]
fn each_form_is_read() {
    for name in ["digitalocean.json", "network_data.json", "network-config-1", "network-config-2"] {
        let found = explain(&document(name)).unwrap();
        insta::assert_snapshot!(name, lines(&found.network.unwrap()));
    }
}

#[test]
fn a_droplet_is_explained_whole() {
    let found = explain(&document("digitalocean.json")).unwrap();
    assert_eq!(found.instance_id.as_deref(), Some("2756294"));
    assert_eq!(found.hostname.as_deref(), Some("sample-droplet"));
    assert_eq!(found.public_keys.len(), 1);
    let data = found.user_data.unwrap();
    assert_eq!((data.kind, data.bytes), (UserDataKind::Toml, 26));
    assert_eq!(found.notes, ["`vendor_data` is the provider's and is ignored"]);
}

#[test]
fn folders_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, content: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("drive/openstack/latest/meta_data.json", br#"{"uuid": "1", "hostname": "hub1"}"#);
    write("drive/openstack/latest/user_data", b"#!/bin/sh\n");
    write("drive/openstack/latest/vendor_data.json", br#"{"cloud-init": "x"}"#);
    write("drive/openstack/latest/network_data.json", &fs::read(document("network_data.json")).unwrap());
    write("nocloud/meta-data", b"instance-id: 2\n");
    write("nocloud/network-config", b"network: {config: disabled}\n");
    write("nothing/readme.txt", b"hello\n");

    let drive = explain(&root.path().join("drive")).unwrap();
    assert_eq!((drive.source, drive.instance_id.as_deref()), ("config drive", Some("1")));
    assert_eq!(drive.user_data.unwrap().kind, UserDataKind::Script);
    assert_eq!(drive.network.unwrap().links.len(), 6);
    assert_eq!(drive.notes.len(), 1, "{:?}", drive.notes);
    let latest = explain(&root.path().join("drive/openstack/latest")).unwrap();
    assert_eq!(latest.hostname.as_deref(), Some("hub1"));
    let nocloud = explain(&root.path().join("nocloud")).unwrap();
    assert_eq!((nocloud.source, nocloud.instance_id.as_deref()), ("NoCloud", Some("2")));
    assert_eq!(nocloud.network, None);
    assert!(matches!(explain(&root.path().join("nothing")), Err(ExplainError::Unknown(_))));
    assert!(matches!(explain(&root.path().join("none")), Err(ExplainError::Missing(_))));
}

#[test]
fn a_bond_a_vlan_and_a_gateway_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("network-config");
    let document = "\
version: 2
ethernets:
  wan0:
    match: {macaddress: \"52:54:00:00:00:01\"}
    addresses: [203.0.113.7/32]
    gateway4: 198.51.100.1
    mtu: 1450
  wan1: {}
bonds:
  bond0:
    interfaces: [wan1]
    macaddress: 52:54:00:00:00:09
    parameters: {mode: 802.3ad, transmit-hash-policy: layer3+4}
    dhcp4: true
    dhcp6: true
vlans:
  bond0.7:
    id: 7
    link: bond0
    addresses: [10.0.0.1/24]
    routes: [{to: 10.1.0.0/16, via: 10.0.0.254, metric: 5}]
    nameservers: {addresses: [10.0.0.53], search: [example.org]}
";
    fs::write(&path, document).unwrap();
    insta::assert_snapshot!(explain(&path).unwrap().to_string(), @r"
    source      NoCloud network-config
    instance    -
    hostname    -
    keys        -
    user-data   -
    interface   wan0: the NIC 52:54:00:00:00:01
      addresses 203.0.113.7/32
      route     default via 198.51.100.1 onlink
      mtu       1450
    interface   wan1: the NIC named wan1
    interface   bond0: bond of wan1, as 52:54:00:00:00:09
      mode      802.3ad, layer3+4
      automatic DHCP, router advertisements, DHCPv6
    interface   bond0.7: VLAN 7 on bond0
      addresses 10.0.0.1/24
      route     10.1.0.0/16 via 10.0.0.254 metric 5
      dns       10.0.0.53
      search    example.org
    ");
}

/// A document with one link and one network, each with more in it.
fn openstack(link: &str, network: &str) -> String {
    let link = format!(r#"{{"id": "a", "ethernet_mac_address": "fa:16:3e:00:00:01"{link}}}"#);
    format!(r#"{{"links": [{link}], "networks": [{{"link": "a"{network}}}]}}"#)
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let static4 = r#", "type": "ipv4", "ip_address": "192.0.2.7", "netmask": "255.255.255.0""#;
    let v2 = |rest: &str| format!("version: 2\nethernets:\n  a: {{}}\n{rest}");
    let cases = [
        openstack("", r#", "type": "ipv5""#),
        openstack("", r#", "type": "ipv4", "ip_address": "192.0.2.300""#),
        openstack("", r#", "type": "ipv4", "ip_address": "192.0.2.7", "netmask": "255.0.255.0""#),
        openstack("", r#", "type": "ipv6", "ip_address": "2001:db8::7""#),
        openstack("", r#", "type": "ipv4""#),
        openstack(r#", "mtu": 10"#, static4),
        openstack(r#", "type": "bond", "bond_mode": "fast", "bond_links": ["b"]"#, static4),
        openstack(r#", "type": "bond", "bond_mode": "802.3ad", "bond_links": ["b"]"#, static4),
        openstack(r#", "type": "vlan", "vlan_id": 4095, "vlan_link": "a""#, static4),
        openstack(r#", "type": "vlan", "vlan_id": 7, "vlan_link": "a""#, static4),
        openstack(
            "",
            &format!(
                r#"{static4}, "routes": [{{"network": "::", "netmask": "::", "gateway": "192.0.2.1"}}]"#
            ),
        ),
        openstack("", &format!(r#"{static4}, "gateway": "192.0.2.7""#)),
        openstack(
            "",
            &format!(
                r#"{static4}, "gateway": "192.0.2.1", "routes": [{{"network": "0.0.0.0", "gateway": "192.0.2.2"}}]"#
            ),
        ),
        r#"{"links": [{"id": "a"}]}"#.to_owned(),
        r#"{"links": [{"id": "a", "name": "x"}, {"id": "a", "name": "y"}]}"#.to_owned(),
        r#"{"links": [{"id": "a", "name": "x"}, {"id": "b", "name": "x"}]}"#.to_owned(),
        r#"{"links": [], "networks": [{"link": "a", "type": "ipv4_dhcp"}]}"#.to_owned(),
        r#"{"links": {}}"#.to_owned(),
        r#"{"droplet_id": 1, "interfaces": {"public": [{"mac": "none"}]}}"#.to_owned(),
        r#"{"links": ["#.to_owned(),
        "version: 3\n".to_owned(),
        "version: 1\nconfig:\n  - {type: bridge, name: br0}\n".to_owned(),
        v2("bridges:\n  br0: {interfaces: [a]}\n"),
        v2("vlans:\n  b: {id: 0, link: a}\n"),
        v2("bonds:\n  b: {interfaces: [a]}\n  c: {interfaces: [a]}\n"),
        v2("vlans:\n  b: {id: 7, link: a}\n  c: {id: 7, link: a}\n"),
        v2("vlans:\n  b: {id: 7, link: a}\n  c: {id: 8, link: b}\n"),
        "version: 2\nethernets:\n  a: {match: {driver: virtio_net}}\n".to_owned(),
        "version: 2\nethernets:\n  a: {dhcp4: perhaps}\n".to_owned(),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("document");
    let mut told = String::new();
    for document in cases {
        fs::write(&path, &document).unwrap();
        let error = explain(&path).map(|found| lines(&found.network.unwrap())).unwrap_err();
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        let text = format!("{error}{source}").replace(&path.display().to_string(), "document");
        assert!(!text.contains('\n'), "{text}");
        told += &format!("{text}\n");
    }
    insta::assert_snapshot!(told);
}

#[test]
fn whatever_a_document_holds_what_is_promised_holds() {
    // A small generator is enough, and gives the same documents each time (Knuth, 3.3.4).
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    const PIECES: [&str; 14] = [
        "null",
        "\"\"",
        "[]",
        "{}",
        "-1",
        "999999999999",
        "\"::/129\"",
        "\"0.0.0.0/0\"",
        "[[[",
        ": ",
        "\n",
        "\u{feff}",
        "\u{1b}[1m",
        "default",
    ];
    let mut used = 0;
    for name in ["digitalocean.json", "network_data.json", "network-config-1", "network-config-2"] {
        let original = fs::read(document(name)).unwrap();
        assert!(bodies::document(&original));
        for _ in 0..1_000 {
            let mut text = original.clone();
            for _ in 0..=random(3) {
                let from = random(text.len());
                let to = (from + random(12)).min(text.len());
                let piece = PIECES[random(PIECES.len())];
                text.splice(from..to, piece.bytes());
            }
            used += usize::from(bodies::document(&text));
        }
    }
    assert!(used > 200, "most documents are no documents any more: {used}");
}
