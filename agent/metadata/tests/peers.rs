//! Documents that other projects test themselves with, read here, and what Talos makes of some of them.
//!
//! They are not part of this repository. `HOLDFAST_FIXTURES` is the whole path of a folder that has them; without it
//! these tests say that they are skipped.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use agent_metadata::network::{IpNet, Kind, Link, Match, Route};
use agent_metadata::{ExplainError, Explanation, explain, explain_document};
use serde::Deserialize;
use serde_json::{Value, json};

/// What no provider gives to a machine, though it lies beside what one does.
const NO_DOCUMENTS: [&str; 5] = [
    "openstack/nova-live/servers_detail.json",
    "openstack/nova-live/vendor_data.json",
    "openstack/nova-live/vendor_data2.json",
    "openstack/schema-network_data.json",
    "ovh/dhcp-lease-2018.json",
];

/// Documents that are refused, with words of the error.
const REFUSED: [(&str, &str); 3] = [
    // A placeholder; with an address in its place it is compared below.
    (ON_LINK, "ethernets.nic0.match.macaddress: \"02:xx:xx:xx:xx:xx\" is not a hardware address"),
    // cloud-init refuses these two as well.
    (
        "openstack/network_data-invalid-network-mask-ipv6.json",
        "networks[0].ip_address: \"2001:DB8::10\" has neither prefix length nor netmask",
    ),
    (
        "openstack/network_data-multiple-ipv6-default-gateways.json",
        "networks[0].ip_address: \"2001:DB8::10\" has neither prefix length nor netmask",
    ),
];

const DROPLET: &str = "digitalocean/v1-talos-2022.json";
const NETWORK_DATA: &str = "openstack/network_data-talos.json";
const ON_LINK: &str = "nocloud/talos-in-v2-nocloud-ipv6-on-link.yaml";

/// Nova's own schema of `network_data.json`.
const SCHEMA: &str = "openstack/schema-network_data.json";

/// Where documents are not as the schema has them, which clouds do not keep to either.
const BEYOND: [(&str, &[&str]); 7] = [
    // No `services`; a link of the type `physical`.
    ("openstack/network_data-ci-ossample3.json", &["", "/links/0"]),
    // A route to one host.
    ("openstack/network_data-ci-vlan.json", &["/networks/0"]),
    // No `services`, a link without a type, a network without `network_id`.
    ("openstack/network_data-freebsd-static-v4.json", &["", "/links/0", "/networks/0"]),
    // An empty netmask, in both; they are refused.
    ("openstack/network_data-invalid-network-mask-ipv6.json", &["/networks/0"]),
    ("openstack/network_data-multiple-ipv6-default-gateways.json", &["/networks/0"]),
    // No `services`.
    ("openstack/network_data-subnet-dns.json", &[""]),
    // `null` for a hardware address; a type that Neutron has for `ipv6_dhcp`.
    (NETWORK_DATA, &["/links/6", "/networks/4"]),
];

/// What Talos's two documents of version 2 say, one of them within `network:`.
const VERSION_2: [&str; 6] = [
    "eth0 = 00:20:6e:1f:f9:a8, DHCP, 192.168.14.2/24, 2001:1::1/64, route 0.0.0.0/0 via 192.168.14.1, \
     route ::/0 via 2001:1::2, dns 8.8.8.8, search foo.local, search bar.local",
    "eth1 = 00:20:6e:1f:f9:a9, 10.22.14.2/32, route 0.0.0.0/0 via 192.168.14.1 on the link metric 100, \
     search foo.local, search bar.local",
    "ext1 = 68:05:ca:b8:f1:f8",
    "ext2 = 68:05:ca:b8:f1:f9",
    "bond0 = 802.3ad of ext1 ext2, mtu 1500, 10.10.4.140/29, \
     route 10.0.0.0/8 via 10.10.4.147 on the link, route 192.168.0.0/16 via 10.10.4.147 on the link, \
     route 188.42.208.0/21 via 10.10.4.147 on the link, dns 1.1.1.1, dns 2.2.2.2",
    "bond0.4 = 4 on bond0, mtu 1500, 192.34.34.34/32",
];

