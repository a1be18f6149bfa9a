//! Static settings: what they have to prove, what they give way to, and what helps them.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod namespace;

use std::net::IpAddr;
use std::time::Duration;

use agent_core::network::{
    AddressSource, Cidr, HostConfig, InterfaceConfig, LinkMatch, Mac, NetworkSettings, NetworkStatus,
    NicState, RouteConfig,
};
use namespace::{Site, far, inside, reaches};

fn automatic() -> HostConfig {
    HostConfig::default()
}

/// What the owner says, and nothing of the provider.
fn settings(interfaces: Vec<InterfaceConfig>) -> HostConfig {
    let owner = NetworkSettings { interfaces, dns: vec![] };
    HostConfig { owner, ..HostConfig::default() }
}

/// As at OVHcloud: one address, and a gateway that no prefix holds.
#[test]
fn a_static_address_with_a_gateway_elsewhere_works() {
    inside("a_static_address_with_a_gateway_elsewhere_works", async |site: Site| {
        site.nic(1, &["2001:db8:0:1ff:ff:ff:ff:ff/48"]);
        far("ip addr add 2001:db8:ffff::1/128 dev lo");
        let _server = site.dnsmasq(1, &[]);
        let via = "2001:db8:0:1ff:ff:ff:ff:ff".parse().unwrap();
        let interface = InterfaceConfig {
            matches: LinkMatch::Mac(Mac([2, 0, 0, 0, 0, 1])),
            dhcp4: false,
            accept_ra: false,
            addresses: vec!["2001:db8:0:1ab::7/128".parse().unwrap()],
            routes: vec![RouteConfig {
                to: Cidr::default_route(via),
                via: Some(via),
                on_link: false,
                metric: None,
            }],
            ..InterfaceConfig::automatic("nic1")
        };
        let network = site.network(settings(vec![interface]));
        network.has("nic1", "2001:db8:0:1ab::7/128").await;
        network.until("its gateway answers", |status| status.online()).await;
        assert!(reaches("2001:db8:ffff::1"));
    });
}

