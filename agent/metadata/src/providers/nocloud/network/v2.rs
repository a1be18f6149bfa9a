//! Version 2: links by kind and name, as netplan writes them.

use super::{BondKeys, bond, not_made, resolver};
use crate::network::{Dhcp6, Draft, Kind, Link, MTU, Match, Route, Vlan};
use crate::tree::{Node, Wrong};

/// Keys of any link. `optional`, `set-name` and the like concern how others boot and name.
const COMMON: [&str; 19] = [
    "dhcp4",
    "dhcp6",
    "accept-ra",
    "addresses",
    "gateway4",
    "gateway6",
    "routes",
    "nameservers",
    "mtu",
    "macaddress",
    "optional",
    "set-name",
    "wakeonlan",
    "link-local",
    "dhcp-identifier",
    "renderer",
    "critical",
    "dhcp4-overrides",
    "dhcp6-overrides",
];
const BOND: BondKeys = BondKeys {
    links: "interfaces",
    mac: "macaddress",
    parameters: "parameters",
    mode: "mode",
    miimon: "mii-monitor-interval",
    up_delay: "up-delay",
    down_delay: "down-delay",
    lacp_rate: "lacp-rate",
    hash_policy: "transmit-hash-policy",
};

/// Bytes of a NIC's name or a pattern of names; the kernel's own have at most 15.
const MOST_NAME: usize = 64;

/// Reads a document.
pub(super) fn read<'a>(draft: &mut Draft<'a>, top: &Node<'a>) -> Result<(), Wrong> {
    for (id, node) in entries(top, "ethernets")? {
        let matcher = matcher(draft, id, &node)?;
        link(draft, id, &node, Kind::Nic(matcher), &["match"])?;
    }
    for (id, node) in entries(top, "bonds")? {
        let bond = bond(draft, &node, &BOND)?;
        link(draft, id, &node, Kind::Bond(bond), &["interfaces", "parameters"])?;
    }
    for (id, node) in entries(top, "vlans")? {
        let mac = node.get("macaddress").map(|node| node.mac()).transpose()?;
        let on = node.need("link")?.text()?.to_owned();
        let tag = node.need("id")?.number(1..=4094)? as u16;
        link(draft, id, &node, Kind::Vlan(Vlan { mac, link: on, tag }), &["id", "link"])?;
    }
    for kind in ["bridges", "wifis", "tunnels", "modems", "vrfs", "dummy-devices"] {
        if let Some((id, node)) = entries(top, kind)?.into_iter().next() {
            return Err(not_made(&node, &format!("{id:?}, one of `{kind}`,")));
        }
    }
    draft.pass_over(top, &["version", "renderer", "ethernets", "bonds", "vlans"]);
    Ok(())
}

fn entries<'a>(top: &Node<'a>, key: &str) -> Result<Vec<(&'a str, Node<'a>)>, Wrong> {
    top.get(key).map_or(Ok(Vec::new()), |node| node.entries())
}

/// Without `match` the id is the NIC's name.
fn matcher<'a>(draft: &mut Draft<'a>, id: &str, node: &Node<'a>) -> Result<Match, Wrong> {
    let Some(given) = node.get("match") else {
        return Ok(Match { mac: None, name: Some(name(id, node)?) });
    };
    let mac = given.get("macaddress").map(|node| node.mac()).transpose()?;
    draft.pass_over(&given, &["macaddress", "name"]);
    if mac.is_some() {
        return Ok(Match { mac, name: None });
    }
    let Some(node) = given.get("name") else {
        return Err(given.wrong("`macaddress` or `name` is needed"));
    };
    Ok(Match { mac: None, name: Some(name(node.text()?, &node)?) })
}

/// A NIC's name, or a pattern of names, that stands at a place.
fn name(text: &str, at: &Node<'_>) -> Result<String, Wrong> {
    if text.len() > MOST_NAME {
        let problem = format!("a name of a NIC, or a pattern of names, has at most {MOST_NAME} bytes");
        return Err(at.wrong(format!("{problem}, not {}", text.len())));
    }
    Ok(text.to_owned())
}

