//! Documents that other projects test themselves with, read here, and what Talos makes of some of them.
//!
//! They are not part of this repository. `HOLDFAST_FIXTURES` is the whole path of a folder that has them; without it
//! these tests say that they are skipped.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use agent_metadata::network::{IpNet, Kind};
use agent_metadata::{ExplainError, Explanation, explain, explain_document};
use serde::Deserialize;

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
            let Explanation { instance_id, hostname, user_data, network, .. } = &found;
            let something =
                instance_id.is_some() || hostname.is_some() || user_data.is_some() || network.is_some();
            assert!(something, "{name}: {found:?}");
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

/// What is found, in lines that can be compared: names of links are each side's own.
fn facts(found: &Explanation) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    facts.extend(found.instance_id.iter().map(|id| format!("instance {id}")));
    facts.extend(found.hostname.iter().map(|name| format!("hostname {name}")));
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
