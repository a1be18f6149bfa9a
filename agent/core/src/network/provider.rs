//! What a provider describes of the box's network, and the links that are to be made for it.
//!
//! Invariant: a device has a name that the kernel takes and that no other device of the same network has;
//! see [`device_name`]. Deliberately absent: the documents of providers; they are read elsewhere, and
//! only what was found whole arrives here.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{InterfaceConfig, LinkMatch, Mac};

/// The longest name of a link, in bytes.
const LONGEST_NAME: usize = 15;

/// A network as a provider describes it. Kept on data, so that it holds from the start of the next boot on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderNetwork {
    /// In order of preference for the default route.
    pub interfaces: Vec<InterfaceConfig>,
    /// Links to be made, each after those that it stands on.
    pub devices: Vec<Device>,
    /// Name servers of the box, after those of its interfaces.
    pub dns: Vec<IpAddr>,
    /// Search domains of the box.
    pub search: Vec<String>,
}

impl ProviderNetwork {
    /// Whether nothing is described.
    pub fn is_empty(&self) -> bool {
        *self == ProviderNetwork::default()
    }

    /// The device whose port this NIC is to be; a port has no addresses of its own.
    pub fn bond_of(&self, name: &str, mac: Mac) -> Option<&Device> {
        self.devices.iter().find(|device| match &device.kind {
            DeviceKind::Bond(bond) => bond.ports.iter().any(|port| port.is(name, mac)),
            DeviceKind::Vlan { .. } => false,
        })
    }

    /// Whether a device stands on this NIC.
    pub fn carries(&self, name: &str, mac: Mac) -> bool {
        let vlan = |device: &Device| matches!(&device.kind, DeviceKind::Vlan { on, .. } if on.is(name, mac));
        self.bond_of(name, mac).is_some() || self.devices.iter().any(vlan)
    }

    /// Whether its devices are to lead out: settings for one of them name a router, or ask for one.
    pub fn devices_lead_out(&self) -> bool {
        let asks = |interface: &InterfaceConfig| interface.dhcp4 || interface.dhcp6.is_some();
        let mut devices = self.interfaces.iter().filter(|interface| self.is_device(interface));
        devices.any(|interface| asks(interface) || !interface.gateways().is_empty())
    }

    /// Whether settings are for a device.
    fn is_device(&self, interface: &InterfaceConfig) -> bool {
        match &interface.matches {
            LinkMatch::Name(name) => self.devices.iter().any(|device| device.name == *name),
            _ => false,
        }
    }

    /// The same without its devices, and without what is said of them.
    pub fn without_devices(&self) -> ProviderNetwork {
        let interfaces = self.interfaces.iter().filter(|i| !self.is_device(i)).cloned().collect();
        ProviderNetwork { interfaces, devices: Vec::new(), ..self.clone() }
    }
}

/// A link that is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The kernel's name for it.
    pub name: String,
    /// Hardware address to give it; none: that of what it stands on.
    pub mac: Option<Mac>,
    /// What it is.
    pub kind: DeviceKind,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// Several NICs as one.
    Bond(Bond),
    /// A tagged network on another link (IEEE 802.1Q).
    Vlan {
        /// What it stands on: a NIC, or a bond by its name.
        on: LinkMatch,
        /// Its tag, 1 to 4094.
        tag: u16,
    },
}

/// A bond; modes and policies are the kernel's numbers, times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    /// Its NICs.
    pub ports: Vec<LinkMatch>,
    /// How frames are spread, 0 to 6.
    pub mode: u8,
    /// How often ports are looked at.
    pub miimon: u32,
    /// Delay before a port that is back is used.
    pub up_delay: u32,
    /// Delay before a port that is lost is given up.
    pub down_delay: u32,
    /// LACP packets each second, not every 30.
    pub lacp_fast: bool,
    /// By what frames are spread, 0 to 5; none: the kernel's.
    pub hash_policy: Option<u8>,
}