/// Every other document, or a whole volume, and what it says, in lines of [`told`].
const SAID: [(&str, &[&str]); 29] = [
    (
        "digitalocean/v1-ci-full.json",
        &[
            "instance 22532410",
            "hostname utl-96268",
            "user-data toml",
            "dns 2001:4860:4860::8844",
            "dns 2001:4860:4860::8888",
            "dns 8.8.8.8",
            "public0 = 04:01:57:d1:9e:01, 192.0.0.20/24, 2604:a880:800:0:1000::/64, 10.0.0.5/16, \
             route 0.0.0.0/0 via 104.236.0.1 on the link, route ::/0 via 2604:a880:800::1",
            "private0 = 04:01:57:d1:9e:02, 10.132.6.205/16",
        ],
    ),
    (
        "nocloud/afterburn-hetzner-netplan-config.yaml",
        &["eth0 = eth0, DHCP, 1a00:20a0:a000:a000::1/64, route ::/0 via aa11::1 on the link, \
           dns 1a01:30ff:ff00::add:2, dns 1a01:30ff:ff00::add:1"],
    ),
    (
        "nocloud/afterburn-kubevirt-nocloud_v1",
        &[
            "instance 5d307ca9-b3ef-428c-8861-06e72d69f223",
            "hostname test-nocloud-v1.foo.cloud",
            // Its key has too few bits for sshd.
            "user-data cloud-config",
            "dns 8.8.8.8",
            "dns 8.8.4.4",
            "dns 2001:4860:4860::8888",
            "dns 2001:4860:4860::8844",
            "eth0 = eth0, 192.168.1.10/24, 2001:db8::10/64, route 0.0.0.0/0 via 192.168.1.1, \
             route ::/0 via 2001:db8::1",
            "eth1 = eth1, DHCP, DHCPv6, ra true",
            "eth2 = 06:aa:bb:cc:dd:02, DHCP",
        ],
    ),
    (
        "nocloud/afterburn-kubevirt-nocloud_v2",
        &[
            "instance 5d307ca9-b3ef-428c-8861-06e72d69f224",
            "hostname test-nocloud-v2.foo.cloud",
            "user-data cloud-config",
            "eth0 = eth0, 192.168.1.10/24, 2001:db8::10/64, route 0.0.0.0/0 via 192.168.1.1, \
             route ::/0 via 2001:db8::1, dns 8.8.8.8, dns 8.8.4.4, dns 2001:4860:4860::8888, \
             dns 2001:4860:4860::8844",
            "eth1 = eth1, DHCP, DHCPv6, ra true, dns 8.8.8.8, dns 8.8.4.4, dns 2001:4860:4860::8888, \
             dns 2001:4860:4860::8844",
            "id0 = 06:aa:bb:cc:dd:02, DHCP, dns 8.8.8.8, dns 8.8.4.4, dns 2001:4860:4860::8888, \
             dns 2001:4860:4860::8844",
        ],
    ),
    (
        "nocloud/afterburn-proxmoxve-static",
        &[
            "instance 15a9919cb91024fbd1d70fa07f0efa749cbba03b",
            "user-data cloud-config",
            "key dummy@dummy.local",
            "dns 1.1.1.1",
            "dns 8.8.8.8",
            "search local.com",
            "eth0 = 01:23:45:67:89:00, 192.168.1.1/24, 2001:db8:85a3::8a2e:370:0/24, \
             route 0.0.0.0/0 via 192.168.1.254, route ::/0 via 2001:db8:85a3::8a2e:370:9999",
            "eth1 = 01:23:45:67:89:99, 192.168.42.1/24, 2001:db8:85a3::8a2e:4242:0/24, \
             route 0.0.0.0/0 via 192.168.42.254, route ::/0 via 2001:db8:85a3::8a2e:4242:9999",
        ],
    ),
    ("nocloud/talos-in-v2-cloud-init.yaml", &VERSION_2),
    ("nocloud/talos-in-v2-nocloud.yaml", &VERSION_2),
    (
        "nocloud/talos-metadata-nocloud.yaml",
        &["instance 80d6927ecb30c1707b12f38ed1211535930ff16e", "hostname talos-worker-3"],
    ),
    ("openstack/ec2-meta-data-ci.json", &["instance i-00000001", "hostname sm-foo-test.novalocal"]),
    (
        "openstack/meta_data-afterburn-2012.json",
        &["instance 99dcf33b-6eb5-4acf-9abb-d81723e0c949", "hostname mule", "key cardno:9_040_793"],
    ),
    ("openstack/meta_data-afterburn-noec2.json", &["instance b3f43d9c-9198-4cd4-ac9f-bed14960794b"]),
    (
        "openstack/meta_data-ci.json",
        &["instance b0fa911b-69d4-4476-bbe2-1c92bff6535c", "hostname sm-foo-test.novalocal"],
    ),
    ("openstack/meta_data-nova-docs.json", &["hostname test.novalocal"]),
    (
        "openstack/network_data-ci-dhcp3.json",
        &[
            "dns 199.204.44.24",
            "dns 199.204.47.54",
            "tap2ecc7709-b3 = fa:16:3e:69:b0:58, DHCP",
            "tap2f88d109-5b = fa:16:3e:d4:57:ad, DHCP",
            "tap1a5382f8-04 = fa:16:3e:05:30:fe, DHCP",
        ],
    ),
    (
        "openstack/network_data-ci-ossample0.json",
        &[
            "dns 172.19.0.12",
            "tap1a81968a-79 = fa:16:3e:ed:9a:59, 172.19.1.34/22, route 0.0.0.0/0 via 172.19.3.254, \
             dns 172.19.0.13, search testweb.com",
        ],
    ),
    (
        "openstack/network_data-ci-ossample3.json",
        &["eth0 = fa:16:3e:ed:9a:59, 172.19.1.34/22, route 0.0.0.0/0 via 172.19.3.254, dns 172.19.0.12, \
           search example3.com"],
    ),
    (
        "openstack/network_data-ci-static2.json",
        &[
            "dns 1.1.1.191",
            "dns 1.1.1.4",
            "eth0 = fa:16:3e:dd:50:9a, mtu 1500, 2.2.2.10/29, route 0.0.0.0/0 via 2.2.2.9",
            "eth1 = fa:16:3e:a8:14:69, mtu 1500, 3.3.3.24/27",
        ],
    ),
    (
        "openstack/network_data-ci-vlan.json",
        &[
            "dns 1.1.1.191",
            "eth0 = fa:16:3e:69:b0:58, mtu 1500",
            "vlan1 = 602 on eth0, 10.0.1.5/29, route 192.168.1.0/32 via 10.0.1.1",
        ],
    ),
    (
        "openstack/network_data-freebsd-static-v4.json",
        &["iface0 = fa:16:3e:00:00:99, 10.184.0.244/20, route 10.0.0.0/8 via 11.0.0.1 on the link, \
           route 0.0.0.0/0 via 23.253.157.1 on the link"],
    ),
    (
        "openstack/network_data-kubevirt.json",
        &[
            "dns 8.8.8.8",
            "dns 8.8.4.4",
            "dns 2001:4860:4860::8888",
            "dns 2001:4860:4860::8844",
            "eth0 = 06:aa:bb:cc:dd:00, 192.168.1.10/24, 2001:db8::10/64, \
             route 0.0.0.0/0 via 192.168.1.1, route ::/0 via 2001:db8::1",
            "eth1 = 06:aa:bb:cc:dd:01, DHCP, DHCPv6, ra true",
            "eth2 = 06:aa:bb:cc:dd:02, DHCP",
        ],
    ),
    ("openstack/network_data-nova-docs.json", &["dns 8.8.8.8", "tapcd9f6d46-4a = fa:16:3e:9c:bf:3d, DHCP"]),
    ("openstack/network_data-phy-types.json", &["dns 8.8.8.8", "tapcd9f6d46-4a = fa:16:3e:9c:bf:3d, DHCP"]),
    (
        "openstack/network_data-subnet-dns.json",
        &["tapcd9f6d46-4a = fa:16:3e:9c:bf:3d, 192.168.123.5/24, dns 192.168.123.1"],
    ),
    (
        "openstack/nova-live",
        &[
            "instance e3022793-5b50-4227-a617-c5f757be46d3",
            "hostname box-one.novalocal",
            "tap88dae9fa-0d = 00:0c:29:0d:11:74, mtu 1450, DHCP",
        ],
    ),
    (
        "openstack/nova-live/meta_data-2012-08-10.json",
        &["instance e3022793-5b50-4227-a617-c5f757be46d3", "hostname box-one.novalocal"],
    ),
    ("openstack/nova-live/user_data.gz", &["user-data cloud-config"]),
    ("user-data/filter_cloud_multipart.yaml", &["user-data cloud-init"]),
    ("user-data/filter_cloud_multipart_1.email", &["user-data multipart"]),
    ("user-data/user_data.1.txt", &["user-data cloud-config"]),
];

