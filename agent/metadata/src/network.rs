//! A box's network as its provider describes it.
//!
//! Invariant: a [`Network`] that a reader returned is whole: ids are unique, bonds and VLANs stand
//! on links that are there, a gateway is of its destination's family and is marked on-link where no
//! subnet of its link holds it, and no link has two default routes of a family. Deliberately absent:
//! which of several NICs wins; that is decided where routes are set.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

pub use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::tree::{Node, Wrong};

/// Smallest and largest MTU.
pub(crate) const MTU: std::ops::RangeInclusive<u32> = 68..=65_535;
/// Most links of a document.
const MOST_LINKS: usize = 256;

/// What a provider says of a box's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// In the document's order.
    pub links: Vec<Link>,
    /// Name servers of the box.
    pub dns: Vec<IpAddr>,
    /// Search domains of the box.
    pub search: Vec<String>,
    /// What was passed over, for people.
    pub notes: Vec<String>,
}

/// A NIC, or what stands on NICs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The document's name for it; unique.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes; none: as the link has it.
    pub mtu: Option<u32>,
    /// Whether IPv4 comes by DHCP.
    pub dhcp4: bool,
    /// Whether IPv6 comes by DHCP, and how much of it.
    pub dhcp6: Option<Dhcp6>,
    /// Whether router advertisements are taken; none: nothing is said.
    pub accept_ra: Option<bool>,
    /// Static addresses.
    pub addresses: Vec<IpNet>,
    /// Static routes.
    pub routes: Vec<Route>,
    /// Name servers of this link alone.
    pub dns: Vec<IpAddr>,
    /// Search domains of this link alone.
    pub search: Vec<String>,
}

/// What a link is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A NIC that is there.
    Nic(Match),
    /// Several NICs as one.
    Bond(Bond),
    /// A tagged network on another link (IEEE 802.1Q).
    Vlan(Vlan),
}

/// Which NIC is meant. By hardware address where there is one, else by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Match {
    /// Hardware address.
    pub mac: Option<Mac>,
    /// The kernel's name, or a pattern of names with `*` and `?`.
    pub name: Option<String>,
}

/// A bond's settings; numbers are the kernel's, times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bond {
    /// Hardware address to give it.
    pub mac: Option<Mac>,
    /// Ids of its links.
    pub links: Vec<String>,
    /// How frames are spread.
    pub mode: BondMode,
    /// How often links are looked at; none: 100.
    pub miimon: Option<u32>,
    /// Delay before a link that is back is used.
    pub up_delay: Option<u32>,
    /// Delay before a link that is lost is given up.
    pub down_delay: Option<u32>,
    /// LACP packets each second, not every 30.
    pub lacp_fast: bool,
    /// `layer2`, `layer2+3`, `layer3+4`, `encap2+3`, `encap3+4` or `vlan+srcmac`.
    pub xmit_hash_policy: Option<String>,
}

/// The kernel's bonding modes, by the names it has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BondMode {
    /// Mode 0.
    BalanceRr,
    /// Mode 1.
    ActiveBackup,
    /// Mode 2.
    BalanceXor,
    /// Mode 3.
    Broadcast,
    /// Mode 4: LACP.
    Lacp,
    /// Mode 5.
    BalanceTlb,
    /// Mode 6.
    BalanceAlb,
}

impl fmt::Display for BondMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = BondMode::ALL.iter().find(|(_, mode)| mode == self).expect("all modes are listed");
        f.write_str(name)
    }
}

impl Serialize for BondMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl BondMode {
    /// All, in the order of the kernel's numbers.
    const ALL: [(&str, BondMode); 7] = [
        ("balance-rr", BondMode::BalanceRr),
        ("active-backup", BondMode::ActiveBackup),
        ("balance-xor", BondMode::BalanceXor),
        ("broadcast", BondMode::Broadcast),
        ("802.3ad", BondMode::Lacp),
        ("balance-tlb", BondMode::BalanceTlb),
        ("balance-alb", BondMode::BalanceAlb),
    ];

    /// The kernel's number.
    pub fn number(self) -> u8 {
        BondMode::ALL.iter().zip(0..).find(|((_, mode), _)| *mode == self).map_or(0, |(_, number)| number)
    }

    /// Reads a name, or the kernel's number.
    pub(crate) fn read(node: &Node<'_>) -> Result<BondMode, Wrong> {
        let text = node.text()?;
        let named = BondMode::ALL.iter().find(|(name, _)| *name == text);
        let numbered = || text.parse::<usize>().ok().and_then(|number| BondMode::ALL.get(number));
        named.or_else(numbered).map(|(_, mode)| *mode).ok_or_else(|| {
            let names = BondMode::ALL.map(|(name, _)| name).join(", ");
            node.wrong(format!("{text:?} is no bonding mode; they are {names}"))
        })
    }
}

/// The ways a bond spreads frames over its links, by the kernel's names for them and in the order of its numbers.
const HASH_POLICIES: [&str; 6] = ["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"];

