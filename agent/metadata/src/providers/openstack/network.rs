//! `network_data.json`, as Nova's schema has it and as clouds write it.
//!
//! Beside the schema these are taken: `physical` and no type at all for a NIC, networks with
//! `gateway`, `dns_nameservers` and `dns_search`, IPv6 addresses with their prefix length, the types
//! `ipv6_dhcpv6-stateful` and `ipv6_dhcpv6-stateless` of Neutron's address modes.

use crate::network::{
    Bond, BondMode, Dhcp6, Draft, Kind, Link, MTU, Match, Network, Route, Vlan, hash_policy,
};
use crate::tree::{Node, Tree, Wrong};

const LINK: [&str; 13] = [
    "id",
    "type",
    "name",
    "vif_id",
    "mtu",
    "ethernet_mac_address",
    "bond_mode",
    "bond_links",
    "bond_miimon",
    "bond_xmit_hash_policy",
    "vlan_id",
    "vlan_link",
    "vlan_mac_address",
];
const NETWORK: [&str; 11] = [
    "id",
    "type",
    "link",
    "network_id",
    "ip_address",
    "netmask",
    "gateway",
    "routes",
    "services",
    "dns_nameservers",
    "dns_search",
];

/// Whether this looks like such a document.
pub(crate) fn is(tree: &Tree) -> bool {
    let top = Node::top(tree);
    top.get("links").is_some() || top.get("networks").is_some()
}

/// Reads a document.
pub(crate) fn read(tree: &Tree) -> Result<Network, Wrong> {
    let top = Node::top(tree);
    top.entries()?;
    let mut draft = Draft::default();
    for node in top.list("links")? {
        link(&mut draft, &node)?;
    }
    for node in top.list("networks")? {
        network(&mut draft, &node)?;
    }
    for server in services(&top)? {
        draft.dns.push(server.host()?);
    }
    draft.pass_over(&top, &["links", "networks", "services"]);
    draft.finish()
}

fn link<'a>(draft: &mut Draft<'a>, node: &Node<'a>) -> Result<(), Wrong> {
    let id = node.need("id")?.text()?;
    let mac = node.get("ethernet_mac_address").map(|node| node.mac()).transpose()?;
    let kind = match node.get("type").map(|node| node.text()).transpose()? {
        Some("bond") => Kind::Bond(Bond {
            mac,
            links: node
                .list("bond_links")?
                .iter()
                .map(|id| Ok(id.text()?.to_owned()))
                .collect::<Result<_, Wrong>>()?,
            mode: BondMode::read(&node.need("bond_mode")?)?,
            miimon: node.get("bond_miimon").map(|node| node.number(0..=60_000)).transpose()?,
            up_delay: None,
            down_delay: None,
            lacp_fast: false,
            xmit_hash_policy: node.get("bond_xmit_hash_policy").map(|node| hash_policy(&node)).transpose()?,
        }),
        Some("vlan") => Kind::Vlan(Vlan {
            mac: node.get("vlan_mac_address").map(|node| node.mac()).transpose()?.or(mac),
            link: node.need("vlan_link")?.text()?.to_owned(),
            tag: node.need("vlan_id")?.number(1..=4094)? as u16,
        }),
        // The other types say how the host plugs the NIC in, which is nothing to its guest.
        _ => {
            let name = node.get("name").map(|node| node.text()).transpose()?;
            Kind::Nic(Match { mac, name: name.filter(|_| mac.is_none()).map(str::to_owned) })
        }
    };
    let mtu = node.get("mtu").map(|node| node.number(MTU)).transpose()?;
    draft.link(id, kind, node)?.mtu = mtu;
    draft.pass_over(node, &LINK);
    Ok(())
}

fn network<'a>(draft: &mut Draft<'a>, node: &Node<'a>) -> Result<(), Wrong> {
    let id = node.need("link")?;
    let Some(link) = draft.find(id.text()?) else {
        return Err(id.wrong(format!("{:?} is no link of the document", id.text()?)));
    };
    let kind = node.need("type")?;
    match kind.text()? {
        "ipv4_dhcp" => link.dhcp4 = true,
        "ipv4" | "ipv6" => address(link, node)?,
        "ipv6_slaac" => link.accept_ra = Some(true),
        "ipv6_dhcp" | "ipv6_dhcpv6-stateful" => dhcp6(link, Dhcp6::Stateful),
        "ipv6_dhcpv6-stateless" => dhcp6(link, Dhcp6::Stateless),
        other => {
            let known =
                "ipv4, ipv4_dhcp, ipv6, ipv6_slaac, ipv6_dhcp, ipv6_dhcpv6-stateful, ipv6_dhcpv6-stateless";
            return Err(kind.wrong(format!("{other:?} is no type of network; they are {known}")));
        }
    }
    for route in node.list("routes")? {
        let via = route.need("gateway")?.host()?;
        let to = route.need("network")?.destination(route.get("netmask"), via)?;
        link.routes.push(Route { to, via: Some(via), on_link: false, metric: None });
        for server in services(&route)? {
            link.dns.push(server.host()?);
        }
    }
    for server in services(node)?.into_iter().chain(node.some("dns_nameservers")?) {
        link.dns.push(server.host()?);
    }
    for domain in node.some("dns_search")? {
        link.search.push(domain.text()?.to_owned());
    }
    draft.pass_over(node, &NETWORK);
    Ok(())
}

/// A static address; a static IPv6 network without one has nothing to set.
fn address(link: &mut Link, node: &Node<'_>) -> Result<(), Wrong> {
    link.addresses.push(node.need("ip_address")?.interface(node.get("netmask"))?);
    if let Some(gateway) = node.get("gateway") {
        link.routes.push(Route::default(gateway.host()?));
    }
    Ok(())
}

fn dhcp6(link: &mut Link, how: Dhcp6) {
    link.accept_ra = Some(true);
    link.dhcp6 = Some(how);
}

/// Addresses of the name servers in `services`.
fn services<'a>(node: &Node<'a>) -> Result<Vec<Node<'a>>, Wrong> {
    let mut servers = Vec::new();
    for service in node.list("services")? {
        if service.need("type")?.text()? == "dns" {
            servers.push(service.need("address")?);
        }
    }
    Ok(servers)
}
