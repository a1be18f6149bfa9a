//! The whole nftables ruleset of the box, as text for `nft -f -`.
//!
//! One table of ours in one batch, which the kernel takes whole or not at all: a mistake leaves the
//! table as it was. Invariants:
//!
//! - A container reaches its own instance, the world, and published ports; never another instance's
//!   containers, the host's own ports, loopback or link-local addresses.
//! - Nothing outside reaches a container but by a published port, and the box forwards for no one
//!   else.
//! - What enters the host itself from outside is not filtered: the only listener is sshd.
//!
//! `[::1]:PORT` of a published port does not answer: IPv6 has no `route_localnet`.
//!
//! Rules for ports are asked at a flow's first packet. A UDP sender that was there before its port was
//! published, and never pauses for half a minute, keeps being answered by the box: connection tracking
//! holds its flow, and no crate in use deletes single ones.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::Cidr;
use super::policy::MOST_NICS;
use crate::Allocation;
use crate::container::{Port, Protocol};

/// Name of the table, in family `inet`.
pub const TABLE: &str = "holdfast";
/// What every bridge's name begins with.
pub const BRIDGE_PREFIX: &str = "hf-";

/// An instance's network as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceNetwork {
    /// Names the bridge.
    pub index: u32,
    /// The bridge's address, in a /24.
    pub gateway4: Ipv4Addr,
    /// The bridge's address, in a /64.
    pub gateway6: Ipv6Addr,
    /// Ports published on the box.
    pub ports: BTreeSet<PublishedPort>,
}

impl InstanceNetwork {
    /// The network of an instance, given which of its containers publish what. Containers without
    /// addresses are passed over.
    pub fn new<'a>(
        allocation: &Allocation,
        containers: impl IntoIterator<Item = (&'a str, &'a [Port])>,
    ) -> InstanceNetwork {
        let mut ports = BTreeSet::new();
        for (container, published) in containers {
            let Some((v4, v6)) = allocation.addresses.get(container) else { continue };
            ports.extend(published.iter().map(|port| PublishedPort { port: port.clone(), v4: *v4, v6: *v6 }));
        }
        InstanceNetwork {
            index: allocation.index,
            gateway4: allocation.gateway4,
            gateway6: allocation.gateway6,
            ports,
        }
    }

    /// The bridge's name.
    pub fn bridge(&self) -> String {
        bridge_name(self.index)
    }

    fn subnet4(&self) -> Cidr {
        Cidr::new(self.gateway4, 24).expect("24 is at most 32").network()
    }

    fn subnet6(&self) -> Cidr {
        Cidr::new(self.gateway6, 64).expect("64 is at most 128").network()
    }
}

/// The name of the bridge with this index.
pub fn bridge_name(index: u32) -> String {
    format!("{BRIDGE_PREFIX}{index}")
}

/// A published port and the container behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// What is published.
    pub port: Port,
    /// The container's address.
    pub v4: Ipv4Addr,
    /// The container's address.
    pub v6: Ipv6Addr,
}

/// Two published ports that cannot both be had, as text: the later one never answers.
pub fn conflicts(networks: &[InstanceNetwork]) -> Vec<String> {
    let ports: Vec<&PublishedPort> = networks.iter().flat_map(|n| &n.ports).collect();
    let mut found = Vec::new();
    for (at, first) in ports.iter().enumerate() {
        for second in &ports[at + 1..] {
            let (a, b) = (&first.port, &second.port);
            let address = match (a.address, b.address) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            };
            let target = (first.v4, a.container) != (second.v4, b.container);
            if address && target && a.host == b.host && a.protocol == b.protocol {
                found.push(format!("port {}/{} is published twice", a.host, name(a.protocol)));
            }
        }
    }
    found
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// The ruleset for all instances, in the order of their indexes. Two equal sets of networks give
/// equal texts, whatever their order. The table's comment is a digest of the rules, by which one can
/// see which ruleset is in force.
pub fn ruleset(networks: &[InstanceNetwork]) -> String {
    let mut networks: Vec<&InstanceNetwork> = networks.iter().collect();
    networks.sort_by_key(|n| n.index);
    let mut chains = String::new();
    guard(&mut chains, &networks);
    mark(&mut chains);
    publish(&mut chains, &networks);
    masquerade(&mut chains, &networks);
    filter(&mut chains, &networks);
    let digest = digest(&chains);
    format!(
        "add table inet {TABLE}\ndelete table inet {TABLE}\n\
         table inet {TABLE} {{\n\tcomment \"{digest:016x}\"\n{chains}}}\n"
    )
}