/// The kernel's number of a way to spread frames.
pub fn hash_policy_number(name: &str) -> Option<u8> {
    HASH_POLICIES.iter().zip(0..).find(|(known, _)| **known == name).map(|(_, number)| number)
}

/// Reads how a bond spreads frames.
pub(crate) fn hash_policy(node: &Node<'_>) -> Result<String, Wrong> {
    let text = node.text()?;
    if HASH_POLICIES.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(node.wrong(format!("{text:?} is no hash policy; they are {}", HASH_POLICIES.join(", "))))
}

/// A tagged network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vlan {
    /// Hardware address to give it.
    pub mac: Option<Mac>,
    /// Id of the link it stands on.
    pub link: String,
    /// Its tag, 1 to 4094.
    pub tag: u16,
}

/// How much DHCPv6 gives (RFC 8415).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dhcp6 {
    /// Addresses and the rest.
    Stateful,
    /// The rest; addresses come by router advertisements.
    Stateless,
}

impl Dhcp6 {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Dhcp6::Stateful => "DHCPv6",
            Dhcp6::Stateless => "DHCPv6 without addresses",
        }
    }
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Destination; `/0` for the default.
    pub to: IpNet,
    /// Next hop; none: the destination is on the link.
    pub via: Option<IpAddr>,
    /// The next hop is on the link although no subnet of it holds it.
    pub on_link: bool,
    /// Which of several routes wins: the lowest; none: by the order of links.
    pub metric: Option<u32>,
}

impl Route {
    /// The default route by a gateway.
    pub(crate) fn default(via: IpAddr) -> Route {
        Route { to: crate::tree::default_route(via), via: Some(via), on_link: false, metric: None }
    }
}

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mac([a, b, c, d, e, g]) = self;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that is no hardware address.
#[derive(Debug, thiserror::Error)]
#[error("not a hardware address")]
pub struct NoMac;

impl FromStr for Mac {
    type Err = NoMac;

    /// Six bytes in hexadecimal, separated by `:` or `-`, in either case. That of no NIC, all zeroes,
    /// is none.
    fn from_str(text: &str) -> Result<Mac, NoMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().ok_or(NoMac)?;
            let hex = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
            *byte = u8::from_str_radix(part, 16).ok().filter(|_| hex).ok_or(NoMac)?;
        }
        if parts.next().is_some() || bytes == [0; 6] { Err(NoMac) } else { Ok(Mac(bytes)) }
    }
}

/// Collects links while a document is read.
///
/// Keeps the place of each, so that what is wrong between links can name it.
#[derive(Default)]
pub(crate) struct Draft<'a> {
    links: Vec<(Link, Node<'a>)>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) search: Vec<String>,
    pub(crate) notes: Vec<String>,
}

impl<'a> Draft<'a> {
    /// Adds a link without addresses, and returns it.
    pub(crate) fn link(&mut self, id: &str, kind: Kind, at: &Node<'a>) -> Result<&mut Link, Wrong> {
        if self.find(id).is_some() {
            return Err(at.wrong(format!("a second link {id:?}")));
        }
        if self.links.len() == MOST_LINKS {
            return Err(at.wrong(format!("more than {MOST_LINKS} links")));
        }
        let link = Link {
            id: id.to_owned(),
            kind,
            mtu: None,
            dhcp4: false,
            dhcp6: None,
            accept_ra: None,
            addresses: Vec::new(),
            routes: Vec::new(),
            dns: Vec::new(),
            search: Vec::new(),
        };
        self.links.push((link, at.clone()));
        Ok(&mut self.links.last_mut().expect("it was pushed").0)
    }

    /// The link of this id.
    pub(crate) fn find(&mut self, id: &str) -> Option<&mut Link> {
        self.links.iter_mut().map(|(link, _)| link).find(|link| link.id == id)
    }

    /// Notes keys of an object that mean nothing here.
    pub(crate) fn pass_over(&mut self, node: &Node<'_>, known: &[&str]) {
        for key in node.others(known) {
            let place = node.place();
            let dot = if place.is_empty() { "" } else { "." };
            self.notes.push(format!("`{place}{dot}{key}` is not used"));
        }
    }

    /// What was read, checked as a whole.
    pub(crate) fn finish(mut self) -> Result<Network, Wrong> {
        for at in 0..self.links.len() {
            let (link, place) = &self.links[at];
            self.check_kind(link, place)?;
            let (link, place) = &mut self.links[at];
            check_routes(link, place)?;
            link.dns = once(&link.dns);
            link.search = once(&link.search);
        }
        self.check_owners()?;
        Ok(Network {
            links: self.links.into_iter().map(|(link, _)| link).collect(),
            dns: once(&self.dns),
            search: once(&self.search),
            notes: self.notes,
        })
    }

    fn kind(&self, id: &str) -> Option<&Kind> {
        self.links.iter().map(|(link, _)| link).find(|link| link.id == id).map(|link| &link.kind)
    }

