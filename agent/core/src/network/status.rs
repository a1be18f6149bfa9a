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

impl NetworkStatus {
    /// Whether some NIC has an address that reaches beyond the link, and a way out.
    pub fn online(&self) -> bool {
        self.nics.iter().any(|nic| nic.state == NicState::Configured && !nic.gateways.is_empty())
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