/// FNV-1a, 64 bits: tells one ruleset of ours from another, and guards against nothing.
fn digest(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Before connection tracking: forged senders, loopback and link-local destinations.
fn guard(text: &mut String, networks: &[&InstanceNetwork]) {
    text.push_str(concat!(
        "\tchain guard {\n",
        "\t\ttype filter hook prerouting priority raw; policy accept;\n",
        "\t\tiifname != \"hf-*\" accept\n",
        "\t\tip daddr { 127.0.0.0/8, 169.254.0.0/16 } drop\n",
        // Neighbours of the bridge's own link-local address are asked and answered; nothing else.
        "\t\tip6 daddr fe80::/10 icmpv6 type != { nd-neighbor-solicit, nd-neighbor-advert } drop\n",
        "\t\tip6 daddr fe80::/10 meta l4proto != 58 drop\n",
    ));
    for network in networks {
        let (bridge, v4, v6) = (network.bridge(), network.subnet4(), network.subnet6());
        let _ = writeln!(text, "\t\tiifname \"{bridge}\" ip saddr {v4} accept");
        let _ = writeln!(text, "\t\tiifname \"{bridge}\" ip6 saddr {{ ::, fe80::/10, {v6} }} accept");
    }
    text.push_str("\t\tdrop\n\t}\n");
}

/// Which NIC a connection came in by, for the answers of containers: see [`super::policy`]. The mark
/// is the NIC's number; nft takes a number for a mark only by a map.
fn mark(text: &mut String) {
    let numbers: Vec<String> = (1..=MOST_NICS).map(|number| format!("{number} : {number}")).collect();
    let _ = writeln!(
        text,
        "\tchain entry {{\n\
         \t\ttype filter hook prerouting priority mangle; policy accept;\n\
         \t\tiifname != \"hf-*\" ct state new ct mark set meta iif map {{ {} }}\n\
         \t\tiifname \"hf-*\" ct direction reply ct mark != 0 meta mark set ct mark\n\
         \t}}",
        numbers.join(", ")
    );
}

/// Published ports: for what comes in, and for what the box itself sends.
fn publish(text: &mut String, networks: &[&InstanceNetwork]) {
    text.push_str(concat!(
        "\tchain publish {\n",
        "\t\ttype nat hook prerouting priority dstnat; policy accept;\n",
        "\t\tfib daddr type local jump ports\n",
        "\t}\n",
        "\tchain publish-local {\n",
        "\t\ttype nat hook output priority -100; policy accept;\n",
        "\t\tip6 daddr ::1 accept\n",
        "\t\tfib daddr type local jump ports\n",
        "\t}\n",
        "\tchain ports {\n",
    ));
    // Those bound to an address come first: of two rules for one port the narrower one wins.
    let mut ports: Vec<&PublishedPort> = networks.iter().flat_map(|n| &n.ports).collect();
    ports.sort_by_key(|p| p.port.address.is_none());
    for published in ports {
        let Port { address, host, container, protocol } = published.port;
        let protocol = name(protocol);
        let v4 = format!("dnat ip to {}:{container}", published.v4);
        let v6 = format!("dnat ip6 to [{}]:{container}", published.v6);
        let _ = match address {
            Some(IpAddr::V4(address)) => {
                writeln!(text, "\t\tip daddr {address} {protocol} dport {host} {v4}")
            }
            Some(IpAddr::V6(address)) => {
                writeln!(text, "\t\tip6 daddr {address} {protocol} dport {host} {v6}")
            }
            None => writeln!(
                text,
                "\t\tmeta nfproto ipv4 {protocol} dport {host} {v4}\n\t\tmeta nfproto ipv6 {protocol} dport {host} {v6}"
            ),
        };
    }
    text.push_str("\t}\n");
}

/// Whose address containers go out with, and callers that the container could not answer directly.
fn masquerade(text: &mut String, networks: &[&InstanceNetwork]) {
    text.push_str("\tchain egress {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
    // The box itself by 127.0.0.1, and a container that calls a published port of its own network.
    text.push_str("\t\toifname \"hf-*\" ip saddr 127.0.0.0/8 masquerade\n");
    for network in networks {
        let (bridge, v4, v6) = (network.bridge(), network.subnet4(), network.subnet6());
        let _ = writeln!(text, "\t\toifname \"{bridge}\" ct status dnat ip saddr {v4} masquerade");
        let _ = writeln!(text, "\t\toifname \"{bridge}\" ct status dnat ip6 saddr {v6} masquerade");
        let _ = writeln!(text, "\t\toifname != \"hf-*\" ip saddr {v4} masquerade");
        let _ = writeln!(text, "\t\toifname != \"hf-*\" ip6 saddr {v6} masquerade");
    }
    text.push_str("\t}\n");
}

/// What may pass through the box, and what of a container may reach the box.
fn filter(text: &mut String, networks: &[&InstanceNetwork]) {
    text.push_str(concat!(
        "\tchain forward {\n",
        "\t\ttype filter hook forward priority filter; policy drop;\n",
        // The way out may carry less than a container's link, and what tells the other end so may be
        // lost on the way.
        "\t\ttcp flags syn tcp option maxseg size set rt mtu\n",
        "\t\tct state established,related accept\n",
        "\t\tct state invalid drop\n",
        "\t\tct status dnat accept\n",
        "\t\tiifname \"hf-*\" oifname != \"hf-*\" accept\n",
    ));
    // Seen only where the kernel shows bridged packets to IP rules.
    for bridge in networks.iter().map(|network| network.bridge()) {
        let _ = writeln!(text, "\t\tiifname \"{bridge}\" oifname \"{bridge}\" accept");
    }
    text.push_str(concat!(
        "\t}\n",
        "\tchain input {\n",
        "\t\ttype filter hook input priority filter; policy accept;\n",
        "\t\tiifname != \"hf-*\" accept\n",
        "\t\tct state established,related accept\n",
        "\t\tmeta l4proto { 1, 58 } accept\n",
        "\t\tdrop\n",
        "\t}\n",
    ));
}

#[cfg(test)]
#[path = "ruleset_tests.rs"]
mod tests;
