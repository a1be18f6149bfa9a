//! Networks of instances: a bridge each, and for each container a namespace and a pair of virtual
//! Ethernet links that joins them.
//!
//! Hardware addresses follow from IPv4 addresses, so that a container that is made anew is found by
//! its neighbours at once. Everything is found again by name after a restart of the agent; nothing
//! is remembered here.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use agent_core::ContainerName;
use agent_core::network::ruleset::{BRIDGE_PREFIX, bridge_name};
use agent_core::network::{Cidr, InstanceNetwork, LinkSettings, Route};
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth};

use crate::Outcome;
use crate::links::{Link, converge, link_by_name, links};
use crate::netlink::{Context, NetlinkError, open, open_in};
use crate::netns::{self, NetnsError};
use crate::sysctl::{self, SysctlError};

/// What our namespaces' names begin with; the container's name follows.
const NETNS_PREFIX: &str = "holdfast-";
/// What the host's ends of our virtual links are called.
const VETH_PREFIX: &str = "hfv";
/// The link in the container.
const INSIDE: &str = "eth0";
/// Metric of the routes inside.
const METRIC: u32 = 1;

/// A container's network that could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum ContainerNetworkError {
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A kernel setting.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

/// A container's place in its instance's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The container.
    pub name: ContainerName,
    /// Its instance's bridge.
    pub index: u32,
    /// The bridge's address.
    pub gateway4: Ipv4Addr,
    /// The bridge's address.
    pub gateway6: Ipv6Addr,
    /// The container's address, in a /24.
    pub v4: Ipv4Addr,
    /// The container's address, in a /64.
    pub v6: Ipv6Addr,
}

impl Attachment {
    /// The place of a container by its instance's allocation; none without addresses there.
    pub fn new(name: &ContainerName, allocation: &agent_core::Allocation) -> Option<Attachment> {
        let (v4, v6) = *allocation.addresses.get(&name.container)?;
        Some(Attachment {
            name: name.clone(),
            index: allocation.index,
            gateway4: allocation.gateway4,
            gateway6: allocation.gateway6,
            v4,
            v6,
        })
    }

    fn veth(&self) -> String {
        format!("{VETH_PREFIX}{}-{}", self.index, self.v4.octets()[3])
    }

    fn inside(&self) -> LinkSettings {
        let route = |to: Cidr, via| Route { via: Some(via), to, on_link: true, metric: METRIC, source: None };
        let (via4, via6) = (self.gateway4.into(), self.gateway6.into());
        LinkSettings {
            mtu: None,
            addresses: subnets(self.v4, self.v6),
            routes: [route(Cidr::default_route(via4), via4), route(Cidr::default_route(via6), via6)].into(),
        }
    }
}

/// The name of a container's namespace; `NetworkNamespacePath=` wants [`netns::path`] of it.
pub fn netns_name(container: &ContainerName) -> String {
    format!("{NETNS_PREFIX}{container}")
}

/// What there is of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Indexes of bridges.
    pub bridges: BTreeSet<u32>,
    /// Containers that have a namespace.
    pub containers: BTreeSet<ContainerName>,
}

/// All instances' networks.
#[derive(Clone)]
pub struct ContainerNetworks {
    handle: Handle,
}

impl ContainerNetworks {
    /// Connects to the kernel. Needs a tokio runtime.
    pub fn open() -> Result<ContainerNetworks, ContainerNetworkError> {
        Ok(ContainerNetworks { handle: open()? })
    }

    /// Which bridges and namespaces there are.
    pub async fn observe(&self) -> Result<Observed, ContainerNetworkError> {
        let bridges = links(&self.handle).await?.iter().filter_map(bridge_index).collect();
        let names = netns::names(NETNS_PREFIX)?;
        let containers =
            names.iter().filter_map(|name| ContainerName::parse(name.strip_prefix(NETNS_PREFIX)?));
        Ok(Observed { bridges, containers: containers.collect() })
    }

    /// Makes an instance's bridge what it should be. Another bridge of ours with its subnet, which an
    /// instance has whose record is lost, is removed: two would share the routes to the containers.
    pub async fn ensure_bridge(&self, network: &InstanceNetwork) -> Result<Outcome, ContainerNetworkError> {
        let name = network.bridge();
        let mut outcome = Outcome::Unchanged;
        for link in links(&self.handle).await? {
            if has_subnet_of(&link, network) {
                delete(&self.handle, &link).await?;
                outcome = Outcome::Changed;
            }
        }
        if link_by_name(&self.handle, &name).await?.is_none() {
            let bridge = LinkBridge::new(&name).address(mac(network.gateway4)).mcast_snooping(false).build();
            self.handle.link().add(bridge).execute().await.doing(|| format!("make the bridge `{name}`"))?;
            outcome = Outcome::Changed;
        }
        // A published port of the box's own 127.0.0.1 leaves by the bridge with that source.
        outcome = outcome.or(sysctl::set(&format!("ipv4/conf/{name}/route_localnet"), "1")?);
        for (key, value) in [("accept_ra", "0"), ("accept_dad", "0")] {
            outcome = outcome.or(sysctl::set_v6(&name, key, value)?);
        }
        let settings = LinkSettings {
            addresses: subnets(network.gateway4, network.gateway6),
            ..LinkSettings::default()
        };
        Ok(outcome.or(converge(&self.handle, &name, &settings).await?))
    }

