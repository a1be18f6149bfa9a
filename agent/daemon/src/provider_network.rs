//! A provider's network in the form in which the box keeps it and makes it.

use std::collections::{BTreeMap, BTreeSet};

use agent_core::network::provider::device_name;
use agent_core::network::{
    self, Cidr, Device, DeviceKind, InterfaceConfig, LinkMatch, Mac, ProviderNetwork, RouteConfig,
};
use agent_metadata::network::{Bond, Dhcp6, IpNet, Kind, Link, Match, Network};
use serde::{Deserialize, Serialize};

/// How often a bond looks at its ports where the provider does not say, in milliseconds.
const MIIMON: u32 = 100;

/// What the box must know of its provider before that is asked, or while it does not answer. It lies beside leases,
/// since it can be had again.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Version of this form.
    pub(crate) format: u32,
    /// The provider's identity of the box that it was described for.
    pub(crate) instance_id: Option<String>,
    /// What was described.
    pub(crate) network: ProviderNetwork,
    /// Keys that may log in.
    #[serde(default)]
    pub(crate) keys: Vec<String>,
    /// The box's name.
    #[serde(default)]
    pub(crate) hostname: Option<String>,
}

/// The only form there is.
pub(crate) const FORMAT: u32 = 1;

/// Takes over what is described; none where no link has anything, as then nothing would be reached.
pub(crate) fn convert(described: &Network) -> Option<ProviderNetwork> {
    let idle = |link: &Link| {
        !link.dhcp4 && link.dhcp6.is_none() && link.accept_ra != Some(true) && link.addresses.is_empty()
    };
    if described.links.iter().all(idle) {
        return None;
    }
    let names = names(described);
    let meant =
        |id: &str| described.links.iter().find(|link| link.id == id).map(|link| matches(link, &names));
    let bonds = described.links.iter().filter_map(|link| match &link.kind {
        Kind::Bond(bond) => Some((link, bond)),
        _ => None,
    });
    let ports: BTreeSet<&String> = bonds.clone().flat_map(|(_, bond)| &bond.links).collect();
    let vlans = described.links.iter().filter_map(|link| match &link.kind {
        Kind::Vlan(vlan) => Some(Device {
            name: names[&link.id].clone(),
            mac: vlan.mac.map(mac),
            kind: DeviceKind::Vlan { on: meant(&vlan.link)?, tag: vlan.tag },
        }),
        _ => None,
    });
    let bonds = bonds.clone().map(|(link, bond)| Device {
        name: names[&link.id].clone(),
        mac: bond.mac.map(mac),
        kind: DeviceKind::Bond(settings(bond, bond.links.iter().filter_map(|id| meant(id)).collect())),
    });
    let links = described.links.iter().filter(|link| !ports.contains(&link.id));
    let search = described.links.iter().flat_map(|link| &link.search);
    Some(ProviderNetwork {
        interfaces: links.map(|link| interface(link, matches(link, &names))).collect(),
        devices: bonds.chain(vlans).collect(),
        dns: described.dns.clone(),
        search: described.search.iter().chain(search).cloned().collect(),
    })
}

/// Names for the bonds and VLANs, by their ids.
fn names(described: &Network) -> BTreeMap<String, String> {
    let nics = described.links.iter().filter_map(|link| match &link.kind {
        Kind::Nic(nic) => nic.name.clone(),
        _ => None,
    });
    let mut taken: BTreeSet<String> = nics.collect();
    let mut names = BTreeMap::new();
    for link in &described.links {
        let prefix = match link.kind {
            Kind::Nic(_) => continue,
            Kind::Bond(_) => "bond",
            Kind::Vlan(_) => "vlan",
        };
        let name = device_name(&link.id, prefix, &taken);
        taken.insert(name.clone());
        names.insert(link.id.clone(), name);
    }
    names
}

fn matches(link: &Link, names: &BTreeMap<String, String>) -> LinkMatch {
    match &link.kind {
        Kind::Nic(Match { mac: Some(given), .. }) => LinkMatch::Mac(mac(*given)),
        Kind::Nic(Match { name, .. }) => {
            let name = name.clone().unwrap_or_default();
            if name.contains(['*', '?']) { LinkMatch::Pattern(name) } else { LinkMatch::Name(name) }
        }
        Kind::Bond(_) | Kind::Vlan(_) => LinkMatch::Name(names[&link.id].clone()),
    }
}

fn mac(given: agent_metadata::network::Mac) -> Mac {
    Mac(given.0)
}

fn settings(bond: &Bond, ports: Vec<LinkMatch>) -> network::Bond {
    network::Bond {
        ports,
        mode: bond.mode.number(),
        miimon: bond.miimon.unwrap_or(MIIMON),
        up_delay: bond.up_delay.unwrap_or_default(),
        down_delay: bond.down_delay.unwrap_or_default(),
        lacp_fast: bond.lacp_fast,
        hash_policy: bond.xmit_hash_policy.as_deref().and_then(agent_metadata::network::hash_policy_number),
    }
}

fn interface(link: &Link, matches: LinkMatch) -> InterfaceConfig {
    let cidr = |net: &IpNet| Cidr::new(net.addr(), net.prefix_len());
    let route = |route: &agent_metadata::network::Route| {
        Some(RouteConfig {
            to: cidr(&route.to)?,
            via: route.via,
            on_link: route.on_link,
            metric: route.metric,
        })
    };
    InterfaceConfig {
        matches,
        dhcp4: link.dhcp4,
        dhcp6: link.dhcp6.map(|dhcp6| match dhcp6 {
            Dhcp6::Stateful => network::Dhcp6::Stateful,
            Dhcp6::Stateless => network::Dhcp6::Stateless,
        }),
        accept_ra: link.accept_ra.unwrap_or(true),
        addresses: link.addresses.iter().filter_map(cidr).collect(),
        routes: link.routes.iter().filter_map(route).collect(),
        dns: link.dns.clone(),
        mtu: link.mtu,
    }
}

