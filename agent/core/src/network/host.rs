//! The box's own interfaces: what their owner asks for, what the provider describes, what a link should
//! have, and the changes that lead there.
//!
//! Invariant: [`diff`] of a link that has what it should is empty, so applying twice changes
//! nothing. Only what is ours is ever removed: IPv4 addresses, permanent IPv6 addresses of global
//! scope and routes that carry one of our protocols; the kernel's own and those of router
//! advertisements are never in an [`ObservedLink`].

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{AddressSource, Cidr, Mac, ProviderNetwork};

/// Metric of the first NIC's routes; each further one in order is one more, so that of two default
/// routes the first NIC's wins. Below 1024, the metric of routes from router advertisements.
pub const BASE_METRIC: u32 = 100;
/// The least MTU at which IPv6 works (RFC 8200, section 5).
pub const MIN_MTU_V6: u32 = 1280;

/// What the owner asks for. The default is what the provider describes, else DHCP and router
/// advertisements on every NIC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSettings {
    /// In order of preference for the default route.
    pub interfaces: Vec<InterfaceConfig>,
    /// The resolver's servers; empty: those of DHCP, of the interfaces and of the provider.
    pub dns: Vec<IpAddr>,
}

/// All that says what the box's own interfaces should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostConfig {
    /// The owner's: they come first.
    pub owner: NetworkSettings,
    /// The provider's, for links that the owner says nothing of.
    pub provider: ProviderNetwork,
    /// Whether the owner's are being tried: they end by themselves unless someone confirms them.
    #[serde(default)]
    pub tried: bool,
}

/// Settings for a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Their place among all; the lower wins the default route.
    pub place: usize,
    /// What they are.
    pub settings: InterfaceConfig,
    /// Whose they are.
    pub source: AddressSource,
}

impl HostConfig {
    /// The settings for a link: the owner's, the provider's, or DHCP and router advertisements.
    pub fn wanted(&self, name: &str, mac: Mac) -> Wanted {
        let owner = self.find(&self.owner.interfaces, name, mac);
        if let Some((place, settings)) = owner {
            return Wanted { place, settings: settings.clone(), source: AddressSource::Settings };
        }
        self.described(name, mac).unwrap_or_else(|| Wanted {
            place: usize::MAX,
            settings: InterfaceConfig::automatic(name),
            source: AddressSource::Dhcp,
        })
    }

    /// What the provider describes for a link.
    pub fn described(&self, name: &str, mac: Mac) -> Option<Wanted> {
        let (place, settings) = self.find(&self.provider.interfaces, name, mac)?;
        let place = self.owner.interfaces.len() + place;
        Some(Wanted { place, settings: settings.clone(), source: AddressSource::Provider })
    }

    /// A device is meant by its name alone: it has the hardware address of what it stands on.
    fn find<'a>(
        &self,
        interfaces: &'a [InterfaceConfig],
        name: &str,
        mac: Mac,
    ) -> Option<(usize, &'a InterfaceConfig)> {
        let device = self.provider.devices.iter().any(|device| device.name == name);
        let meant = |matches: &LinkMatch| match matches {
            LinkMatch::Name(own) if device => own == name,
            _ => !device && matches.is(name, mac),
        };
        interfaces.iter().enumerate().find(|(_, interface)| meant(&interface.matches))
    }
}

/// One `[[box.interface]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceConfig {
    /// Which NIC.
    pub matches: LinkMatch,
    /// Whether to ask DHCP.
    pub dhcp4: bool,
    /// Whether to ask DHCPv6, and for what; router advertisements can ask for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp6: Option<Dhcp6>,
    /// Whether the kernel takes router advertisements.
    pub accept_ra: bool,
    /// Static addresses.
    pub addresses: Vec<Cidr>,
    /// Static routes.
    pub routes: Vec<RouteConfig>,
    /// Resolver's servers.
    pub dns: Vec<IpAddr>,
    /// Bytes.
    pub mtu: Option<u32>,
}

impl InterfaceConfig {
    /// What a NIC has that no settings match.
    pub fn automatic(name: &str) -> InterfaceConfig {
        InterfaceConfig {
            matches: LinkMatch::Name(name.to_owned()),
            dhcp4: true,
            dhcp6: None,
            accept_ra: true,
            addresses: Vec::new(),
            routes: Vec::new(),
            dns: Vec::new(),
            mtu: None,
        }
    }

