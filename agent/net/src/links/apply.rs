//! Changing links.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agent_core::network::host::{LinkChange, diff};
use agent_core::network::{Cidr, LinkSettings, Route};
use nix::errno::Errno;
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::{AddressMessageBuilder, Handle, LinkUnspec, RouteMessageBuilder};

use super::observe::{Link, advertised_routes, link_by_name, observe};
use crate::Outcome;
use crate::netlink::{Context, NetlinkError};

/// Makes a link what it should be: observe, change, and observe again, since removing an address
/// takes routes along with it. What the kernel refuses keeps nothing else out; the first of it is the error.
pub async fn converge(handle: &Handle, name: &str, desired: &LinkSettings) -> Result<Outcome, NetlinkError> {
    let mut outcome = Outcome::Unchanged;
    let mut refused = Ok(());
    for _ in 0..3 {
        let link = link_by_name(handle, name).await?.ok_or_else(|| NetlinkError::NoLink(name.to_owned()))?;
        let changes = diff(desired, &observe(handle, &link).await?);
        refused = Ok(());
        if changes.is_empty() {
            break;
        }
        outcome = Outcome::Changed;
        for change in &changes {
            refused = refused.and(apply(handle, &link, change).await);
        }
    }
    refused.map(|()| outcome)
}

/// Removes what router advertisements gave a link: the kernel keeps it until its time is over, also when
/// it has been told to take no more.
pub async fn forget_routers(handle: &Handle, link: &Link) -> Result<Outcome, NetlinkError> {
    let addresses = observe(handle, link).await?.automatic;
    let routes = advertised_routes(handle, link.index).await?;
    let outcome = Outcome::from_changed(!addresses.is_empty() || !routes.is_empty());
    for route in routes {
        let removed = handle.route().del(route).execute().await;
        absent_is_fine(removed).doing(|| format!("remove a router's route from `{}`", link.name))?;
    }
    for address in addresses {
        let removed = remove_address(handle, link.index, address).await;
        absent_is_fine(removed).doing(|| format!("remove {address} from `{}`", link.name))?;
    }
    Ok(outcome)
}

/// Applies one change. What is already so is no error.
pub async fn apply(handle: &Handle, link: &Link, change: &LinkChange) -> Result<(), NetlinkError> {
    let name = &link.name;
    match change {
        LinkChange::Mtu(mtu) => {
            let message = LinkUnspec::new_with_index(link.index).mtu(*mtu).build();
            let set = handle.link().set(message).execute().await;
            set.doing(|| format!("set the MTU of `{name}` to {mtu}"))?;
        }
        LinkChange::Up => {
            let message = LinkUnspec::new_with_index(link.index).up().build();
            handle.link().set(message).execute().await.doing(|| format!("bring `{name}` up"))?;
        }
        LinkChange::RemoveRoute(route) => {
            let removed = handle.route().del(message(link.index, route, None)).execute().await;
            absent_is_fine(removed).doing(|| format!("remove the route {} from `{name}`", show(route)))?;
        }
        LinkChange::RemoveAddress(address) => {
            let removed = remove_address(handle, link.index, *address).await;
            absent_is_fine(removed).doing(|| format!("remove {address} from `{name}`"))?;
        }
        LinkChange::AddAddress(address) => {
            let add = handle.address().add(link.index, address.address(), address.prefix());
            add.replace().execute().await.doing(|| format!("give `{name}` the address {address}"))?;
        }
        LinkChange::AddRoute(route) => {
            let added = handle.route().add(message(link.index, route, None)).replace().execute().await;
            added.doing(|| format!("add the route {} to `{name}`", show(route)))?;
        }
    }
    Ok(())
}

async fn remove_address(handle: &Handle, index: u32, cidr: Cidr) -> Result<(), rtnetlink::Error> {
    let message = match cidr.address() {
        IpAddr::V4(address) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, cidr.prefix()).build()
        }
        IpAddr::V6(address) => {
            AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, cidr.prefix()).build()
        }
    };
    handle.address().del(message).execute().await
}

/// Removing what is gone already: the kernel takes routes along with their address.
pub(super) fn absent_is_fine(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    result.or_else(|error| {
        let absent = [Errno::ESRCH, Errno::ENOENT, Errno::EADDRNOTAVAIL, Errno::ENODEV];
        if absent.iter().any(|errno| crate::netlink::is(&error, *errno)) { Ok(()) } else { Err(error) }
    })
}

fn show(route: &Route) -> String {
    match route.via {
        Some(via) => format!("{} via {via}", route.to),
        None => route.to.to_string(),
    }
}

/// The kernel's form of a route, in the main table unless another is given.
pub(super) fn message(index: u32, route: &Route, table: Option<u32>) -> RouteMessage {
    match route.to.address() {
        IpAddr::V4(to) => {
            let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to, route.to.prefix())
                .output_interface(index)
                .priority(route.metric);
            match route.via {
                Some(IpAddr::V4(via)) => builder = builder.gateway(via),
                // An IPv4 destination by an IPv6 next hop is legal (RFC 8950) and no setting of ours.
                Some(IpAddr::V6(via)) => builder = builder.via(via),
                None => builder = builder.scope(RouteScope::Link),
            }
            if let Some(IpAddr::V4(source)) = route.source {
                builder = builder.pref_source(source);
            }
            finish(builder, route, table)
        }
        IpAddr::V6(to) => {
            let mut builder = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to, route.to.prefix())
                .output_interface(index)
                .priority(route.metric);
            if let Some(IpAddr::V6(via)) = route.via {
                builder = builder.gateway(via);
            }
            if let Some(IpAddr::V6(source)) = route.source {
                builder = builder.pref_source(source);
            }
            finish(builder, route, table)
        }
    }
}

fn finish<T>(builder: RouteMessageBuilder<T>, route: &Route, table: Option<u32>) -> RouteMessage {
    let builder = match table {
        Some(table) => builder.table_id(table),
        None => builder,
    };
    if route.on_link && route.via.is_some() { builder.onlink().build() } else { builder.build() }
}
