//! What the box's own network is, for people and for the plan.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Cidr, Mac};

/// The box's own network as observed last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// One entry per NIC, in the order of the settings, then of the kernel.
    pub nics: Vec<NicStatus>,
    /// The resolver's servers, in order.
    pub dns: Vec<IpAddr>,
    /// Search domains given by DHCP.
    pub search: Vec<String>,
    /// Host name given by DHCP, if any.
    pub hostname: Option<String>,
}

/// How long a box may take to get an address, in milliseconds since its start.
pub const PATIENCE: u64 = 60_000;

impl NetworkStatus {
    /// Why nobody reaches the box; `uptime` in milliseconds, since a box that has just started has to get an
    /// address first.
    pub fn unreachable(&self, uptime: u64) -> Option<String> {
        let reaches = |nic: &NicStatus| nic.state != NicState::NoCarrier && !nic.addresses.is_empty();
        if uptime < PATIENCE || self.nics.iter().any(reaches) {
            return None;
        }
        let nic = |nic: &NicStatus| match nic.state {
            NicState::NoCarrier => format!("{} has no carrier", nic.name),
            _ if nic.source == AddressSource::Settings => format!("{} has no address", nic.name),
            _ => format!("{} was given no address by DHCP or a router", nic.name),
        };
        let nics: Vec<String> = self.nics.iter().map(nic).collect();
        let why = if nics.is_empty() { "there is no network interface".to_owned() } else { nics.join(", ") };
        Some(format!("nobody reaches the box: {why}"))
    }

    /// Whether some NIC has an address that reaches beyond the link, and a way out.
    pub fn online(&self) -> bool {
        self.nics.iter().any(NicStatus::online)
    }
}

/// One NIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicStatus {
    /// Kernel's name.
    pub name: String,
    /// Hardware address.
    pub mac: Mac,
    /// How far it is.
    pub state: NicState,
    /// Its addresses of global scope.
    pub addresses: Vec<Cidr>,
    /// Next hops of its default routes.
    pub gateways: Vec<IpAddr>,
    /// Servers it brings, by settings or by lease.
    pub dns: Vec<IpAddr>,
    /// Where its settings come from.
    pub source: AddressSource,
    /// Bytes.
    pub mtu: u32,
    /// What is wrong with it, for people.
    pub problem: Option<String>,
}

impl NicStatus {
    /// Whether it has an address that reaches beyond the link, and a way out.
    pub fn online(&self) -> bool {
        self.state == NicState::Configured && !self.gateways.is_empty()
    }
}

/// How far a NIC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NicState {
    /// No cable, or its other end is down.
    NoCarrier,
    /// No address yet.
    Configuring,
    /// Static settings whose gateway has not answered yet.
    Trying,
    /// Has what its settings ask for.
    Configured,
}

/// Where a NIC's settings come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressSource {
    /// DHCP and router advertisements.
    Dhcp,
    /// `[[box.interface]]`.
    Settings,
    /// What the provider describes.
    Provider,
    /// Earlier settings, because the gateway of the present ones does not answer.
    LastGood,
    /// What the provider describes or DHCP, because the gateway of the settings does not answer.
    Fallback,
}

/// Something worth an entry in the box's events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkEvent {
    /// `dhcp-bound`, `dhcp-lost`, `gateway-silent`, …
    pub kind: String,
    /// NIC's name.
    pub nic: String,
    /// For people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(name: &str, state: NicState, source: AddressSource, addresses: &[&str]) -> NicStatus {
        NicStatus {
            name: name.to_owned(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            state,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            gateways: vec![],
            dns: vec![],
            source,
            mtu: 1500,
            problem: None,
        }
    }

    #[test]
    fn a_box_without_an_address_says_why_once_it_had_the_time_to_get_one() {
        use AddressSource::{Dhcp, Settings};
        use NicState::{Configured, Configuring, NoCarrier, Trying};
        let check = |nics: Vec<NicStatus>, uptime: u64, expect: Option<&str>| {
            let status = NetworkStatus { nics, ..NetworkStatus::default() };
            assert_eq!(status.unreachable(uptime).as_deref(), expect);
        };
        let dark = || nic("ens3", NoCarrier, Dhcp, &[]);
        let why = "nobody reaches the box: ens3 has no carrier";
        check(vec![dark()], 59_999, None);
        check(vec![dark()], 60_000, Some(why));
        check(vec![nic("ens3", NoCarrier, Dhcp, &["192.0.2.7/24"])], 60_000, Some(why));
        check(vec![], 60_000, Some("nobody reaches the box: there is no network interface"));
        let both =
            "nobody reaches the box: ens3 has no carrier, ens4 was given no address by DHCP or a router";
        check(vec![dark(), nic("ens4", Configuring, Dhcp, &[])], 60_000, Some(both));
        let none = "nobody reaches the box: ens3 has no address";
        check(vec![nic("ens3", Trying, Settings, &[])], 60_000, Some(none));
        check(vec![dark(), nic("ens4", Configured, Dhcp, &["192.0.2.7/24"])], 60_000, None);
    }
}