    /// Next hops whose silence would mean that these settings are wrong: those of default routes, or of all where
    /// nothing leads everywhere. Empty where nothing is static.
    pub fn gateways(&self) -> BTreeSet<IpAddr> {
        let defaults = self.kept_routes().filter(|route| route.to.is_default());
        let gateways: BTreeSet<IpAddr> = defaults.filter_map(|route| route.via).collect();
        if gateways.is_empty() {
            self.kept_routes().filter_map(|route| route.via).collect()
        } else {
            gateways
        }
    }

    /// The routes, but for those to where one before leads with the same metric: the kernel takes both for one.
    fn kept_routes(&self) -> impl Iterator<Item = &RouteConfig> {
        let mut seen = BTreeSet::new();
        self.routes.iter().filter(move |route| seen.insert((route.to.network(), route.metric)))
    }

    /// What the link should have of these settings, without any lease. `order` is the NIC's place
    /// among all (0 first) and gives the metric of routes that name none.
    pub fn link_settings(&self, order: u32) -> LinkSettings {
        let addresses: BTreeSet<Cidr> = self.addresses.iter().copied().collect();
        let routes = self
            .kept_routes()
            .map(|route| Route {
                to: route.to.network(),
                via: route.via,
                on_link: route.on_link || route.via.is_some_and(|via| !on_subnet(&addresses, via)),
                metric: route.metric.unwrap_or(BASE_METRIC + order).max(1),
                source: None,
            })
            .collect();
        LinkSettings { mtu: self.mtu, addresses, routes }
    }
}

/// Whether the kernel would find `via` by the subnets of `addresses`, or by the link itself.
fn on_subnet(addresses: &BTreeSet<Cidr>, via: IpAddr) -> bool {
    let link_local = matches!(via, IpAddr::V6(via) if via.is_unicast_link_local());
    link_local || addresses.iter().any(|own| own.contains(via))
}

/// How much DHCPv6 gives (RFC 8415).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dhcp6 {
    /// Resolvers; addresses come by router advertisements.
    Stateless,
    /// Addresses and resolvers.
    Stateful,
}

/// Which NIC settings are for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkMatch {
    /// By hardware address.
    Mac(Mac),
    /// By the kernel's name.
    Name(String),
    /// By a pattern of names with `*` and `?`, as providers have them.
    Pattern(String),
}

impl LinkMatch {
    /// Whether it names this NIC.
    pub fn is(&self, name: &str, mac: Mac) -> bool {
        match self {
            LinkMatch::Mac(own) => *own == mac,
            LinkMatch::Name(own) => own == name,
            LinkMatch::Pattern(pattern) => fits(pattern.as_bytes(), name.as_bytes()),
        }
    }
}

/// Whether a name fits a pattern. Where it does not go on, the last `*` takes one byte more: those before it never
/// have to, so the work is at most that of comparing the two at each place of the name.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // What follows the last `*`, and where in the name that begins.
    let mut star = None;
    while read < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                star = Some((at, read));
            }
            Some(own) if *own == b'?' || *own == name[read] => (at, read) = (at + 1, read + 1),
            _ => {
                let Some((behind, taken)) = star else { return false };
                (at, read) = (behind, taken + 1);
                star = Some((at, read));
            }
        }
    }
    pattern[at..].iter().all(|own| *own == b'*')
}

/// A route as the owner writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteConfig {
    /// Destination; `/0` for the default.
    pub to: Cidr,
    /// Next hop; absent: the destination is on the link.
    pub via: Option<IpAddr>,
    /// The next hop is on the link although no address's subnet holds it.
    pub on_link: bool,
    /// Absent: by the NIC's place.
    pub metric: Option<u32>,
}

/// What a link should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// Absent: left as it is.
    pub mtu: Option<u32>,
    /// Addresses.
    pub addresses: BTreeSet<Cidr>,
    /// Routes.
    pub routes: BTreeSet<Route>,
}

impl LinkSettings {
    /// Leaves one of all routes that the kernel takes for the same: each would take the place of the one before, for
    /// ever.
    pub fn drop_rivals(&mut self) {
        let mut seen = BTreeSet::new();
        self.routes.retain(|route| seen.insert((route.to, route.metric)));
    }
}