#[cfg(test)]
mod tests {
    use agent_core::network::policy::{Policy, policy};
    use agent_core::network::{AddressSource, HostConfig, LinkSettings};

    use super::*;

    fn read(network_data: &str) -> Option<ProviderNetwork> {
        drive("openstack/latest/network_data.json", network_data)
    }

    /// What the box makes of a config drive with this document.
    fn drive(name: &str, document: &str) -> Option<ProviderNetwork> {
        let folder = tempfile::tempdir().unwrap();
        let latest = folder.path().join("openstack/latest");
        std::fs::create_dir_all(&latest).unwrap();
        std::fs::write(latest.join("meta_data.json"), r#"{"uuid": "1"}"#).unwrap();
        std::fs::write(folder.path().join(name), document).unwrap();
        let sources =
            agent_metadata::Sources { config_drive: Some(folder.path().into()), ..Default::default() };
        let offer = agent_metadata::find(&sources).offer.unwrap();
        convert(&offer.network.unwrap_or_else(|| panic!("{:?}", offer.notes)))
    }

    #[test]
    fn a_vlan_on_a_bond_of_two_nics() {
        let network = read(
            r#"{
            "links": [
                {"id": "a", "type": "phy", "ethernet_mac_address": "02:00:00:00:00:01"},
                {"id": "b", "type": "phy", "ethernet_mac_address": "02:00:00:00:00:02"},
                {"id": "the bond", "type": "bond", "bond_links": ["a", "b"], "bond_mode": "802.3ad",
                 "bond_xmit_hash_policy": "layer3+4", "mtu": 9000},
                {"id": "net.7", "type": "vlan", "vlan_link": "the bond", "vlan_id": 7}
            ],
            "networks": [
                {"id": "n", "type": "ipv4", "link": "net.7", "ip_address": "192.0.2.7", "netmask": "255.255.255.0",
                 "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}]}
            ],
            "services": [{"type": "dns", "address": "192.0.2.53"}]
        }"#,
        )
        .unwrap();
        let names: Vec<&str> = network.devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, ["bond0", "net.7"]);
        let DeviceKind::Bond(bond) = &network.devices[0].kind else { panic!("{network:?}") };
        assert_eq!((bond.mode, bond.miimon, bond.hash_policy, bond.ports.len()), (4, 100, Some(1), 2));
        let on = LinkMatch::Name("bond0".into());
        assert_eq!(network.devices[1].kind, DeviceKind::Vlan { on: on.clone(), tag: 7 });
        let interfaces: Vec<_> =
            network.interfaces.iter().map(|i| (&i.matches, i.addresses.len(), i.mtu)).collect();
        assert_eq!(interfaces, [(&on, 0, Some(9000)), (&LinkMatch::Name("net.7".into()), 1, None)]);
        assert_eq!(network.interfaces[1].routes.len(), 1);
        assert_eq!(network.dns.len(), 1);
    }

    /// The public NIC has its own address and the anchor address, at which reserved IPs arrive. The gateways of the
    /// anchor address and of the VPC lead to nobody else, and are in no route.
    #[test]
    fn a_droplet_has_all_its_addresses_and_one_way_out() {
        let document = include_str!("../../metadata/fuzz/corpus/document/digitalocean.json");
        let provider = drive("digitalocean_meta_data.json", document).unwrap();
        assert_eq!((provider.interfaces.len(), provider.devices.len(), provider.dns.len()), (2, 0, 2));
        let config = HostConfig { provider, ..HostConfig::default() };
        let set = |name: &str, last: u8| {
            let wanted = config.wanted(name, Mac([0x04, 0x01, 0x2a, 0x0f, 0x2a, last]));
            assert_eq!((wanted.source, wanted.settings.dhcp4), (AddressSource::Provider, false), "{name}");
            wanted.settings.link_settings(wanted.place as u32)
        };
        let check = |settings: &LinkSettings, addresses: &[&str], routes: &[&str]| {
            let set: Vec<String> = settings.addresses.iter().map(ToString::to_string).collect();
            assert_eq!(set, addresses);
            let set = settings.routes.iter().map(|route| format!("{} {:?}", route.to, route.via));
            assert_eq!(set.collect::<Vec<_>>(), routes);
        };
        let (public, vpc) = (set("eth0", 1), set("eth1", 2));
        check(
            &public,
            &["10.17.0.7/16", "203.0.113.211/24", "2001:db8:0:100::7001/64"],
            &["0.0.0.0/0 Some(203.0.113.1)", "::/0 Some(2001:db8:0:100::1)"],
        );
        check(&vpc, &["10.132.255.113/16"], &[]);
        assert_eq!(policy(&[(2, public), (3, vpc)]), Policy::default(), "one way out needs no tables");
    }

    #[test]
    fn a_description_of_nothing_is_none() {
        let links = r#"[{"id": "a", "type": "phy", "ethernet_mac_address": "02:00:00:00:00:01"}]"#;
        assert_eq!(read(&format!(r#"{{"links": {links}, "networks": []}}"#)), None);
        let dhcp = r#"[{"id": "n", "type": "ipv4_dhcp", "link": "a"}]"#;
        let network = read(&format!(r#"{{"links": {links}, "networks": {dhcp}}}"#)).unwrap();
        assert!(network.interfaces[0].dhcp4);
    }
}
