//! One NIC: which settings it has now, and why.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use agent_core::network::host::{ObservedLink, merge};
use agent_core::network::{
    AddressSource, Cidr, Dhcp6, InterfaceConfig, LinkSettings, Mac, NicState, NicStatus, Wanted,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::advert::{Advert, Server};
use crate::dhcp::{DhcpTask, Lease};
use crate::dhcp6::{self, Dhcp6Task};
use crate::links::Link;

/// Most resolvers kept of all routers on a link.
const MOST_SERVERS: usize = 16;

/// A NIC as the manager keeps it.
pub(super) struct Nic {
    pub(super) link: Link,
    pub(super) mac: Mac,
    /// Its place among all; the lower wins the default route.
    pub(super) order: u32,
    /// What it should have.
    pub(super) wanted: InterfaceConfig,
    /// Who says so.
    pub(super) by: AddressSource,
    /// What it has now.
    pub(super) active: InterfaceConfig,
    pub(super) source: AddressSource,
    pub(super) dhcp: Option<DhcpTask>,
    pub(super) lease: Option<Lease>,
    /// Asks DHCPv6, and for what.
    pub(super) dhcp6: Option<(Dhcp6, Dhcp6Task)>,
    pub(super) lease6: Option<dhcp6::Lease>,
    /// What routers say is to be asked of DHCPv6: the most that one of them says.
    pub(super) advertised: Option<Dhcp6>,
    /// Resolvers told by routers, and until when.
    pub(super) servers: Vec<(IpAddr, Instant)>,
    /// Hears routers.
    pub(super) adverts: Option<AbortOnDrop>,
    pub(super) trial: Trial,
    /// Whether its owner tries what it should have: nothing else takes its place then, and it becomes the last good
    /// only when it is confirmed.
    pub(super) tried: bool,
    /// Whether DHCP is asked beside its settings, since these lack something.
    pub(super) helped: bool,
    /// Whether the last good settings were in use and led nowhere either.
    pub(super) good_failed: bool,
    /// Why it is not as its owner wants it.
    pub(super) problem: Option<String>,
    /// What went wrong when it was changed last.
    pub(super) failure: Option<String>,
}

/// Whether static settings lead anywhere.
pub(super) enum Trial {
    /// Nothing to find out: DHCP is asked, or a gateway has answered, and a name server too.
    None,
    /// It waits for a carrier.
    Due,
    /// They name no gateway: the box has to find a way out elsewhere.
    Wayless {
        /// When it is looked whether it has; none: it has not, and these stay.
        deadline: Option<Instant>,
    },
    /// They are being asked.
    Running {
        /// When their silence is believed; none: it is believed already, and they may come back.
        deadline: Option<Instant>,
        /// Those of families of which none has answered.
        silent: BTreeSet<IpAddr>,
        /// One for each family; each ends when one answers.
        #[expect(dead_code, reason = "they end when this is dropped")]
        probes: Vec<AbortOnDrop>,
    },
    /// A gateway is there, and name servers are being asked.
    Names {
        /// As above.
        deadline: Option<Instant>,
        /// As above.
        #[expect(dead_code, reason = "it ends when this is dropped")]
        probe: AbortOnDrop,
    },
    /// DHCP stands in; without a lease by then, the settings are tried again.
    Retry {
        /// When.
        at: Instant,
    },
}

/// What a link may turn to when its settings lead nowhere.
#[derive(Default)]
pub(super) struct Others {
    /// The last settings whose gateway answered.
    pub(super) good: Option<InterfaceConfig>,
    /// What the provider describes.
    pub(super) described: Option<InterfaceConfig>,
}

/// A task that ends with what it is for.
pub(super) struct AbortOnDrop(pub(super) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Trial {
    /// What settings have to prove: nothing, where they lead out without a gateway of their own.
    pub(super) fn of(settings: &InterfaceConfig) -> Trial {
        let leads = settings.dhcp4 || settings.routes.iter().any(|route| route.to.is_default());
        if leads && settings.gateways().is_empty() { Trial::None } else { Trial::Due }
    }

    /// When the manager is to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Trial::Running { deadline, .. } | Trial::Names { deadline, .. } | Trial::Wayless { deadline } => {
                *deadline
            }
            Trial::Retry { at } => Some(*at),
            Trial::None | Trial::Due => None,
        }
    }

    /// What is asked stays silent: that is believed, and it may come back.
    pub(super) fn believe(&mut self) {
        if let Trial::Running { deadline, .. } | Trial::Names { deadline, .. } | Trial::Wayless { deadline } =
            self
        {
            *deadline = None;
        }
    }
}