/// All that a device is, in a line: how one of ours is known, and whether it is still what it should be.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DeviceKind::Bond(bond) => {
                let Bond { ports: _, mode, miimon, up_delay, down_delay, lacp_fast, hash_policy } = bond;
                write!(f, "bond mode={mode} miimon={miimon} delay={up_delay}/{down_delay}")?;
                write!(f, " fast={lacp_fast} hash={hash_policy:?}")?;
            }
            DeviceKind::Vlan { on, tag } => write!(f, "vlan tag={tag} on={on:?}")?,
        }
        self.mac.map_or(Ok(()), |mac| write!(f, " mac={mac}"))
    }
}

/// The name of a device: the provider's where the kernel takes it and it means nothing else here, else
/// `prefix` and the first number that makes one.
pub fn device_name(wished: &str, prefix: &str, taken: &BTreeSet<String>) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    // `hf` is how the links of containers begin, and `all` and `default` are folders among the kernel's settings.
    let reserved = wished.starts_with("hf") || matches!(wished, "" | "." | ".." | "lo" | "all" | "default");
    let usable = wished.len() <= LONGEST_NAME && wished.bytes().all(plain) && !reserved;
    if usable && !taken.contains(wished) {
        return wished.to_owned();
    }
    let names = (0u32..).map(|number| format!("{prefix}{number}"));
    names.into_iter().find(|name| !taken.contains(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_such_that_the_kernel_takes_them() {
        let taken = BTreeSet::from(["bond0".to_owned(), "vlan0".to_owned()]);
        for (wished, prefix, expect) in [
            ("bond1", "bond", "bond1"),
            ("bond0", "bond", "bond1"),
            ("eth0.100", "vlan", "eth0.100"),
            ("a name", "vlan", "vlan1"),
            ("tap1a81968a-79-with-more", "vlan", "vlan1"),
            ("../x", "bond", "bond1"),
            ("hf0", "bond", "bond1"),
            ("", "bond", "bond1"),
        ] {
            assert_eq!(device_name(wished, prefix, &taken), expect, "{wished}");
        }
    }

    #[test]
    fn ports_belong_to_their_bond_and_devices_can_be_done_without() {
        let port = |last: u8| LinkMatch::Mac(Mac([2, 0, 0, 0, 0, last]));
        let bond = Bond {
            ports: vec![port(1), port(2)],
            mode: 1,
            miimon: 100,
            up_delay: 0,
            down_delay: 0,
            lacp_fast: false,
            hash_policy: None,
        };
        let network = ProviderNetwork {
            interfaces: vec![InterfaceConfig::automatic("bond0"), InterfaceConfig::automatic("ens9")],
            devices: vec![
                Device { name: "bond0".into(), mac: None, kind: DeviceKind::Bond(bond) },
                Device {
                    name: "vlan7".into(),
                    mac: None,
                    kind: DeviceKind::Vlan { on: LinkMatch::Name("bond0".into()), tag: 7 },
                },
            ],
            ..ProviderNetwork::default()
        };
        let bond_of = |last: u8| network.bond_of("ens3", Mac([2, 0, 0, 0, 0, last])).map(|d| d.name.as_str());
        assert_eq!((bond_of(1), bond_of(2), bond_of(3)), (Some("bond0"), Some("bond0"), None));
        assert!(network.devices_lead_out());
        let mut apart = network.clone();
        apart.interfaces[0].dhcp4 = false;
        assert!(!apart.devices_lead_out(), "a bond between boxes alone is to reach nobody else");
        let without = network.without_devices();
        assert_eq!(without.interfaces, [InterfaceConfig::automatic("ens9")]);
        assert!(without.devices.is_empty());
        let kept = serde_json::to_string(&network).unwrap();
        assert_eq!(serde_json::from_str::<ProviderNetwork>(&kept).unwrap(), network);
    }
}