/// A route on a link. The order of the fields makes link routes come before those that need them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Next hop; none sorts first.
    pub via: Option<IpAddr>,
    /// Destination.
    pub to: Cidr,
    /// Whether the next hop is on the link whatever the subnets say.
    pub on_link: bool,
    /// Never 0, which IPv6 would read as 1024.
    pub metric: u32,
    /// Preferred source address.
    pub source: Option<IpAddr>,
}

/// What a link has now, of what is ours to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedLink {
    /// Whether it is administratively up.
    pub up: bool,
    /// Bytes.
    pub mtu: u32,
    /// Addresses that are neither link-local nor made by router advertisements.
    pub addresses: BTreeSet<Cidr>,
    /// Routes with one of our protocols.
    pub routes: BTreeSet<Route>,
    /// Addresses that router advertisements made: for people to see, and to be removed all together where
    /// none are taken any more.
    pub automatic: BTreeSet<Cidr>,
    /// Routers that advertise a default route; the same.
    pub routers: BTreeSet<IpAddr>,
}

/// One change of a link, to be applied in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Set the MTU.
    Mtu(u32),
    /// Bring it up.
    Up,
    /// Remove a route.
    RemoveRoute(Route),
    /// Remove an address.
    RemoveAddress(Cidr),
    /// Add an address.
    AddAddress(Cidr),
    /// Add a route.
    AddRoute(Route),
}

/// The changes that make a link what it should be.
pub fn diff(desired: &LinkSettings, observed: &ObservedLink) -> Vec<LinkChange> {
    let mut changes = Vec::new();
    if let Some(mtu) = desired.mtu.filter(|mtu| *mtu != observed.mtu) {
        changes.push(LinkChange::Mtu(mtu));
    }
    if !observed.up {
        changes.push(LinkChange::Up);
    }
    let gone = observed.routes.difference(&desired.routes).cloned();
    changes.extend(gone.map(LinkChange::RemoveRoute));
    let gone = observed.addresses.difference(&desired.addresses).copied();
    changes.extend(gone.map(LinkChange::RemoveAddress));
    let new = desired.addresses.difference(&observed.addresses).copied();
    changes.extend(new.map(LinkChange::AddAddress));
    let new = desired.routes.difference(&observed.routes).cloned();
    changes.extend(new.map(LinkChange::AddRoute));
    changes
}

/// Joins static settings and a lease: the owner's MTU and routes win, and a default route of the owner's
/// keeps the lease's out.
pub fn merge(owner: LinkSettings, lease: LinkSettings) -> LinkSettings {
    let owns_default = owner.routes.iter().any(|r| r.to.is_default() && r.to.address().is_ipv4());
    let owned: BTreeSet<_> = owner.routes.iter().map(|route| (route.to, route.metric)).collect();
    let mut merged = owner;
    merged.mtu = merged.mtu.or(lease.mtu);
    merged.addresses.extend(lease.addresses);
    let taken = |r: &Route| owns_default && r.to.is_default() || owned.contains(&(r.to, r.metric));
    merged.routes.extend(lease.routes.into_iter().filter(|r| !taken(r)));
    merged
}