impl Nic {
    /// A NIC with what it should have, on trial where that is static.
    pub(super) fn new(link: Link, mac: Mac, order: u32, wanted: Wanted) -> Nic {
        let Wanted { settings: wanted, source, .. } = wanted;
        let trial = Trial::of(&wanted);
        Nic {
            link,
            mac,
            order,
            active: wanted.clone(),
            wanted,
            by: source,
            source,
            dhcp: None,
            lease: None,
            dhcp6: None,
            lease6: None,
            advertised: None,
            servers: Vec::new(),
            adverts: None,
            trial,
            tried: false,
            helped: false,
            good_failed: false,
            problem: None,
            failure: None,
        }
    }

    /// Changes what it has; what it then has to prove starts anew.
    pub(super) fn activate(&mut self, settings: InterfaceConfig, source: AddressSource) {
        self.trial = Trial::of(&settings);
        self.helped = false;
        if !settings.accept_ra {
            self.adverts = None;
            self.advertised = None;
            self.servers.clear();
        }
        if !settings.dhcp4 {
            self.dhcp = None;
            self.lease = None;
        }
        self.active = settings;
        self.source = source;
    }

    /// Turns to the last good settings, else to what the provider describes, else to DHCP until `retry`,
    /// because of what is said of the present ones. Settings that name no gateway stay beside DHCP: it may be that
    /// nothing else reaches the box.
    pub(super) fn give_way(&mut self, others: Others, why: &str, retry: Instant) {
        let Others { good, described } = others;
        let first = matches!(self.source, AddressSource::Settings | AddressSource::Provider);
        self.good_failed |= self.source == AddressSource::LastGood;
        if let Some(good) = good.filter(|good| first && *good != self.wanted) {
            self.activate(good, AddressSource::LastGood);
            self.problem = Some(format!("{why}; the last settings that worked are in use"));
            return;
        }
        let second = matches!(self.source, AddressSource::Settings | AddressSource::LastGood);
        if let Some(described) = described.filter(|described| second && *described != self.wanted) {
            self.activate(described, AddressSource::Fallback);
            self.problem = Some(format!("{why}; what the provider describes is in use"));
            return;
        }
        if self.wanted.gateways().is_empty() {
            self.ask_dhcp_too(&BTreeSet::new(), why);
            return;
        }
        let automatic = InterfaceConfig::automatic(&self.link.name);
        let fallback = InterfaceConfig { dns: self.wanted.dns.clone(), ..automatic };
        self.activate(fallback, AddressSource::Fallback);
        self.trial = Trial::Retry { at: retry };
        self.problem = Some(format!("{why}; DHCP is in use"));
    }

    /// Has DHCP asked beside the settings, which stay but for the routes by way of these.
    pub(super) fn ask_dhcp_too(&mut self, without: &BTreeSet<IpAddr>, why: &str) {
        let mut beside = InterfaceConfig { dhcp4: true, accept_ra: true, ..self.wanted.clone() };
        beside.routes.retain(|route| route.via.is_none_or(|via| !without.contains(&via)));
        self.activate(beside, AddressSource::Fallback);
        self.trial = Trial::None;
        self.helped = true;
        self.problem = Some(format!("{why}; DHCP is in use too"));
    }

    /// What is to be asked of DHCPv6: what its settings say, or more where a router says so.
    pub(super) fn wants_dhcp6(&self) -> Option<Dhcp6> {
        let advertised = self.advertised.filter(|_| self.active.accept_ra);
        self.active.dhcp6.max(advertised)
    }

    /// What the link should have.
    pub(super) fn settings(&self) -> LinkSettings {
        let owner = self.active.link_settings(self.order);
        let mut settings = match &self.lease {
            Some(lease) => merge(owner, lease.settings(self.order)),
            None => owner,
        };
        settings.addresses.extend(self.lease6.iter().flat_map(|lease| lease.settings().addresses));
        settings.drop_rivals();
        settings
    }

    /// Its servers, the owner's first.
    pub(super) fn dns(&self) -> Vec<IpAddr> {
        let leased = self.lease.iter().flat_map(|lease| lease.dns.iter().copied().map(IpAddr::V4));
        let leased6 = self.lease6.iter().flat_map(|lease| lease.dns.iter().copied().map(IpAddr::V6));
        let told = self.servers.iter().map(|(server, _)| *server);
        self.active.dns.iter().copied().chain(leased).chain(leased6).chain(told).collect()
    }

