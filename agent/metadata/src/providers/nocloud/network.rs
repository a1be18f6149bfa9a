//! `network-config`: the two versions that NoCloud has, each with or without `network:` around it.

mod v1;
mod v2;

use crate::network::{Bond, BondMode, Draft, Link, Network, hash_policy};
use crate::tree::{Node, Tree, Wrong};

/// Whether this looks like such a document.
pub(crate) fn is(tree: &Tree) -> bool {
    let top = Node::top(tree);
    top.get("network").unwrap_or(top).get("version").is_some()
}

/// Reads a document; none where it says that nothing is to be set up (`config: disabled`).
pub(crate) fn read(tree: &Tree) -> Result<Option<Network>, Wrong> {
    let top = Node::top(tree);
    let top = top.get("network").unwrap_or(top);
    top.entries()?;
    if top.get("config").is_some_and(|config| config.text().is_ok_and(|text| text == "disabled")) {
        return Ok(None);
    }
    let mut draft = Draft::default();
    let version = top.need("version")?;
    match version.number(1..=2) {
        Ok(1) => v1::read(&mut draft, &top)?,
        Ok(_) => v2::read(&mut draft, &top)?,
        Err(_) => return Err(version.wrong("versions 1 and 2 are known")),
    }
    draft.finish().map(Some)
}

/// Name servers and search domains at these keys, in a list or alone.
fn resolver(link: &mut Link, node: &Node<'_>, servers: &str, domains: &str) -> Result<(), Wrong> {
    for server in node.some(servers)? {
        link.dns.push(server.host()?);
    }
    for domain in node.some(domains)? {
        link.search.push(domain.text()?.to_owned());
    }
    Ok(())
}

/// A kind of link that a box does not make.
fn not_made(node: &Node<'_>, what: &str) -> Wrong {
    node.wrong(format!("{what} is not supported; NICs, bonds and VLANs are"))
}

/// What a version calls the parts of a bond.
struct BondKeys {
    links: &'static str,
    mac: &'static str,
    parameters: &'static str,
    mode: &'static str,
    miimon: &'static str,
    up_delay: &'static str,
    down_delay: &'static str,
    lacp_rate: &'static str,
    hash_policy: &'static str,
}

/// Reads a bond; parameters that it does not say are the kernel's own.
fn bond<'a>(draft: &mut Draft<'a>, node: &Node<'a>, keys: &BondKeys) -> Result<Bond, Wrong> {
    let links = node.list(keys.links)?;
    let mut bond = Bond {
        mac: node.get(keys.mac).map(|node| node.mac()).transpose()?,
        links: links.iter().map(|id| Ok(id.text()?.to_owned())).collect::<Result<_, Wrong>>()?,
        mode: BondMode::BalanceRr,
        miimon: None,
        up_delay: None,
        down_delay: None,
        lacp_fast: false,
        xmit_hash_policy: None,
    };
    let Some(parameters) = node.get(keys.parameters) else { return Ok(bond) };
    let time = |key: &str| parameters.get(key).map(|node| node.number(0..=60_000)).transpose();
    if let Some(mode) = parameters.get(keys.mode) {
        bond.mode = BondMode::read(&mode)?;
    }
    bond.miimon = time(keys.miimon)?;
    bond.up_delay = time(keys.up_delay)?;
    bond.down_delay = time(keys.down_delay)?;
    bond.lacp_fast = parameters.get(keys.lacp_rate).map_or(Ok(false), |node| lacp_fast(&node))?;
    bond.xmit_hash_policy = parameters.get(keys.hash_policy).map(|node| hash_policy(&node)).transpose()?;
    let known = [keys.mode, keys.miimon, keys.up_delay, keys.down_delay, keys.lacp_rate, keys.hash_policy];
    draft.pass_over(&parameters, &known);
    Ok(bond)
}

/// How often LACP speaks: `slow` or `fast`, or the kernel's number.
fn lacp_fast(node: &Node<'_>) -> Result<bool, Wrong> {
    match node.text()? {
        "fast" | "1" => Ok(true),
        "slow" | "0" => Ok(false),
        other => Err(node.wrong(format!("{other:?} is neither \"slow\" nor \"fast\""))),
    }
}