/// The MTU a lease may set: absent, nonsense and what would break IPv6 are not taken.
pub fn sane_mtu(offered: Option<u16>) -> Option<u32> {
    offered.map(u32::from).filter(|mtu| (MIN_MTU_V6..=9216).contains(mtu))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Device, DeviceKind};

    fn interface() -> InterfaceConfig {
        InterfaceConfig {
            matches: LinkMatch::Mac(Mac::parse("52:54:00:12:34:56").unwrap()),
            dhcp4: false,
            dhcp6: None,
            accept_ra: true,
            addresses: vec!["203.0.113.7/24".parse().unwrap(), "2001:db8::7/128".parse().unwrap()],
            routes: vec![
                route("0.0.0.0/0", Some("203.0.113.1"), None),
                route("::/0", Some("2001:db8:1::1"), None),
                route("198.51.100.7/24", None, Some(7)),
                route("fd00::/8", Some("fe80::1"), None),
            ],
            dns: vec![],
            mtu: Some(1400),
        }
    }

    fn route(to: &str, via: Option<&str>, metric: Option<u32>) -> RouteConfig {
        RouteConfig { to: to.parse().unwrap(), via: via.map(|v| v.parse().unwrap()), on_link: false, metric }
    }

    fn find<'a>(settings: &'a LinkSettings, to: &str) -> &'a Route {
        let to: Cidr = to.parse().unwrap();
        settings.routes.iter().find(|r| r.to == to).unwrap()
    }

    #[test]
    fn settings_become_what_the_link_should_have() {
        let settings = interface().link_settings(2);
        assert!(!find(&settings, "0.0.0.0/0").on_link);
        assert!(find(&settings, "::/0").on_link, "a gateway outside every subnet is on the link");
        assert!(!find(&settings, "fd00::/8").on_link, "link-local next hops need no subnet");
        assert_eq!(find(&settings, "198.51.100.0/24").metric, 7);
        assert_eq!(find(&settings, "0.0.0.0/0").metric, BASE_METRIC + 2);
        assert_eq!(settings.routes.first().unwrap().via, None, "link routes first");
    }

    #[test]
    fn nothing_to_change_when_all_is_there_and_only_strays_go() {
        let desired = interface().link_settings(0);
        let mut observed = ObservedLink {
            up: true,
            mtu: 1400,
            addresses: desired.addresses.clone(),
            routes: desired.routes.clone(),
            ..ObservedLink::default()
        };
        assert_eq!(diff(&desired, &observed), []);
        let stray: Cidr = "192.0.2.9/24".parse().unwrap();
        observed.addresses.insert(stray);
        assert_eq!(diff(&desired, &observed), [LinkChange::RemoveAddress(stray)]);
        let changes = diff(&desired, &ObservedLink { mtu: 1500, ..ObservedLink::default() });
        assert_eq!(changes[..2], [LinkChange::Mtu(1400), LinkChange::Up]);
        let first_route = changes.iter().position(|c| matches!(c, LinkChange::AddRoute(_))).unwrap();
        let last_address = changes.iter().rposition(|c| matches!(c, LinkChange::AddAddress(_))).unwrap();
        assert!(last_address < first_route, "routes need their addresses");
    }

    #[test]
    fn of_routes_that_the_kernel_takes_for_one_there_is_one() {
        let mut twice = interface();
        twice.routes.push(route("0.0.0.0/0", Some("203.0.113.0"), None));
        twice.routes.push(route("0.0.0.0/0", Some("203.0.113.10"), Some(7)));
        let to: Cidr = "0.0.0.0/0".parse().unwrap();
        let ways = |settings: &LinkSettings| {
            let ways = settings.routes.iter().filter(|route| route.to == to);
            ways.map(|route| (route.via.unwrap().to_string(), route.metric)).collect::<Vec<_>>()
        };
        let mut settings = twice.link_settings(2);
        let first = [("203.0.113.1".to_owned(), BASE_METRIC + 2), ("203.0.113.10".to_owned(), 7)];
        assert_eq!(ways(&settings), first, "the first of the document");
        let asked: Vec<String> = twice.gateways().iter().map(IpAddr::to_string).collect();
        assert_eq!(
            asked,
            ["203.0.113.1", "203.0.113.10", "2001:db8:1::1"],
            "one that is not used proves nothing"
        );

        let leased = |via: &str| Route {
            to: "198.51.100.0/24".parse().unwrap(),
            via: Some(via.parse().unwrap()),
            on_link: false,
            metric: 7,
            source: None,
        };
        let routes = BTreeSet::from([leased("203.0.113.1")]);
        let lease = LinkSettings { routes, ..LinkSettings::default() };
        assert_eq!(merge(settings.clone(), lease), settings, "the owner's way there stays");
        settings.routes = BTreeSet::from([leased("203.0.113.2"), leased("203.0.113.3")]);
        settings.drop_rivals();
        assert_eq!(settings.routes, BTreeSet::from([leased("203.0.113.2")]));
    }

    #[test]
    fn the_owner_wins_over_the_lease() {
        let owner = interface().link_settings(0);
        let mut lease = LinkSettings { mtu: Some(9000), ..LinkSettings::default() };
        lease.addresses.insert("192.0.2.5/24".parse().unwrap());
        for to in ["0.0.0.0/0", "10.0.0.0/8"] {
            lease.routes.insert(Route {
                to: to.parse().unwrap(),
                via: Some("192.0.2.1".parse().unwrap()),
                on_link: false,
                metric: 100,
                source: None,
            });
        }
        let merged = merge(owner, lease);
        assert_eq!(merged.mtu, Some(1400));
        assert!(merged.addresses.contains(&"192.0.2.5/24".parse().unwrap()));
        assert!(merged.routes.iter().any(|r| r.to == "10.0.0.0/8".parse().unwrap()));
        let defaults = merged.routes.iter().filter(|r| r.to == "0.0.0.0/0".parse().unwrap());
        assert_eq!(defaults.count(), 1);
    }

    #[test]
    fn a_lease_cannot_set_an_mtu_that_breaks_the_box() {
        for (offered, expect) in [
            (None, None),
            (Some(0), None),
            (Some(68), None),
            (Some(1279), None),
            (Some(1280), Some(1280)),
            (Some(1450), Some(1450)),
            (Some(9000), Some(9000)),
            (Some(65535), None),
        ] {
            assert_eq!(sane_mtu(offered), expect, "{offered:?}");
        }
    }

    #[test]
    fn settings_are_found_by_name_or_hardware_address() {
        let (own, other) = (Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]), Mac([0x52, 0x54, 0, 0x12, 0x34, 0x57]));
        assert!(LinkMatch::Mac(own).is("ens3", own) && !LinkMatch::Mac(own).is("ens3", other));
        assert!(
            LinkMatch::Name("ens3".into()).is("ens3", own) && !LinkMatch::Name("ens".into()).is("ens3", own)
        );
        let check = |pattern: &str, expect: bool| {
            assert_eq!(LinkMatch::Pattern(pattern.into()).is("ens3", own), expect, "{pattern}");
        };
        for (pattern, expect) in [("*", true), ("en*", true), ("e*3", true), ("ens?", true), ("*s*", true)] {
            check(pattern, expect);
        }
        for pattern in ["", "?", "eth*", "ens", "ens??", "*4"] {
            check(pattern, false);
        }
        for pattern in ["ens3*", "**", "*?*?*?*?*", "?n*", "*ens3", "e*n*s*3", "*n?3"] {
            check(pattern, true);
        }
        for pattern in ["*?*?*?*?*?*", "*ens", "e*e*", "*33", "ens3?", "n*"] {
            check(pattern, false);
        }
        // What comes back: the second `s` is the one.
        assert!(fits(b"*s3", b"ess3") && fits(b"*ss3", b"sss3") && !fits(b"*s?s", b"esss3"));
    }

    #[test]
    fn a_pattern_of_a_thousand_stars_costs_nothing() {
        let name = b"enp0s31f6np0abc";
        let stars = "*".repeat(1000);
        let between = "*n".repeat(1000);
        for pattern in [format!("{stars}x"), between, format!("{stars}?x{stars}x")] {
            assert!(!fits(pattern.as_bytes(), name), "{pattern}");
        }
        assert!(fits(stars.as_bytes(), name) && fits(format!("{stars}c{stars}").as_bytes(), name));
    }

    #[test]
    fn the_owner_comes_before_the_provider_and_both_before_dhcp() {
        let named = |name: &str| InterfaceConfig { matches: LinkMatch::Name(name.into()), ..interface() };
        let by_mac =
            |last: u8| InterfaceConfig { matches: LinkMatch::Mac(Mac([2, 0, 0, 0, 0, last])), ..interface() };
        let vlan = Device {
            name: "vlan7".into(),
            mac: None,
            kind: DeviceKind::Vlan { on: LinkMatch::Name("ens4".into()), tag: 7 },
        };
        let config = HostConfig {
            owner: NetworkSettings { interfaces: vec![named("ens3")], dns: vec![] },
            provider: ProviderNetwork {
                interfaces: vec![by_mac(3), by_mac(4), named("vlan7")],
                devices: vec![vlan],
                ..ProviderNetwork::default()
            },
            tried: false,
        };
        let check = |name: &str, last: u8, source, place| {
            let wanted = config.wanted(name, Mac([2, 0, 0, 0, 0, last]));
            assert_eq!((wanted.source, wanted.place), (source, place), "{name}");
        };
        check("ens3", 3, AddressSource::Settings, 0);
        check("ens4", 4, AddressSource::Provider, 2);
        check("vlan7", 4, AddressSource::Provider, 3);
        check("ens5", 5, AddressSource::Dhcp, usize::MAX);
        assert_eq!(config.described("ens3", Mac([2, 0, 0, 0, 0, 3])).unwrap().place, 1);
    }
}
