//! One NIC: which settings it has now, and why.

use std::collections::BTreeSet;
use std::net::IpAddr;

use agent_core::network::host::{ObservedLink, merge};
use agent_core::network::{AddressSource, Cidr, InterfaceConfig, LinkSettings, Mac, NicState, NicStatus};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::dhcp::{DhcpTask, Lease};
use crate::links::Link;

/// A NIC as the manager keeps it.
pub(super) struct Nic {
    pub(super) link: Link,
    pub(super) mac: Mac,
    /// Its place among all; the lower wins the default route.
    pub(super) order: u32,
    /// What its owner wants.
    pub(super) wanted: InterfaceConfig,
    /// What it has now.
    pub(super) active: InterfaceConfig,
    pub(super) source: AddressSource,
    pub(super) dhcp: Option<DhcpTask>,
    pub(super) lease: Option<Lease>,
    pub(super) trial: Trial,
    /// Why it is not as its owner wants it.
    pub(super) problem: Option<String>,
    /// What went wrong when it was changed last.
    pub(super) failure: Option<String>,
}

/// Whether the gateways of static settings are there.
pub(super) enum Trial {
    /// Nothing to find out: no static gateway, or one has answered.
    None,
    /// It waits for a carrier.
    Due,
    /// They are being asked.
    Running {
        /// When their silence is believed; none: it is believed already, and they may come back.
        deadline: Option<Instant>,
        /// Ends when one answers.
        probe: JoinHandle<()>,
    },
    /// DHCP stands in; without a lease by then, the settings are tried again.
    Retry {
        /// When.
        at: Instant,
    },
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Trial::Running { probe, .. } = self {
            probe.abort();
        }
    }
}

impl Trial {
    /// When the manager is to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Trial::Running { deadline, .. } => *deadline,
            Trial::Retry { at } => Some(*at),
            Trial::None | Trial::Due => None,
        }
    }
}

impl Nic {
    /// A NIC with what its owner wants, on trial where that is static.
    pub(super) fn new(
        link: Link,
        mac: Mac,
        order: u32,
        wanted: InterfaceConfig,
        source: AddressSource,
    ) -> Nic {
        let trial = if wanted.gateways().is_empty() { Trial::None } else { Trial::Due };
        Nic {
            link,
            mac,
            order,
            active: wanted.clone(),
            wanted,
            source,
            dhcp: None,
            lease: None,
            trial,
            problem: None,
            failure: None,
        }
    }

    /// Changes what it has; what it then has to prove starts anew.
    pub(super) fn activate(&mut self, settings: InterfaceConfig, source: AddressSource) {
        self.trial = if settings.gateways().is_empty() { Trial::None } else { Trial::Due };
        if !settings.dhcp4 {
            self.dhcp = None;
            self.lease = None;
        }
        self.active = settings;
        self.source = source;
    }

    /// Turns to the last good settings, else to DHCP until `retry`, because of what is said of the
    /// present ones.
    pub(super) fn give_way(&mut self, good: Option<InterfaceConfig>, why: &str, retry: Instant) {
        match good.filter(|good| self.source == AddressSource::Settings && *good != self.wanted) {
            Some(good) => {
                self.activate(good, AddressSource::LastGood);
                self.problem = Some(format!("{why}; the last settings that worked are in use"));
            }
            None => {
                let automatic = InterfaceConfig::automatic(&self.link.name);
                let fallback = InterfaceConfig { dns: self.wanted.dns.clone(), ..automatic };
                self.activate(fallback, AddressSource::Fallback);
                self.trial = Trial::Retry { at: retry };
                self.problem = Some(format!("{why}; DHCP is in use"));
            }
        }
    }

    /// What the link should have.
    pub(super) fn settings(&self) -> LinkSettings {
        let owner = self.active.link_settings(self.order);
        match &self.lease {
            Some(lease) => merge(owner, lease.settings(self.order)),
            None => owner,
        }
    }

    /// Its servers, the owner's first.
    pub(super) fn dns(&self) -> Vec<IpAddr> {
        let leased = self.lease.iter().flat_map(|lease| lease.dns.iter().copied().map(IpAddr::V4));
        self.active.dns.iter().copied().chain(leased).collect()
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
