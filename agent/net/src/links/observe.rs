//! What the kernel has.

use std::net::IpAddr;

use agent_core::network::host::ObservedLink;
use agent_core::network::{Cidr, Mac, Route};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::netlink::{Context, NetlinkError};

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Hardware address, of Ethernet links: a NIC's own, whatever the bond it is in has given it.
    pub mac: Option<Mac>,
    /// Administratively up.
    pub up: bool,
    /// Its other end is there.
    pub carrier: bool,
    /// Bytes.
    pub mtu: u32,
    /// `bridge`, `veth`, …; none for hardware and what looks like it (virtio).
    pub kind: Option<String>,
    /// The bridge or bond it is a port of.
    pub controller: Option<u32>,
    /// A note on it, for people and for ourselves.
    pub alias: Option<String>,
}

impl Link {
    /// Whether it is a network card: Ethernet, and not made by software.
    pub fn is_nic(&self) -> bool {
        self.mac.is_some() && self.kind.is_none()
    }

    /// Whether it is a bond or a VLAN. Nobody but [`super::converge_devices`] makes any on a box.
    pub fn is_device(&self) -> bool {
        self.mac.is_some() && matches!(self.kind.as_deref(), Some("bond" | "vlan"))
    }

    fn from_message(message: &LinkMessage) -> Link {
        let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
        let flags = message.header.flags;
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            mac: None,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            mtu: 0,
            kind: None,
            controller: None,
            alias: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(address) if ethernet => link.mac = link.mac.or(mac(address)),
                LinkAttribute::PermAddress(address) if ethernet => link.mac = mac(address).or(link.mac),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::LinkInfo(infos) => {
                    link.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link
    }
}

/// A hardware address that is one.
fn mac(bytes: &[u8]) -> Option<Mac> {
    <[u8; 6]>::try_from(bytes).ok().filter(|bytes| *bytes != [0; 6]).map(Mac)
}

/// All links.
pub async fn links(handle: &Handle) -> Result<Vec<Link>, NetlinkError> {
    let messages: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.doing(|| "list links".to_owned())?;
    Ok(messages.iter().map(Link::from_message).collect())
}

/// The link of this name; none when there is none.
pub async fn link_by_name(handle: &Handle, name: &str) -> Result<Option<Link>, NetlinkError> {
    let mut found = Box::pin(handle.link().get().match_name(name.to_owned()).execute());
    match found.try_next().await {
        Ok(message) => Ok(message.as_ref().map(Link::from_message)),
        Err(error) if crate::netlink::is(&error, nix::errno::Errno::ENODEV) => Ok(None),
        Err(error) => Err(error).doing(|| format!("look for the link `{name}`")),
    }
}

/// What a link has of what is ours to change.
pub async fn observe(handle: &Handle, link: &Link) -> Result<ObservedLink, NetlinkError> {
    let mut observed = ObservedLink { up: link.up, mtu: link.mtu, ..ObservedLink::default() };
    let request = handle.address().get().set_link_index_filter(link.index);
    let addresses: Vec<AddressMessage> =
        request.execute().try_collect().await.doing(|| format!("list the addresses of `{}`", link.name))?;
    for message in &addresses {
        let Some((address, origin)) = address_of(message) else { continue };
        match origin {
            Origin::Ours => observed.addresses.insert(address),
            Origin::Kernel => observed.automatic.insert(address),
        };
    }
    for message in routes(handle).await? {
        if output_interface(&message) != Some(link.index) {
            continue;
        }
        let Some(route) = route_of(&message) else { continue };
        match message.header.protocol {
            RouteProtocol::Static | RouteProtocol::Dhcp | RouteProtocol::Boot => {
                observed.routes.insert(route);
            }
            RouteProtocol::Ra if route.to.is_default() => observed.routers.extend(route.via),
            _ => {}
        }
    }
    Ok(observed)
}

/// The IPv4 networks that the host has routes to, defaults left out, but for those of links that
/// `except` names.
pub async fn host_subnets(handle: &Handle, except: impl Fn(&str) -> bool) -> Result<Vec<Cidr>, NetlinkError> {
    let ignored: Vec<u32> =
        links(handle).await?.iter().filter(|link| except(&link.name)).map(|link| link.index).collect();
    let routes = routes(handle).await?;
    let wanted = routes.iter().filter(|message| {
        message.header.kind == RouteType::Unicast
            && !output_interface(message).is_some_and(|index| ignored.contains(&index))
    });
    let subnets = wanted.filter_map(route_of).map(|route| route.to);
    Ok(subnets.filter(|to| to.address().is_ipv4() && !to.is_default()).collect())
}

enum Origin {
    Ours,
    Kernel,
}

/// The address and whose it is; none for those that are never anyone's business.
fn address_of(message: &AddressMessage) -> Option<(Cidr, Origin)> {
    let mut address = None;
    let mut local = None;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(a) => address = Some(*a),
            AddressAttribute::Local(a) => local = Some(*a),
            AddressAttribute::Flags(f) => flags = *f,
            _ => {}
        }
    }
    let address = local.or(address)?;
    let narrow = matches!(message.header.scope, AddressScope::Link | AddressScope::Host);
    if address.is_ipv6() && narrow {
        return None;
    }
    let ours = address.is_ipv4() || flags.contains(AddressFlags::Permanent);
    let cidr = Cidr::new(address, message.header.prefix_len)?;
    Some((cidr, if ours { Origin::Ours } else { Origin::Kernel }))
}

/// All routes of the main table.
async fn routes(handle: &Handle) -> Result<Vec<RouteMessage>, NetlinkError> {
    let mut all = all_routes(handle).await?;
    all.retain(|message| message.header.table == RouteHeader::RT_TABLE_MAIN);
    Ok(all)
}

/// A link's routes that router advertisements made.
pub(super) async fn advertised_routes(handle: &Handle, link: u32) -> Result<Vec<RouteMessage>, NetlinkError> {
    let mut routes = routes(handle).await?;
    routes
        .retain(|route| route.header.protocol == RouteProtocol::Ra && output_interface(route) == Some(link));
    Ok(routes)
}

/// All routes of all tables.
pub(super) async fn all_routes(handle: &Handle) -> Result<Vec<RouteMessage>, NetlinkError> {
    let mut all = Vec::new();
    let requests = [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ];
    for request in requests {
        let answer: Vec<RouteMessage> =
            handle.route().get(request).execute().try_collect().await.doing(|| "list routes".to_owned())?;
        all.extend(answer);
    }
    Ok(all)
}

pub(super) fn output_interface(message: &RouteMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

/// A unicast route; none for the other kinds, and for those with several next hops.
pub(super) fn route_of(message: &RouteMessage) -> Option<Route> {
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let mut to = None;
    let mut route = Route {
        via: None,
        to: Cidr::default_route(std::net::Ipv4Addr::UNSPECIFIED.into()),
        on_link: message.header.flags.contains(RouteFlags::Onlink),
        metric: 0,
        source: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address),
            RouteAttribute::Gateway(address) => route.via = ip(address),
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::MultiPath(_) => return None,
            _ => {}
        }
    }
    let family = message.header.address_family;
    let unspecified = if family == rtnetlink::packet_route::AddressFamily::Inet {
        IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
    };
    route.to = Cidr::new(to.unwrap_or(unspecified), message.header.destination_prefix_length)?;
    Some(route)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}
