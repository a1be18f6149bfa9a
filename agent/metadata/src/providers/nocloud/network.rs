//! `network-config`: the two versions that NoCloud has, each with or without `network:` around it.

mod v1;
mod v2;

use crate::network::{Draft, Link, Network};
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
