//! Version 1: a list of links, each with its subnets.

use super::{BondKeys, bond, not_made, resolver};
use crate::network::{Dhcp6, Draft, Kind, Link, MTU, Match, Route, Vlan};
use crate::tree::{Node, Wrong};

const LINK: [&str; 11] = [
    "type",
    "name",
    "mac_address",
    "mtu",
    "subnets",
    "accept-ra",
    "bond_interfaces",
    "params",
    "vlan_link",
    "vlan_id",
    "keep_configuration",
];
const SUBNET: [&str; 9] = [
    "type",
    "address",
    "netmask",
    "gateway",
    "routes",
    "dns_nameservers",
    "dns_search",
    "control",
    "broadcast",
];
const BOND: BondKeys = BondKeys {
    links: "bond_interfaces",
    mac: "mac_address",
    parameters: "params",
    mode: "bond-mode",
    miimon: "bond-miimon",
    up_delay: "bond-updelay",
    down_delay: "bond-downdelay",
    lacp_rate: "bond-lacp-rate",
    hash_policy: "bond-xmit-hash-policy",
};

/// Reads `config`.
pub(super) fn read<'a>(draft: &mut Draft<'a>, top: &Node<'a>) -> Result<(), Wrong> {
    for node in top.need("config")?.items()? {
        let kind = node.need("type")?;
        match kind.text()? {
            "physical" => {
                let mac = node.get("mac_address").map(|node| node.mac()).transpose()?;
                let name = node.get("name").map(|node| node.text()).transpose()?;
                let name = name.filter(|_| mac.is_none()).map(str::to_owned);
                link(draft, &node, Kind::Nic(Match { mac, name }))?;
            }
            "bond" => {
                let bond = bond(draft, &node, &BOND)?;
                link(draft, &node, Kind::Bond(bond))?;
            }
            "vlan" => {
                let mac = node.get("mac_address").map(|node| node.mac()).transpose()?;
                let on = node.need("vlan_link")?.text()?.to_owned();
                let tag = node.need("vlan_id")?.number(1..=4094)? as u16;
                link(draft, &node, Kind::Vlan(Vlan { mac, link: on, tag }))?;
            }
            "nameserver" => nameserver(draft, &node)?,
            "route" => draft.notes.push(format!("`{}`: a route without a link is not used", node.place())),
            "loopback" => {}
            other => return Err(not_made(&kind, &format!("a link of type {other:?}"))),
        }
    }
    Ok(())
}

/// Name servers of the box, or of the one link that is named.
fn nameserver<'a>(draft: &mut Draft<'a>, node: &Node<'a>) -> Result<(), Wrong> {
    if let Some(named) = node.get("interface") {
        let id = named.text()?;
        let Some(link) = draft.find(id) else {
            return Err(named.wrong(format!("{id:?} is no link of the document")));
        };
        return resolver(link, node, "address", "search");
    }
    for server in node.some("address")? {
        draft.dns.push(server.host()?);
    }
    for domain in node.some("search")? {
        draft.search.push(domain.text()?.to_owned());
    }
    Ok(())
}

fn link<'a>(draft: &mut Draft<'a>, node: &Node<'a>, kind: Kind) -> Result<(), Wrong> {
    let id = node.need("name")?.text()?;
    let subnets = node.list("subnets")?;
    let link = draft.link(id, kind, node)?;
    link.mtu = node.get("mtu").map(|node| node.number(MTU)).transpose()?;
    link.accept_ra = node.get("accept-ra").map(|node| node.truth()).transpose()?;
    for node in &subnets {
        subnet(link, node)?;
    }
    draft.pass_over(node, &LINK);
    for node in &subnets {
        draft.pass_over(node, &SUBNET);
    }
    Ok(())
}

fn subnet(link: &mut Link, node: &Node<'_>) -> Result<(), Wrong> {
    let kind = node.need("type")?;
    let dhcp6 = match kind.text()? {
        "dhcp" | "dhcp4" => {
            link.dhcp4 = true;
            None
        }
        "static" | "static6" => {
            link.addresses.push(node.need("address")?.interface(node.get("netmask"))?);
            if let Some(gateway) = node.get("gateway") {
                link.routes.push(Route::default(gateway.host()?));
            }
            None
        }
        "dhcp6" | "ipv6_dhcpv6-stateful" => Some(Dhcp6::Stateful),
        "ipv6_dhcpv6-stateless" => Some(Dhcp6::Stateless),
        "ipv6_slaac" => {
            link.accept_ra = Some(true);
            None
        }
        "manual" => None,
        other => return Err(kind.wrong(format!("{other:?} is no type of subnet"))),
    };
    if dhcp6.is_some() {
        link.dhcp6 = dhcp6;
        link.accept_ra = link.accept_ra.or(Some(true));
    }
    for node in node.list("routes")? {
        route(link, &node)?;
    }
    resolver(link, node, "dns_nameservers", "dns_search")
}

/// A route's destination is `network` or `destination`.
fn route(link: &mut Link, node: &Node<'_>) -> Result<(), Wrong> {
    let via = node.need("gateway")?.host()?;
    let Some(to) = node.first(&["network", "destination"]) else {
        return Err(node.wrong("`network` is missing"));
    };
    let to = to.destination(node.get("netmask"), via)?;
    let metric = node.get("metric").map(|node| node.number(0..=u32::MAX)).transpose()?;
    link.routes.push(Route { to, via: Some(via), on_link: false, metric });
    Ok(())
}