/// Documents of one machine, what Talos makes of them, and whether they say who the machine is.
const COMPARED: [(&[&str], &str, bool); 4] = [
    (&[DROPLET], "digitalocean/expected-talos.yaml", true),
    (&[NETWORK_DATA, "openstack/meta_data-talos.json"], "openstack/expected-talos.yaml", true),
    (&["nocloud/talos-in-v1.yaml"], "nocloud/talos-expected-v1.yaml", false),
    (&[ON_LINK], "nocloud/talos-expected-v2-nocloud-ipv6-on-link.yaml", false),
];

/// What Talos sets and a box deliberately does not, with the reason.
const TALOS_ALONE: [(&str, &str, &str); 4] = [
    (
        DROPLET,
        "route 169.254.169.254/32 via 128.199.32.1",
        "the default route leads to the metadata service already",
    ),
    (
        NETWORK_DATA,
        "address fd60:172:16:84:f816:3eff:fe73:5901/64",
        "`ipv6_dhcpv6-stateless` says that router advertisements bring the address",
    ),
    (ON_LINK, "route 169.254.0.1/32", "the default route says itself that its gateway is on the link"),
    (ON_LINK, "route fe80::1/128", "a link-local gateway needs no route"),
];

/// What a box sets and Talos does not, with the reason.
const HERE_ALONE: [(&str, &str, &str); 2] = [
    (NETWORK_DATA, "dns 2000:0:100::1", "name servers of a single network count, too"),
    (NETWORK_DATA, "dns 8.8.4.4", "name servers of a single network count, too"),
];

