//! DigitalOcean's metadata document, `/metadata/v1.json`.
//!
//! A public NIC has its address, an anchor address that reserved IPs arrive at, and the default
//! route; a private one has its address alone: the gateway that is named there leads nowhere else.
//! Taken leniently: numbers as text, `null` or `""` for what is not there, an object in a list.

use crate::network::{Draft, Kind, Link, Match, Network, Route};
use crate::tree::{Node, Tree, Wrong};

/// What the document says of the droplet itself.
#[derive(Default)]
pub(crate) struct Droplet {
    pub(crate) id: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) public_keys: Vec<String>,
    pub(crate) user_data: Option<String>,
    pub(crate) vendor_data: bool,
}

/// Whether this is such a document.
pub(crate) fn is(tree: &Tree) -> bool {
    let top = Node::top(tree).unwrapped();
    top.get("droplet_id").is_some() || top.get("interfaces").is_some_and(|node| node.is_map())
}

/// Identity, host name, keys and user-data.
pub(crate) fn droplet(tree: &Tree) -> Result<Droplet, Wrong> {
    let top = Node::top(tree).unwrapped();
    let text = |key: &str| top.get(key).map(|node| Ok(node.text()?.to_owned())).transpose();
    let keys = top.some("public_keys")?;
    Ok(Droplet {
        id: text("droplet_id")?,
        hostname: text("hostname")?,
        public_keys: keys.iter().map(|key| Ok(key.text()?.to_owned())).collect::<Result<_, Wrong>>()?,
        user_data: top.get("user_data").map(|node| Ok(node.raw()?.to_owned())).transpose()?,
        vendor_data: top.get("vendor_data").is_some(),
    })
}

/// Reads the network; none where the document has no interfaces.
pub(crate) fn network(tree: &Tree) -> Result<Option<Network>, Wrong> {
    let top = Node::top(tree).unwrapped();
    let Some(interfaces) = top.get("interfaces") else { return Ok(None) };
    let mut draft = Draft::default();
    // The public NIC comes first: its default route is the box's.
    for (kind, public) in [("public", true), ("private", false)] {
        for (order, node) in interfaces.some(kind)?.iter().enumerate() {
            let mac = node.need("mac")?.mac()?;
            let nic = Kind::Nic(Match { mac: Some(mac), name: None });
            let link = draft.link(&format!("{kind}{order}"), nic, node)?;
            addresses(link, node, public)?;
        }
    }
    draft.pass_over(&interfaces, &["public", "private"]);
    if let Some(dns) = top.get("dns") {
        for server in dns.some("nameservers")? {
            draft.dns.push(server.host()?);
        }
    }
    Ok(Some(draft.finish()?))
}

fn addresses(link: &mut Link, node: &Node<'_>, public: bool) -> Result<(), Wrong> {
    for family in ["ipv4", "ipv6", "anchor_ipv4", "anchor_ipv6"] {
        let Some(given) = node.get(family) else { continue };
        let Some(address) = given.get("ip_address") else { continue };
        link.addresses.push(address.interface(given.first(&["netmask", "cidr"]))?);
        if let Some(gateway) = given.get("gateway").filter(|_| public && !family.starts_with("anchor")) {
            link.routes.push(Route::default(gateway.host()?));
        }
    }
    Ok(())
}