fn link<'a>(draft: &mut Draft<'a>, id: &str, node: &Node<'a>, kind: Kind, own: &[&str]) -> Result<(), Wrong> {
    let mut notes = Vec::new();
    let link = draft.link(id, kind, node)?;
    link.mtu = node.get("mtu").map(|node| node.number(MTU)).transpose()?;
    link.dhcp4 = node.get("dhcp4").map_or(Ok(false), |node| node.truth())?;
    link.accept_ra = node.get("accept-ra").map(|node| node.truth()).transpose()?;
    if node.get("dhcp6").map_or(Ok(false), |node| node.truth())? {
        link.dhcp6 = Some(Dhcp6::Stateful);
        link.accept_ra = link.accept_ra.or(Some(true));
    }
    for address in node.list("addresses")? {
        addresses(link, &address)?;
    }
    for key in ["gateway4", "gateway6"] {
        if let Some(gateway) = node.get(key) {
            link.routes.push(Route::default(gateway.host()?));
        }
    }
    for node in node.list("routes")? {
        notes.extend(route(link, &node)?);
    }
    if let Some(servers) = node.get("nameservers") {
        resolver(link, &servers, "addresses", "search")?;
    }
    draft.notes.extend(notes);
    draft.pass_over(node, &[&COMMON[..], own].concat());
    Ok(())
}

/// An address, or an object of one key, the address, with its options.
fn addresses(link: &mut Link, node: &Node<'_>) -> Result<(), Wrong> {
    if !node.is_map() {
        link.addresses.push(node.interface(None)?);
        return Ok(());
    }
    for (address, node) in node.entries()? {
        link.addresses.push(
            address
                .parse()
                .map_err(|_| node.wrong(format!("{address:?} is no address with its prefix length")))?,
        );
    }
    Ok(())
}

/// Adds a route; what comes back is a note of one that is not for the main table.
fn route(link: &mut Link, node: &Node<'_>) -> Result<Option<String>, Wrong> {
    if node.get("table").is_some() || node.get("type").is_some_and(|kind| kind.text() != Ok("unicast")) {
        return Ok(Some(format!("`{}`: only unicast routes of the main table are used", node.place())));
    }
    let on_link = node.get("on-link").map_or(Ok(false), |node| node.truth())?;
    let via = node.get("via").map(|node| node.host()).transpose()?;
    let to = node.need("to")?;
    let Some(like) = via.or_else(|| to.text().ok()?.split('/').next()?.parse().ok()) else {
        return Err(node.wrong("`via` is missing"));
    };
    let to = to.destination(None, like)?;
    let metric = node.get("metric").map(|node| node.number(0..=u32::MAX)).transpose()?;
    link.routes.push(Route { to, via, on_link, metric });
    Ok(None)
}

#[cfg(test)]
mod tests {
    use crate::tree::Tree;

    #[test]
    fn names_and_patterns_of_nics_are_short() {
        let check = |nic: &str, expect: Option<&str>| {
            let tree: Tree = serde_saphyr::from_str(&format!("version: 2\nethernets:\n  {nic}\n")).unwrap();
            let told = super::super::read(&tree).err().map(|wrong| wrong.to_string());
            assert_eq!(told.as_deref(), expect, "{nic}");
        };
        let (most, more) = ("*".repeat(64), "*".repeat(65));
        check(&format!("a: {{match: {{name: \"{most}\"}}}}"), None);
        check(&format!("\"{most}\": {{dhcp4: true}}"), None);
        let at =
            "ethernets.a.match.name: a name of a NIC, or a pattern of names, has at most 64 bytes, not 65";
        check(&format!("a: {{match: {{name: \"{more}\"}}}}"), Some(at));
        let at =
            format!("ethernets.{more}: a name of a NIC, or a pattern of names, has at most 64 bytes, not 65");
        check(&format!("\"{more}\": {{dhcp4: true}}"), Some(&at));
        // An id beside `match` is no name.
        check(&format!("\"{more}\": {{match: {{name: ens*}}}}"), None);
    }
}