/// The folder, if there is one; `test` is the test's own name.
fn folder(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("HOLDFAST_FIXTURES").map(PathBuf::from);
    if folder.is_none() {
        // Not by `eprintln`, which the harness keeps to itself when a test passes.
        let why = "HOLDFAST_FIXTURES names no folder with documents of other projects";
        std::io::stderr().write_all(format!("skipped: {test}: {why}\n").as_bytes()).unwrap();
    }
    folder
}

/// All files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn each_document_is_read_or_refused_with_its_place() {
    let Some(folder) = folder("each_document_is_read_or_refused_with_its_place") else { return };
    let mut read = 0;
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        if name.ends_with(".md") || name.contains("expected") {
            continue;
        }
        let found = explain(&path);
        if NO_DOCUMENTS.contains(&name) {
            assert!(matches!(found, Err(ExplainError::Unknown(_))), "{name}: {found:?}");
        } else if let Some((_, words)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            let error = found.unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        } else {
            let found = found.unwrap_or_else(|error| panic!("{error}"));
            let said = SAID.iter().any(|(document, _)| Path::new(name).starts_with(document));
            let compared = COMPARED.iter().any(|(documents, ..)| documents.contains(&name));
            assert!(said || compared, "{name} is in no table: {:#?}", told(&found));
            read += 1;
        }
        // Where the whole volume is there, it is read as one; the vendor's part of each says nothing.
        if name.ends_with("/meta-data") || name.ends_with("/meta_data.json") {
            let volume = explain(path.parent().unwrap()).unwrap_or_else(|error| panic!("{error}"));
            assert!(volume.network.is_some() && volume.instance_id.is_some(), "{name}: {volume:?}");
            assert!(!volume.notes.iter().any(|note| note.ends_with("is ignored")), "{:?}", volume.notes);
        }
    }
    assert!(read > 0, "{} holds no documents", folder.display());
}