    /// Bonds are of NICs; VLANs stand on a NIC or a bond, so nothing stands on itself.
    fn check_kind(&self, link: &Link, place: &Node<'_>) -> Result<(), Wrong> {
        match &link.kind {
            Kind::Nic(Match { mac: None, name: None }) => {
                Err(place.wrong("neither a hardware address nor a name tells which NIC this is"))
            }
            Kind::Nic(_) => Ok(()),
            Kind::Bond(bond) if bond.links.is_empty() => Err(place.wrong("a bond of no links")),
            Kind::Bond(bond) => bond.links.iter().try_for_each(|id| match self.kind(id) {
                Some(Kind::Nic(_)) => Ok(()),
                Some(_) => Err(place.wrong(format!("the bond's link {id:?} is no NIC"))),
                None => Err(place.wrong(format!("the bond's link {id:?} is not in the document"))),
            }),
            Kind::Vlan(vlan) => match self.kind(&vlan.link) {
                Some(Kind::Vlan(_)) => Err(place.wrong(format!("a VLAN on the VLAN {:?}", vlan.link))),
                Some(_) => Ok(()),
                None => Err(place.wrong(format!("the VLAN's link {:?} is not in the document", vlan.link))),
            },
        }
    }

    /// No two entries are for the same NIC, no NIC is in two bonds, and no link has a tag twice.
    fn check_owners(&self) -> Result<(), Wrong> {
        let mut nics = BTreeSet::new();
        let mut bonded = BTreeSet::new();
        let mut tags = BTreeSet::new();
        for (link, place) in &self.links {
            let new = match &link.kind {
                Kind::Nic(Match { mac: Some(mac), .. }) => nics.insert(mac.to_string()),
                Kind::Nic(Match { name, .. }) => nics.insert(name.clone().unwrap_or_default()),
                Kind::Bond(bond) => bond.links.iter().all(|id| bonded.insert(id)),
                Kind::Vlan(vlan) => tags.insert((&vlan.link, vlan.tag)),
            };
            if !new {
                return Err(place.wrong(match &link.kind {
                    Kind::Nic(_) => "a second entry for the same NIC",
                    Kind::Bond(_) => "one of the bond's links is taken already",
                    Kind::Vlan(_) => "a second VLAN with this tag on this link",
                }));
            }
        }
        Ok(())
    }
}

/// Marks gateways outside the link's subnets, drops what stands twice, refuses what contradicts.
fn check_routes(link: &mut Link, place: &Node<'_>) -> Result<(), Wrong> {
    link.addresses = once(&link.addresses);
    let mut routes: Vec<Route> = Vec::new();
    for mut route in std::mem::take(&mut link.routes) {
        if let Some(via) = route.via {
            if via.is_ipv4() != route.to.addr().is_ipv4() {
                return Err(
                    place.wrong(format!("the route to {} goes by {via}, of another family", route.to))
                );
            }
            if link.addresses.iter().any(|own| own.addr() == via) {
                return Err(place.wrong(format!("the route to {} goes by the link's own address", route.to)));
            }
            let on_subnet = link.addresses.iter().any(|own| own.contains(&via));
            let link_local = matches!(via, IpAddr::V6(via) if via.is_unicast_link_local());
            // What only DHCP or an advertisement brings is not known here.
            let learnt =
                if via.is_ipv4() { link.dhcp4 } else { link.accept_ra != Some(false) && !has_v6(link) };
            route.on_link |= !on_subnet && !link_local && !learnt;
        }
        if routes.iter().any(|present| present.to == route.to && present.via == route.via) {
            continue;
        }
        let twice = |present: &&Route| present.to == route.to && present.metric == route.metric;
        if let Some(present) = routes.iter().find(twice).filter(|_| route.to.prefix_len() == 0) {
            let by = |route: &Route| route.via.map_or("the link".to_owned(), |via| via.to_string());
            return Err(place.wrong(format!("two default routes, by {} and by {}", by(present), by(&route))));
        }
        routes.push(route);
    }
    link.routes = routes;
    Ok(())
}

fn has_v6(link: &Link) -> bool {
    link.addresses.iter().any(|own| own.addr().is_ipv6())
}

/// The same, each once.
fn once<T: Clone + PartialEq>(items: &[T]) -> Vec<T> {
    let mut seen: Vec<T> = Vec::new();
    for item in items {
        if !seen.contains(item) {
            seen.push(item.clone());
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_come_in_several_spellings() {
        for (text, expect) in [
            ("52:54:00:12:34:56", Some("52:54:00:12:34:56")),
            ("A4-BF-00-10-20-30", Some("a4:bf:00:10:20:30")),
            ("2:0:0:0:0:1", Some("02:00:00:00:00:01")),
            ("00:00:00:00:00:00", None),
            ("02:xx:xx:xx:xx:xx", None),
            ("52:54:00:12:34", None),
            ("52:54:00:12:34:56:78", None),
            ("+2:54:00:12:34:56", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Mac>().ok().map(|mac| mac.to_string()).as_deref(), expect, "{text}");
        }
    }
}