    /// Makes a container's namespace and its link to the bridge, which must exist.
    pub async fn ensure_container(&self, place: &Attachment) -> Result<Outcome, ContainerNetworkError> {
        let name = netns_name(&place.name);
        let mut outcome = netns::ensure(&name)?;
        let namespace = netns::open(&name)?;
        let inside = open_in(netns::open(&name)?)?;
        outcome = outcome.or(self.join(place, &namespace, &inside).await?);
        outcome = outcome.or(converge(&inside, "lo", &lo()).await?);
        Ok(outcome.or(converge(&inside, INSIDE, &place.inside()).await?))
    }

    /// Makes the pair of links, unless both ends are where they should be.
    async fn join(
        &self,
        place: &Attachment,
        namespace: &File,
        inside: &Handle,
    ) -> Result<Outcome, ContainerNetworkError> {
        let bridge_name = bridge_name(place.index);
        let bridge = link_by_name(&self.handle, &bridge_name).await?;
        let bridge = bridge.ok_or(NetlinkError::NoLink(bridge_name))?;
        let name = place.veth();
        let outer = link_by_name(&self.handle, &name).await?;
        let inner = link_by_name(inside, INSIDE).await?;
        let alias = place.name.to_string();
        if let (Some(outer), Some(inner)) = (&outer, &inner) {
            let joined = outer.controller == Some(bridge.index) && outer.up;
            let known = outer.alias.as_deref() == Some(&alias)
                && inner.mac.map(|m| m.0.to_vec()) == Some(mac(place.v4));
            if joined && known {
                return Ok(Outcome::Unchanged);
            }
        }
        for (handle, link) in [(&self.handle, outer), (inside, inner)] {
            if let Some(link) = link {
                delete(handle, &link).await?;
            }
        }
        let peer = LinkUnspec::new_with_name(INSIDE)
            .address(mac(place.v4))
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        let pair = LinkVeth::new(&name, INSIDE)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .controller(bridge.index)
            .up()
            .build();
        let add = self.handle.link().add(pair).execute().await;
        add.doing(|| format!("join `{}` to `{}`", place.name, bridge.name))?;
        let made = link_by_name(&self.handle, &name).await?.ok_or(NetlinkError::NoLink(name))?;
        // Not at its making: the kernel refuses an alias there.
        let noted = LinkUnspec::new_with_index(made.index).alias(&alias).build();
        let set = self.handle.link().set(noted).execute().await;
        set.doing(|| format!("note whose link `{}` is", made.name))?;
        Ok(Outcome::Changed)
    }

    /// Removes a container's link and namespace.
    pub async fn remove_container(&self, name: &ContainerName) -> Result<Outcome, ContainerNetworkError> {
        let mut outcome = Outcome::Unchanged;
        let alias = name.to_string();
        for link in links(&self.handle).await? {
            if link.name.starts_with(VETH_PREFIX) && link.alias.as_deref() == Some(&alias) {
                delete(&self.handle, &link).await?;
                outcome = Outcome::Changed;
            }
        }
        Ok(outcome.or(netns::remove(&netns_name(name))?))
    }

    /// Removes the bridge of an instance that is gone.
    pub async fn remove_bridge(&self, index: u32) -> Result<Outcome, ContainerNetworkError> {
        let Some(link) = link_by_name(&self.handle, &bridge_name(index)).await? else {
            return Ok(Outcome::Unchanged);
        };
        delete(&self.handle, &link).await?;
        Ok(Outcome::Changed)
    }

    /// Removes what belongs to no container in `containers` and no bridge in `bridges`.
    pub async fn prune(
        &self,
        bridges: &BTreeSet<u32>,
        containers: &BTreeSet<ContainerName>,
    ) -> Result<Outcome, ContainerNetworkError> {
        let observed = self.observe().await?;
        let mut outcome = Outcome::Unchanged;
        for name in observed.containers.difference(containers) {
            outcome = outcome.or(self.remove_container(name).await?);
        }
        for index in observed.bridges.difference(bridges) {
            outcome = outcome.or(self.remove_bridge(*index).await?);
        }
        Ok(outcome)
    }

    /// The IPv4 networks that the host has routes to, our own bridges' left out: a new instance's
    /// subnet must overlap none of them.
    pub async fn host_subnets(&self) -> Result<Vec<Cidr>, ContainerNetworkError> {
        Ok(crate::links::host_subnets(&self.handle, |name| name.starts_with(BRIDGE_PREFIX)).await?)
    }
}