/// What is tried is left to its owner: it neither gives way nor becomes what the box turns to later.
#[test]
fn what_is_tried_becomes_the_last_good_when_it_is_confirmed() {
    inside("what_is_tried_becomes_the_last_good_when_it_is_confirmed", async |site: Site| {
        site.nic(1, &["192.0.2.1/24"]);
        let _server = site.dnsmasq(1, &["--dhcp-range=192.0.2.10,192.0.2.10,1h"]);
        let by = |via: &str, tried| {
            let via = via.parse().unwrap();
            let to = Cidr::default_route(via);
            let interface = InterfaceConfig {
                dhcp4: false,
                addresses: vec!["192.0.2.7/24".parse().unwrap()],
                routes: vec![RouteConfig { to, via: Some(via), on_link: false, metric: None }],
                ..InterfaceConfig::automatic("nic1")
            };
            HostConfig { tried, ..settings(vec![interface]) }
        };
        let good = || std::path::Path::new("/run/site/state/good-020000000001.json").exists();

        // Nobody answers there: DHCP would take its place if it were not being tried.
        let network = site.network(by("192.0.2.99", true));
        let silent = |status: &NetworkStatus| status.nics.iter().any(|nic| nic.problem.is_some());
        let status = network.until("silence", silent).await;
        assert_eq!(status.nics[0].source, AddressSource::Settings, "{status:?}");
        assert!(status.nics[0].problem.as_ref().unwrap().contains("being tried"), "{status:?}");
        network.host.configure(automatic());
        network.has("nic1", "192.0.2.10/24").await;

        network.host.configure(by("192.0.2.1", true));
        let proven = |status: &NetworkStatus| {
            status.nics.iter().any(|n| n.state == NicState::Configured && n.source == AddressSource::Settings)
        };
        network.until("an answer", proven).await;
        assert!(!good(), "nobody has confirmed it");
        network.host.configure(by("192.0.2.1", false));
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while !good() {
            assert!(tokio::time::Instant::now() < end, "what was confirmed is not kept");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

/// One setting that cannot be had costs nothing but itself, and what is as it should be is not turned away from for it,
/// unless all of something better worked.
#[test]
fn what_the_kernel_refuses_keeps_nothing_else_out() {
    inside("what_the_kernel_refuses_keeps_nothing_else_out", async |site: Site| {
        site.nic(1, &["192.0.2.1/24"]);
        far("ip addr add 198.51.100.9/32 dev lo");
        let _server = site.dnsmasq(1, &[]);
        let route = |to: &str, via: &str| RouteConfig {
            to: to.parse().unwrap(),
            via: Some(via.parse().unwrap()),
            on_link: false,
            metric: None,
        };
        let good = InterfaceConfig {
            dhcp4: false,
            addresses: vec!["192.0.2.7/24".parse().unwrap()],
            routes: vec![route("0.0.0.0/0", "192.0.2.1")],
            ..InterfaceConfig::automatic("nic1")
        };
        let mut wrong = good.clone();
        wrong.addresses = vec!["192.0.2.8/24".parse().unwrap()];
        // No device carries so much, and nothing is reached by way of oneself.
        wrong.mtu = Some(1 << 20);
        wrong.routes.insert(0, route("10.0.0.0/8", "192.0.2.8"));
        let kept = || std::path::Path::new("/run/site/state/good-020000000001.json").exists();
        let by = |status: &NetworkStatus, source: AddressSource| {
            status.nics.iter().any(|nic| nic.state == NicState::Configured && nic.source == source)
        };

        let mut network = site.network(settings(vec![wrong.clone()]));
        network.has("nic1", "192.0.2.8/24").await;
        let status = network.until("its gateway", |status| by(status, AddressSource::Settings)).await;
        assert!(status.nics[0].problem.as_ref().unwrap().contains("MTU"), "{status:?}");
        assert!(reaches("198.51.100.9") && !kept());

        network.host.configure(settings(vec![good]));
        network.has("nic1", "192.0.2.7/24").await;
        network.until("what is whole", |_| kept()).await;
        network.host.configure(settings(vec![wrong]));
        network.has("nic1", "192.0.2.8/24").await;
        network.until("what worked", |status| by(status, AddressSource::LastGood)).await;
        network.has("nic1", "192.0.2.7/24").await;
        assert!(network.events().iter().any(|event| event.contains("settings-refused")));
    });
}

/// Who forgets the route gets DHCP beside his address, until something else leads out.
#[test]
fn settings_that_name_no_gateway_are_helped_by_dhcp() {
    inside("settings_that_name_no_gateway_are_helped_by_dhcp", async |site: Site| {
        site.nic(1, &["192.0.2.1/24"]);
        let _server = site.dnsmasq(1, &["--dhcp-range=192.0.2.10,192.0.2.10,1h"]);
        let alone = InterfaceConfig {
            dhcp4: false,
            addresses: vec!["192.0.2.7/24".parse().unwrap()],
            ..InterfaceConfig::automatic("nic1")
        };
        let mut network = site.network(settings(vec![alone]));
        let nic = network.has("nic1", "192.0.2.10/24").await;
        assert!(nic.addresses.contains(&"192.0.2.7/24".parse().unwrap()), "{nic:?}");
        assert_eq!(nic.source, AddressSource::Fallback);
        assert!(nic.problem.unwrap().contains("name no gateway"));
        assert!(network.events().iter().any(|event| event.contains("no-gateway")), "{:?}", network.events());
        assert!(reaches("192.0.2.1"));

        site.nic(2, &["198.51.100.1/24"]);
        let _second = site.dnsmasq(2, &["--port=0", "--dhcp-range=198.51.100.10,198.51.100.10,1h"]);
        network.has("nic2", "198.51.100.10/24").await;
        let own = |status: &NetworkStatus| {
            let nic = status.nics.iter().find(|nic| nic.name == "nic1").unwrap();
            nic.source == AddressSource::Settings && nic.problem.is_none() && nic.addresses.len() == 1
        };
        network.until("it has its own address alone", own).await;
    });
}

/// Settings that are wrong in one family: the other is left as it is.
#[test]
fn a_silent_gateway_of_one_family_gives_way_and_the_other_stays() {
    inside("a_silent_gateway_of_one_family_gives_way_and_the_other_stays", async |site: Site| {
        site.nic(1, &["192.0.2.1/24", "2001:db8::1/64"]);
        let _server = site.dnsmasq(1, &["--dhcp-range=192.0.2.10,192.0.2.10,1h"]);
        let route = |via: &str| {
            let via = via.parse().unwrap();
            RouteConfig { to: Cidr::default_route(via), via: Some(via), on_link: false, metric: None }
        };
        let interface = InterfaceConfig {
            dhcp4: false,
            addresses: vec!["192.0.2.7/24".parse().unwrap(), "2001:db8::7/64".parse().unwrap()],
            routes: vec![route("192.0.2.99"), route("2001:db8::1")],
            ..InterfaceConfig::automatic("nic1")
        };
        let network = site.network(settings(vec![interface]));
        let nic = network.has("nic1", "192.0.2.10/24").await;
        assert!(nic.addresses.contains(&"2001:db8::7/64".parse().unwrap()), "{nic:?}");
        let problem = nic.problem.unwrap();
        assert!(problem.contains("192.0.2.99 did not answer") && problem.contains("the other"), "{problem}");
        let ways: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let both = |status: &NetworkStatus| status.nics[0].gateways == ways;
        network.until("a way out of each family", both).await;
        assert!(reaches("192.0.2.1") && reaches("2001:db8::1"));
    });
}

/// Settings whose gateway answers and whose name servers do not: they stay, and DHCP is asked for others.
#[test]
fn silent_name_servers_are_helped_by_those_of_dhcp() {
    inside("silent_name_servers_are_helped_by_those_of_dhcp", async |site: Site| {
        site.nic(1, &["192.0.2.1/24"]);
        let _server = site.dnsmasq(1, &["--dhcp-range=192.0.2.10,192.0.2.10,1h"]);
        let via = "192.0.2.1".parse().unwrap();
        let route =
            RouteConfig { to: Cidr::default_route(via), via: Some(via), on_link: false, metric: None };
        let interface = InterfaceConfig {
            dhcp4: false,
            addresses: vec!["192.0.2.7/24".parse().unwrap()],
            routes: vec![route],
            ..InterfaceConfig::automatic("nic1")
        };
        let dns = vec!["192.0.2.77".parse().unwrap()];
        let config = settings(vec![interface]);
        let owner = NetworkSettings { dns, ..config.owner };
        let mut network = site.network(HostConfig { owner, ..config });
        let nic = network.has("nic1", "192.0.2.10/24").await;
        assert!(nic.addresses.contains(&"192.0.2.7/24".parse().unwrap()), "{nic:?}");
        assert!(nic.problem.unwrap().contains("192.0.2.77 did not answer"));
        let both = |status: &NetworkStatus| status.dns.len() == 2;
        network.until("name servers of both", both).await;
        assert_eq!(site.resolver().matches("nameserver").count(), 2, "{}", site.resolver());
        assert!(!std::path::Path::new("/run/site/state/good-020000000001.json").exists());

        far("ip addr add 192.0.2.77/24 dev srv1 nodad");
        let own = |status: &NetworkStatus| {
            status.nics[0].source == AddressSource::Settings && status.nics[0].problem.is_none()
        };
        network.until("the owner's answer", own).await;
        assert!(network.events().iter().any(|event| event.contains("resolver-silent")));
        network.until("the owner's alone", |status| status.dns.len() == 1).await;
        assert!(std::path::Path::new("/run/site/state/good-020000000001.json").exists());
    });
}