#[test]
fn what_talos_sets_is_set() {
    let Some(folder) = folder("what_talos_sets_is_set") else { return };
    for (documents, expected, identity) in COMPARED {
        let mut here = BTreeSet::new();
        for document in documents {
            let path = folder.join(document);
            let text = fs::read_to_string(&path).unwrap().replace("02:xx:xx:xx:xx:xx", "02:00:00:00:00:01");
            here.extend(facts(&explain_document(&path, text.as_bytes()).unwrap()));
        }
        let text = fs::read_to_string(folder.join(expected)).unwrap();
        let talos: Talos = serde_saphyr::from_str(&text).unwrap();
        let talos = talos.facts(identity);
        let named = |table: &[(&str, &str, &str)]| -> BTreeSet<String> {
            let own = table.iter().filter(|(document, ..)| documents.contains(document));
            own.map(|(_, fact, _)| (*fact).to_owned()).collect()
        };
        assert_eq!(&talos - &here, named(&TALOS_ALONE), "{expected}");
        assert_eq!(&here - &talos, named(&HERE_ALONE), "{expected}");
    }
}

#[test]
fn what_a_document_says_is_found() {
    let Some(folder) = folder("what_a_document_says_is_found") else { return };
    for (document, said) in SAID {
        let found = explain(&folder.join(document)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(told(&found), said, "{document}");
    }
}

#[test]
fn what_the_schema_allows_is_read() {
    let Some(folder) = folder("what_the_schema_allows_is_read") else { return };
    // A flag for all of a pattern is none of ECMA's.
    let text = fs::read_to_string(folder.join(SCHEMA)).unwrap();
    let text = text.replace("(?i)", "").replace("[0-9A-F]", "[0-9A-Fa-f]");
    let schema = jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap();
    for path in files(&folder.join("openstack")) {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        if name == SCHEMA || !name.contains("network_data") {
            continue;
        }
        let document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let errors = schema.iter_errors(&document).map(|error| error.instance_path().to_string());
        let errors: BTreeSet<String> = errors.collect();
        let known = BEYOND.iter().find(|(document, _)| *document == name).map_or(&[][..], |(_, at)| *at);
        assert!(errors.iter().eq(known), "{name}: {errors:?}");
        assert!(!errors.is_empty() || explain(&path).is_ok(), "{name} is as the schema has it");
    }
}

#[test]
fn each_type_that_the_schema_has_is_read() {
    let Some(folder) = folder("each_type_that_the_schema_has_is_read") else { return };
    let schema: Value = serde_json::from_str(&fs::read_to_string(folder.join(SCHEMA)).unwrap()).unwrap();
    let all = |place: &str| schema.pointer(place).unwrap().as_array().unwrap().clone();
    let nic = |kind: &Value| json!({"id": "a", "type": kind, "ethernet_mac_address": "52:54:00:12:34:56"});
    for kind in all("/definitions/l2_link/properties/type/enum") {
        assert_eq!(links(&json!([nic(&kind)]), &json!([])), ["a = 52:54:00:12:34:56"], "{kind}");
    }
    for mode in all("/definitions/l2_bond/properties/bond_mode/enum") {
        let bonded = format!("b = {} of a", mode.as_str().unwrap());
        let mac = "52:54:00:12:34:57";
        let bond = json!({
            "id": "b", "type": "bond", "ethernet_mac_address": mac, "bond_mode": mode, "bond_links": ["a"],
        });
        assert_eq!(links(&json!([nic(&json!("phy")), bond]), &json!([]))[1], bonded);
    }
    for (types, address, netmask, expect) in [
        ("l3_ipv4_type", "192.0.2.7", "255.255.255.0", &["192.0.2.7/24", "DHCP"][..]),
        ("l3_ipv6_type", "2001:db8::7", "ffff:ffff::", &["2001:db8::7/32", "DHCPv6, ra true", "ra true"]),
    ] {
        let set = all(&format!("/definitions/{types}/enum")).into_iter().map(|kind| {
            let network = json!({
                "id": "n", "link": "a", "network_id": "n", "type": kind,
                "ip_address": address, "netmask": netmask,
            });
            links(&json!([nic(&json!("phy"))]), &json!([network])).remove(0)
        });
        let expect = expect.iter().map(|said| format!("a = 52:54:00:12:34:56, {said}"));
        assert_eq!(set.collect::<Vec<_>>(), expect.collect::<Vec<_>>());
    }
}

/// What is told of the links of such a `network_data.json`.
fn links(links: &Value, networks: &Value) -> Vec<String> {
    let document = json!({"links": links, "networks": networks, "services": []}).to_string();
    let found = explain_document(Path::new("network_data.json"), document.as_bytes());
    told(&found.unwrap_or_else(|error| panic!("{error}: {document}")))
}

/// Who the machine is, in lines.
fn identity(found: &Explanation) -> impl Iterator<Item = String> {
    let id = found.instance_id.iter().map(|id| format!("instance {id}"));
    id.chain(found.hostname.iter().map(|name| format!("hostname {name}")))
}

/// All that is found, in the document's order: a line for each link, with what it has.
fn told(found: &Explanation) -> Vec<String> {
    let mut told: Vec<String> = identity(found).collect();
    told.extend(found.user_data.iter().map(|data| format!("user-data {}", data.kind)));
    let keys = found.public_keys.iter().chain(found.user_data.iter().flat_map(|data| &data.public_keys));
    told.extend(keys.map(|key| format!("key {}", key.rsplit(' ').next().unwrap_or_default())));
    let Some(network) = &found.network else { return told };
    told.extend(network.dns.iter().map(|server| format!("dns {server}")));
    told.extend(network.search.iter().map(|domain| format!("search {domain}")));
    told.extend(network.links.iter().map(line));
    told
}

fn line(link: &Link) -> String {
    let is = match &link.kind {
        Kind::Nic(Match { mac: Some(mac), .. }) => mac.to_string(),
        Kind::Nic(Match { name, .. }) => name.clone().unwrap_or_default(),
        Kind::Bond(bond) => format!("{} of {}", bond.mode, bond.links.join(" ")),
        Kind::Vlan(vlan) => format!("{} on {}", vlan.tag, vlan.link),
    };
    let mut said = vec![format!("{} = {is}", link.id)];
    said.extend(link.mtu.map(|mtu| format!("mtu {mtu}")));
    said.extend(link.dhcp4.then(|| "DHCP".to_owned()));
    said.extend(link.dhcp6.map(|how| how.describe().to_owned()));
    said.extend(link.accept_ra.map(|taken| format!("ra {taken}")));
    said.extend(link.addresses.iter().map(ToString::to_string));
    said.extend(link.routes.iter().map(hop));
    said.extend(link.dns.iter().map(|server| format!("dns {server}")));
    said.extend(link.search.iter().map(|domain| format!("search {domain}")));
    said.join(", ")
}

fn hop(hop: &Route) -> String {
    let on_link = if hop.on_link { " on the link" } else { "" };
    let metric = hop.metric.map(|metric| format!(" metric {metric}")).unwrap_or_default();
    format!("{}{on_link}{metric}", route(hop.to, hop.via))
}

/// What is found, in lines that can be compared: names of links are each side's own.
fn facts(found: &Explanation) -> BTreeSet<String> {
    let mut facts: BTreeSet<String> = identity(found).collect();
    let Some(network) = &found.network else { return facts };
    for link in &network.links {
        facts.extend(link.addresses.iter().map(|address| format!("address {address}")));
        facts.extend(link.routes.iter().map(|to| route(to.to, to.via)));
        facts.extend(link.dns.iter().map(|server| format!("dns {server}")));
        facts.extend(link.mtu.map(|mtu| format!("mtu {mtu}")));
        facts.extend(match &link.kind {
            Kind::Nic(_) => None,
            Kind::Bond(bond) => Some(format!("bond {} {:?}", bond.mode, bond.xmit_hash_policy)),
            Kind::Vlan(vlan) => Some(format!("vlan {}", vlan.tag)),
        });
    }
    facts.extend(network.dns.iter().map(|server| format!("dns {server}")));
    let four = network.links.iter().filter(|link| link.dhcp4).count();
    let six = network.links.iter().filter(|link| link.dhcp6.is_some()).count();
    facts.insert(format!("links that ask DHCP {four}, DHCPv6 {six}"));
    facts
}

fn route(to: IpNet, via: Option<IpAddr>) -> String {
    via.map_or_else(|| format!("route {to}"), |via| format!("route {to} via {via}"))
}

/// What Talos makes of a document, as far as it is compared.
#[derive(Deserialize)]
struct Talos {
    addresses: Vec<TalosAddress>,
    links: Vec<TalosLink>,
    routes: Vec<TalosRoute>,
    resolvers: Vec<TalosResolver>,
    operators: Vec<TalosOperator>,
    metadata: TalosMetadata,
}

#[derive(Deserialize)]
struct TalosAddress {
    address: String,
}

#[derive(Deserialize)]
struct TalosLink {
    /// 0: as the link has it.
    mtu: u32,
    #[serde(rename = "bondMaster")]
    bond: Option<TalosBond>,
    vlan: Option<TalosVlan>,
}

#[derive(Deserialize)]
struct TalosBond {
    mode: String,
    #[serde(rename = "xmitHashPolicy")]
    policy: Option<String>,
}

#[derive(Deserialize)]
struct TalosVlan {
    #[serde(rename = "vlanID")]
    tag: u16,
}

#[derive(Deserialize)]
struct TalosRoute {
    /// Empty: the default.
    dst: String,
    /// Empty: the destination is on the link.
    gateway: String,
}

#[derive(Deserialize)]
struct TalosResolver {
    #[serde(rename = "dnsServers")]
    servers: Vec<String>,
}

#[derive(Deserialize)]
struct TalosOperator {
    operator: String,
}

#[derive(Deserialize)]
struct TalosMetadata {
    hostname: String,
    #[serde(rename = "instanceId")]
    instance_id: String,
}

impl Talos {
    /// The same lines as [`facts`]; without `identity` the machine's is made up.
    fn facts(&self, identity: bool) -> BTreeSet<String> {
        let mut facts = BTreeSet::new();
        if identity {
            facts.insert(format!("instance {}", self.metadata.instance_id));
            facts.insert(format!("hostname {}", self.metadata.hostname));
        }
        for TalosAddress { address } in &self.addresses {
            facts.insert(format!("address {}", address.parse::<IpNet>().unwrap()));
        }
        for TalosRoute { dst, gateway } in &self.routes {
            let via = (!gateway.is_empty()).then(|| gateway.parse().unwrap());
            let default = if gateway.contains(':') { "::/0" } else { "0.0.0.0/0" };
            let to = if dst.is_empty() { default } else { dst.as_str() };
            facts.insert(route(to.parse().unwrap(), via));
        }
        for link in &self.links {
            facts.extend((link.mtu > 0).then(|| format!("mtu {}", link.mtu)));
            facts.extend(link.bond.as_ref().map(|bond| format!("bond {} {:?}", bond.mode, bond.policy)));
            facts.extend(link.vlan.as_ref().map(|vlan| format!("vlan {}", vlan.tag)));
        }
        let servers = self.resolvers.iter().flat_map(|resolver| &resolver.servers);
        facts.extend(servers.map(|server| format!("dns {server}")));
        let asking = |how: &str| self.operators.iter().filter(|operator| operator.operator == how).count();
        facts.insert(format!("links that ask DHCP {}, DHCPv6 {}", asking("dhcp4"), asking("dhcp6")));
        facts
    }
}