async fn delete(handle: &Handle, link: &Link) -> Result<(), NetlinkError> {
    match handle.link().del(link.index).execute().await {
        // The other end of a pair goes along.
        Err(error) if crate::netlink::is(&error, nix::errno::Errno::ENODEV) => Ok(()),
        result => result.doing(|| format!("remove the link `{}`", link.name)),
    }
}

fn bridge_index(link: &Link) -> Option<u32> {
    if link.kind.as_deref() != Some("bridge") {
        return None;
    }
    link.name.strip_prefix(BRIDGE_PREFIX)?.parse().ok()
}

/// Whether a link is a bridge of ours that is not this network's and has its address.
fn has_subnet_of(link: &Link, network: &InstanceNetwork) -> bool {
    bridge_index(link).is_some_and(|index| index != network.index)
        && link.mac.map(|address| address.0.to_vec()) == Some(mac(network.gateway4))
}

fn subnets(v4: Ipv4Addr, v6: Ipv6Addr) -> BTreeSet<Cidr> {
    [Cidr::new(v4, 24), Cidr::new(v6, 64)].into_iter().flatten().collect()
}

/// Loopback, whose addresses the kernel gives it when it comes up.
fn lo() -> LinkSettings {
    LinkSettings {
        addresses: [Cidr::new(Ipv4Addr::LOCALHOST, 8)].into_iter().flatten().collect(),
        ..LinkSettings::default()
    }
}

/// A locally administered address that follows from an IPv4 address.
fn mac(v4: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = v4.octets();
    vec![0x02, 0x68, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn place(index: u32, host: u8) -> Attachment {
        let v4 = Ipv4Addr::new(10, 213, 255, host);
        let v6 = Ipv6Addr::new(0xfd00, 1, 2, 3, 0, 0, 0, host.into());
        let allocation = agent_core::Allocation {
            id_base: 1 << 20,
            index,
            gateway4: Ipv4Addr::new(10, 213, 255, 1),
            gateway6: Ipv6Addr::new(0xfd00, 1, 2, 3, 0, 0, 0, 1),
            addresses: BTreeMap::from([("web".to_owned(), (v4, v6))]),
        };
        assert!(Attachment::new(&ContainerName::new("site", "gone"), &allocation).is_none());
        Attachment::new(&ContainerName::new("site", "web"), &allocation).unwrap()
    }

    #[test]
    fn names_of_links_fit_the_kernel() {
        // 15 bytes and a zero; the index is at most (2^31 - 2^20) / 2^16.
        let place = place(32_751, 254);
        assert!(place.veth().len() <= 15, "{}", place.veth());
        assert!(bridge_name(place.index).len() <= 15);
        assert_ne!(place.veth(), bridge_name(place.index));
    }

    #[test]
    fn hardware_addresses_are_local_and_single() {
        let address = mac(Ipv4Addr::new(10, 213, 1, 2));
        assert_eq!(address.len(), 6);
        assert_eq!(address[0] & 3, 2, "locally administered, and of one station");
        assert_ne!(address, mac(Ipv4Addr::new(10, 213, 2, 2)));
    }

    #[test]
    fn both_ways_out_lead_to_the_bridge() {
        let inside = place(1, 2).inside();
        assert_eq!(inside.addresses.len(), 2);
        assert!(inside.routes.iter().all(|route| route.to.is_default() && route.on_link));
        let vias: Vec<String> = inside.routes.iter().filter_map(|r| Some(r.via?.to_string())).collect();
        assert_eq!(vias, ["10.213.255.1", "fd00:1:2:3::1"]);
    }

    #[test]
    fn a_bridge_of_a_lost_record_is_told_by_its_address() {
        let gateway4 = Ipv4Addr::new(10, 213, 255, 1);
        let network =
            InstanceNetwork { index: 7, gateway4, gateway6: Ipv6Addr::LOCALHOST, ports: BTreeSet::new() };
        let check = |name: &str, kind: &str, address: Ipv4Addr, expect: bool| {
            let link = Link {
                index: 1,
                name: name.to_owned(),
                mac: Some(agent_core::network::Mac(mac(address).try_into().unwrap())),
                up: true,
                carrier: true,
                mtu: 1500,
                kind: Some(kind.to_owned()),
                controller: None,
                alias: None,
            };
            assert_eq!(has_subnet_of(&link, &network), expect, "{name}");
        };
        check("hf-3", "bridge", gateway4, true);
        check("hf-7", "bridge", gateway4, false);
        check("hf-3", "bridge", Ipv4Addr::new(10, 213, 1, 1), false);
        check("br0", "bridge", gateway4, false);
        check("hfv3-1", "veth", gateway4, false);
    }

    #[test]
    fn namespaces_are_named_after_their_containers() {
        let name = ContainerName::new("team-a", "app");
        assert_eq!(netns_name(&name), "holdfast-team-a.app");
        assert_eq!(ContainerName::parse(netns_name(&name).strip_prefix(NETNS_PREFIX).unwrap()), Some(name));
    }
}