    /// Takes what a router tells: of resolvers longer, shorter, or no more. Says whether it is something new.
    pub(super) fn take_advert(&mut self, advert: Advert, now: Instant) -> bool {
        let before = (self.advertised, self.dns());
        self.advertised = self.advertised.max(advert.dhcp6);
        self.take_servers(advert.servers, now);
        before != (self.advertised, self.dns())
    }

    fn take_servers(&mut self, told: Vec<Server>, now: Instant) {
        for (server, lifetime) in told {
            // The end of time is not representable, and a day is as good.
            let until = now + lifetime.min(Duration::from_secs(86_400));
            let full = self.servers.len() >= MOST_SERVERS;
            match self.servers.iter_mut().find(|(known, _)| *known == server) {
                Some(known) => known.1 = until,
                None if !full => self.servers.push((server, until)),
                None => {}
            }
        }
        self.servers.retain(|(_, until)| now < *until);
    }

    /// When the manager is to look at it again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.servers.iter().map(|(_, until)| *until).chain(self.trial.deadline()).min()
    }

    /// What to tell of it.
    pub(super) fn status(&self, observed: &ObservedLink) -> NicStatus {
        let addresses: BTreeSet<Cidr> = observed.addresses.union(&observed.automatic).copied().collect();
        let defaults = observed.routes.iter().filter(|route| route.to.is_default());
        let gateways: BTreeSet<IpAddr> =
            defaults.filter_map(|route| route.via).chain(observed.routers.iter().copied()).collect();
        let state = if !self.link.carrier {
            NicState::NoCarrier
        } else if matches!(self.trial, Trial::Running { deadline: Some(_), .. } | Trial::Due) {
            NicState::Trying
        } else if addresses.is_empty() {
            NicState::Configuring
        } else {
            NicState::Configured
        };
        NicStatus {
            name: self.link.name.clone(),
            mac: self.mac,
            state,
            addresses: addresses.into_iter().collect(),
            gateways: gateways.into_iter().collect(),
            dns: self.dns(),
            source: self.source,
            mtu: self.link.mtu,
            problem: self.failure.clone().or_else(|| self.problem.clone()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn nic(wanted: InterfaceConfig) -> Nic {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let link = Link {
            index: 2,
            name: "ens3".to_owned(),
            mac: Some(mac),
            up: true,
            carrier: true,
            mtu: 1500,
            kind: None,
            controller: None,
            alias: None,
        };
        Nic::new(link, mac, 0, Wanted { place: 0, settings: wanted, source: AddressSource::Settings })
    }

    fn settings(address: &str, via: &str) -> InterfaceConfig {
        let via: IpAddr = via.parse().unwrap();
        let route = agent_core::network::RouteConfig {
            to: Cidr::default_route(via),
            via: Some(via),
            on_link: false,
            metric: None,
        };
        InterfaceConfig {
            dhcp4: false,
            addresses: vec![address.parse().unwrap()],
            routes: vec![route],
            ..InterfaceConfig::automatic("ens3")
        }
    }

    #[test]
    fn silence_leads_to_the_last_good_and_then_to_dhcp() {
        let retry = Instant::now();
        let wanted = settings("192.0.2.7/24", "192.0.2.1");
        let good = settings("198.51.100.7/24", "198.51.100.1");
        let mut nic = nic(wanted.clone());
        assert!(matches!(nic.trial, Trial::Due));
        let others = |good: &InterfaceConfig| Others { good: Some(good.clone()), described: None };
        nic.give_way(others(&good), "silent", retry);
        assert_eq!((nic.source, &nic.active), (AddressSource::LastGood, &good));
        assert!(matches!(nic.trial, Trial::Due), "these have to prove themselves too");
        nic.give_way(others(&good), "silent", retry);
        assert_eq!(nic.source, AddressSource::Fallback);
        assert!(nic.active.dhcp4 && nic.active.addresses.is_empty());
        assert_eq!(nic.deadline(), Some(retry), "the settings get another chance");
        assert_eq!(nic.wanted, wanted);
    }

    #[test]
    fn settings_that_are_the_last_good_themselves_lead_to_dhcp() {
        let wanted = settings("192.0.2.7/24", "192.0.2.1");
        let mut nic = nic(wanted.clone());
        nic.give_way(Others { good: Some(wanted), described: None }, "silent", Instant::now());
        assert_eq!(nic.source, AddressSource::Fallback);
    }

    #[test]
    fn what_the_provider_describes_stands_between_the_owner_and_dhcp() {
        let described = settings("203.0.113.7/24", "203.0.113.1");
        let others = || Others { good: None, described: Some(described.clone()) };
        let mut nic = nic(settings("192.0.2.7/24", "192.0.2.1"));
        nic.give_way(others(), "silent", Instant::now());
        assert_eq!((nic.source, &nic.active), (AddressSource::Fallback, &described));
        assert!(matches!(nic.trial, Trial::Due), "it has to prove itself too");
        nic.give_way(others(), "silent", Instant::now());
        assert!(nic.active.dhcp4 && matches!(nic.trial, Trial::Retry { .. }));
    }

    #[test]
    fn routers_ask_for_more_of_dhcp_but_never_for_less() {
        let mut nic = nic(InterfaceConfig::automatic("ens3"));
        let advert = |dhcp6| Advert { servers: vec![], dhcp6 };
        assert_eq!(nic.wants_dhcp6(), None);
        nic.take_advert(advert(Some(Dhcp6::Stateless)), Instant::now());
        assert_eq!(nic.wants_dhcp6(), Some(Dhcp6::Stateless));
        nic.take_advert(advert(None), Instant::now());
        assert_eq!(nic.wants_dhcp6(), Some(Dhcp6::Stateless), "one router knows of no server, another does");
        nic.active.dhcp6 = Some(Dhcp6::Stateful);
        assert_eq!(nic.wants_dhcp6(), Some(Dhcp6::Stateful));
        nic.active.dhcp6 = None;
        nic.active.accept_ra = false;
        assert_eq!(nic.wants_dhcp6(), None, "routers are not heard");
    }

    #[test]
    fn settings_without_a_gateway_stay_beside_dhcp() {
        let wanted = InterfaceConfig { routes: vec![], ..settings("192.0.2.7/24", "192.0.2.1") };
        let good = settings("198.51.100.7/24", "198.51.100.1");
        let mut nic = nic(wanted.clone());
        assert!(matches!(nic.trial, Trial::Due), "it has to lead out, or something else");
        nic.give_way(Others { good: Some(good.clone()), described: None }, "no way", Instant::now());
        assert_eq!((nic.source, &nic.active), (AddressSource::LastGood, &good));
        nic.give_way(Others { good: Some(good), described: None }, "silent", Instant::now());
        assert_eq!(nic.active, InterfaceConfig { dhcp4: true, ..wanted });
        assert!(matches!(nic.trial, Trial::None) && nic.helped, "nothing takes their place again");
    }

    #[test]
    fn a_family_without_its_gateway_is_left_to_dhcp_and_the_other_stays() {
        let mut wanted = settings("192.0.2.7/24", "192.0.2.99");
        let other = settings("2001:db8::7/64", "2001:db8::1");
        wanted.addresses.extend(other.addresses);
        wanted.routes.extend(other.routes.clone());
        let mut nic = nic(wanted.clone());
        nic.ask_dhcp_too(&["192.0.2.99".parse().unwrap()].into(), "silent");
        assert_eq!(nic.active, InterfaceConfig { dhcp4: true, routes: other.routes, ..wanted });
    }

    #[test]
    fn nothing_static_needs_no_trial() {
        assert!(matches!(nic(InterfaceConfig::automatic("ens3")).trial, Trial::None));
    }

    #[test]
    fn resolvers_of_routers_come_and_end() {
        let mut nic = nic(InterfaceConfig::automatic("ens3"));
        let now = Instant::now();
        let server = |n: u8| -> IpAddr { format!("2001:db8::{n}").parse().unwrap() };
        nic.take_servers(vec![(server(1), Duration::from_secs(60)), (server(2), Duration::MAX)], now);
        assert_eq!(nic.dns(), [server(1), server(2)]);
        assert_eq!(nic.deadline(), Some(now + Duration::from_secs(60)));
        nic.take_servers(vec![(server(2), Duration::ZERO)], now);
        assert_eq!(nic.dns(), [server(1)]);
        nic.take_servers(vec![(server(3), Duration::from_secs(60))], now + Duration::from_secs(61));
        assert_eq!(nic.dns(), [server(3)]);
        let many = (4..200).map(|n| (server(n), Duration::from_secs(60))).collect();
        nic.take_servers(many, now + Duration::from_secs(61));
        assert_eq!(nic.dns().len(), MOST_SERVERS);
    }
}
