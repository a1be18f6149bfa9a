//! What user-data says about the box itself.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Update;
use crate::Secret;
use crate::shape::{AdminKey, Cidr, Mac, TimeZone};

/// `[box]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxSettings {
    /// Host name; from DHCP or the provider when absent.
    pub hostname: Option<String>,
    /// Keys that may log in as `admin`.
    pub admins: Vec<AdminKey>,
    /// Whether the provider's keys may log in too.
    pub provider_keys: bool,
    /// Name servers; from DHCP or the provider when empty.
    pub dns: Vec<IpAddr>,
    /// Time servers, by name or address; Debian's pool when empty.
    pub ntp: Vec<String>,
    /// Whether a recipe may ask for a privileged container.
    pub allow_privileged: bool,
    /// Network interfaces with settings of their own; every other one is as the provider describes, else by DHCP.
    pub interfaces: Vec<Interface>,
    /// Registries that need more than their name.
    pub registries: Vec<Registry>,
    /// The zone of its local times; UTC when not said.
    pub timezone: TimeZone,
    /// Where its updates come from; without it there are none.
    pub update: Option<Update>,
    /// Who is told of its events.
    pub notify: Option<Notify>,
}

impl Default for BoxSettings {
    fn default() -> BoxSettings {
        BoxSettings {
            hostname: None,
            admins: Vec::new(),
            provider_keys: true,
            dns: Vec::new(),
            ntp: Vec::new(),
            allow_privileged: false,
            interfaces: Vec::new(),
            registries: Vec::new(),
            timezone: TimeZone::default(),
            update: None,
            notify: None,
        }
    }
}

/// One `[[box.interface]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Which interface.
    pub matcher: InterfaceMatch,
    /// Whether it asks DHCPv4; when not said, whether it has no IPv4 address of its own.
    pub dhcp4: bool,
    /// Whether router advertisements are accepted.
    pub accept_ra: bool,
    /// Static addresses.
    pub addresses: Vec<Cidr>,
    /// Static routes.
    pub routes: Vec<Route>,
    /// Name servers reached through it.
    pub dns: Vec<IpAddr>,
    /// MTU; the link's own when absent.
    pub mtu: Option<u32>,
}

/// How an interface is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceMatch {
    /// By hardware address.
    Mac(Mac),
    /// By the kernel's name.
    Name(String),
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Destination; a default route is `0.0.0.0/0` or `::/0`, its family that of `via`.
    pub to: Cidr,
    /// Gateway; none for a link route.
    pub via: Option<IpAddr>,
    /// The gateway is reached on the link though no address of the interface covers it.
    pub on_link: bool,
    /// Lower wins; the kernel's choice when absent.
    pub metric: Option<u32>,
}

impl Route {
    /// Whether it is a default route.
    pub fn is_default(&self) -> bool {
        self.to.prefix == 0
    }
}

/// One `[[box.registry]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// `HOST[:PORT]`, as in image references.
    pub host: String,
    /// Certificates to trust instead of the system's, PEM.
    pub ca: Option<String>,
    /// User, for the registry and its token server.
    pub username: Option<String>,
    /// Password for basic authentication.
    pub password: Option<Secret>,
    /// Speak HTTP without TLS.
    pub plain_http: bool,
}

/// `[box.notify]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// Where events are sent: an `http://` or `https://` URL with a host, without a fragment. Its user, path or query
    /// may be all that lets someone send there, so it is never shown.
    pub url: Secret,
}
