//! DHCP (RFC 2131) and router advertisements against the servers that providers run: dnsmasq and BusyBox's
//! udhcpd, each with what has been seen at a provider.

mod namespace;

use std::time::Duration;

use agent_core::network::{AddressSource, Cidr, HostConfig, InterfaceConfig, LinkMatch, Mac, RouteConfig};
use namespace::{Site, far, inside, reaches, routes, sh};

fn automatic() -> HostConfig {
    HostConfig::default()
}

#[test]
fn a_lease_is_taken_used_renewed_and_asked_for_again() {
    inside("a_lease_is_taken_used_renewed_and_asked_for_again", async |site: Site| {
        site.nic(1, &["192.0.2.1/24"]);
        far("ip addr add 198.51.100.1/32 dev lo");
        let server = site.dnsmasq(
            1,
            &[
                "--dhcp-range=192.0.2.10,192.0.2.20,1h",
                "--dhcp-option=58,3",
                "--dhcp-option=59,6",
                "--domain=example.org",
                "--dhcp-host=02:00:00:00:00:01,192.0.2.12",
            ],
        );
        let network = site.network(automatic());
        let nic = network.has("nic1", "192.0.2.12/24").await;
        assert_eq!(nic.source, AddressSource::Dhcp);
        assert_eq!(nic.gateways, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
        assert!(reaches("198.51.100.1"), "the router leads on");
        assert_eq!(
            site.resolver().lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>(),
            ["nameserver 192.0.2.1", "search example.org"]
        );
        assert!(server.said().contains("client provides name: hub1"), "{}", server.said());
        // Renewed at its server after three seconds, without a new discovery.
        server.says("DHCPACK", 2).await;
        assert_eq!(server.said().matches("DHCPDISCOVER").count(), 1, "{}", server.said());

        // A restart of the agent disturbs nothing; a reboot asks for the same address (RFC 2131, 4.4.2).
        drop(network);
        assert!(reaches("198.51.100.1"));
        sh("ip addr flush dev nic1; ip link set nic1 down");
        let network = site.network(automatic());
        network.has("nic1", "192.0.2.12/24").await;
        assert_eq!(server.said().matches("DHCPDISCOVER").count(), 1, "{}", server.said());
    });
}

#[test]
fn a_refused_address_is_given_up() {
    inside("a_refused_address_is_given_up", async |site: Site| {
        site.nic(1, &["192.0.2.1/24"]);
        let server = site.dnsmasq(1, &["--dhcp-range=192.0.2.10,192.0.2.20,1h"]);
        let network = site.network(automatic());
        network.until("a lease", |status| status.online()).await;
        drop((network, server));
        // The box was moved to another network while it was off.
        sh("ip addr flush dev nic1; ip link set nic1 down");
        far("ip addr flush dev srv1; ip addr add 198.51.100.1/24 dev srv1");
        let server =
            site.dnsmasq(1, &["--dhcp-range=198.51.100.10,198.51.100.20,1h", "--dhcp-authoritative"]);
        let network = site.network(automatic());
        network
            .until("another", |status| {
                status.online()
                    && status
                        .nics
                        .iter()
                        .any(|nic| nic.addresses.iter().any(|a| a.to_string().starts_with("198.51.100.")))
            })
            .await;
        assert!(server.said().contains("DHCPNAK"), "{}", server.said());
        assert!(!sh("ip addr show dev nic1").contains("192.0.2."), "what was refused is gone");
    });
}

#[test]
fn a_server_that_comes_late_is_found() {
    inside("a_server_that_comes_late_is_found", async |site: Site| {
        site.nic(1, &["192.0.2.1/24"]);
        let network = site.network(automatic());
        tokio::time::sleep(Duration::from_secs(4)).await;
        let _server = site.dnsmasq(1, &["--dhcp-range=192.0.2.10,192.0.2.10,1h"]);
        network.has("nic1", "192.0.2.10/24").await;
    });
}

/// As at OVHcloud: the lease is a /32, its router lies elsewhere, and no other route is given.
#[test]
fn a_router_outside_the_lease_is_reached() {
    inside("a_router_outside_the_lease_is_reached", async |site: Site| {
        site.nic(1, &["54.36.112.1/24"]);
        far("ip addr add 198.51.100.1/32 dev lo");
        let _server = site.dnsmasq(
            1,
            &[
                "--dhcp-range=54.36.112.9,54.36.112.9,1h",
                "--dhcp-option=1,255.255.255.255",
                "--dhcp-option=3,54.36.112.1",
                "--dhcp-option=28",
            ],
        );
        let network = site.network(automatic());
        network.has("nic1", "54.36.112.9/32").await;
        assert_eq!(routes("-4"), ["default via 54.36.112.1 dev nic1 metric 100 onlink"]);
        assert!(reaches("54.36.112.1") && reaches("198.51.100.1"));
    });
}

#[test]
fn classless_routes_and_the_mtu_are_taken() {
    inside("classless_routes_and_the_mtu_are_taken", async |site: Site| {
        site.nic(1, &["192.0.2.1/24", "169.254.1.1/32"]);
        far("ip addr add 198.51.100.1/32 dev lo; ip addr add 203.0.113.1/32 dev lo");
        let _server = site.dnsmasq(
            1,
            &[
                "--dhcp-range=192.0.2.10,192.0.2.20,1h",
                "--dhcp-option=26,1450",
                // With these the router of option 3 is not looked at (RFC 3442).
                "--dhcp-option=3,192.0.2.254",
                "--dhcp-option=121,169.254.1.1/32,0.0.0.0,0.0.0.0/0,169.254.1.1,203.0.113.0/24,192.0.2.1",
            ],
        );
        let network = site.network(automatic());
        network.until("a lease", |status| status.online() && status.nics[0].mtu == 1450).await;
        assert_eq!(
            routes("-4"),
            [
                "default via 169.254.1.1 dev nic1 metric 100 onlink",
                "169.254.1.1 dev nic1 scope link metric 100",
                "203.0.113.0/24 via 192.0.2.1 dev nic1 metric 100",
            ]
        );
        assert!(reaches("198.51.100.1") && reaches("203.0.113.1"));
        assert!(sh("ip link show nic1").contains("mtu 1450"));
        // An MTU with which IPv6 would not work is not taken.
        site.nic(2, &["10.1.0.1/16"]);
        let _other =
            site.dnsmasq(2, &["--port=0", "--dhcp-range=10.1.0.10,10.1.0.10,1h", "--dhcp-option=26,576"]);
        assert_eq!(network.has("nic2", "10.1.0.10/16").await.mtu, 1500);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(sh("ip link show nic2").contains("mtu 1500"));
    });
}

/// Of two default routes the first NIC's wins, and who comes in by the second is answered there.
#[test]
fn of_two_default_routes_the_first_nics_wins() {
    inside("of_two_default_routes_the_first_nics_wins", async |site: Site| {
        site.nic(1, &["192.0.2.1/24"]);
        site.nic(2, &["10.1.0.1/16"]);
        let _one = site.dnsmasq(1, &["--port=0", "--dhcp-range=192.0.2.10,192.0.2.10,1h"]);
        let _two = site.dnsmasq(2, &["--dhcp-range=10.1.0.10,10.1.0.10,1h"]);
        let network = site.network(automatic());
        network.has("nic1", "192.0.2.10/24").await;
        network.has("nic2", "10.1.0.10/16").await;
        let out = || sh("ip route get 198.51.100.7");
        assert!(out().contains("via 192.0.2.1 dev nic1"), "{}", out());
        let back = sh("ip route get 198.51.100.7 from 10.1.0.10");
        assert!(back.contains("via 10.1.0.1 dev nic2"), "{back}");

        // Settings say which is first.
        let second = InterfaceConfig {
            matches: LinkMatch::Mac(Mac([2, 0, 0, 0, 0, 2])),
            ..InterfaceConfig::automatic("nic2")
        };
        network.host.configure(HostConfig { interfaces: vec![second], dns: vec![] });
        network.until("the second", |_| out().contains("via 10.1.0.1 dev nic2")).await;
    });
}

#[test]
fn a_nic_that_comes_late_or_is_renamed_is_served() {
    inside("a_nic_that_comes_late_or_is_renamed_is_served", async |site: Site| {
        let mut network = site.network(automatic());
        tokio::time::sleep(Duration::from_millis(300)).await;
        site.nic(1, &["192.0.2.1/24"]);
        let _server = site.dnsmasq(1, &["--dhcp-range=192.0.2.10,192.0.2.10,1h"]);
        network.has("nic1", "192.0.2.10/24").await;
        sh("ip link set nic1 down; ip link set nic1 name ens7");
        network.has("ens7", "192.0.2.10/24").await;
        assert!(reaches("192.0.2.1"));
        // What someone takes away is put back.
        sh("ip addr flush dev ens7");
        tokio::time::sleep(Duration::from_millis(500)).await;
        network.has("ens7", "192.0.2.10/24").await;
        assert!(reaches("192.0.2.1"));
        sh("ip link del ens7");
        network.until("it is gone", |status| status.nics.is_empty()).await;
        assert!(network.events().iter().any(|event| event.contains("nic-gone")), "{:?}", network.events());
    });
}

#[test]
fn another_server_is_understood_and_its_lease_ends_with_it() {
    inside("another_server_is_understood_and_its_lease_ends_with_it", async |site: Site| {
        site.nic(1, &["192.0.2.1/24"]);
        let server = site.udhcpd(
            1,
            "start 192.0.2.30\nend 192.0.2.30\nmin_lease 1\nopt subnet 255.255.255.0\nopt router 192.0.2.1\nopt dns 192.0.2.1 192.0.2.2\nopt lease 8\noption domain example.net\noption mtu 1400",
        );
        let mut network = site.network(automatic());
        let nic = network.has("nic1", "192.0.2.30/24").await;
        assert_eq!(nic.dns.len(), 2);
        network.until("its MTU", |status| status.nics[0].mtu == 1400).await;
        // It is renewed in time.
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(sh("ip addr show dev nic1").contains("192.0.2.30/24"));
        drop(server);
        network
            .until("the lease has ended", |status| {
                status.nics[0].addresses.iter().all(|a| !a.address().is_ipv4())
            })
            .await;
        assert!(network.events().iter().any(|event| event.contains("dhcp-lost")), "{:?}", network.events());
        // And it is taken again when there is a server again.
        let _server = site.dnsmasq(1, &["--dhcp-range=192.0.2.40,192.0.2.40,1h"]);
        network.has("nic1", "192.0.2.40/24").await;
    });
}

#[test]
fn a_network_of_ipv6_alone_is_enough() {
    inside("a_network_of_ipv6_alone_is_enough", async |site: Site| {
        site.nic(1, &["fe80::1/64", "2001:db8::1/64"]);
        far("sysctl -qw net.ipv6.conf.all.forwarding=1");
        let _server = site.dnsmasq(
            1,
            &[
                "--enable-ra",
                "--dhcp-range=2001:db8::,ra-only,1h",
                "--dhcp-option=option6:dns-server,[2001:db8::53]",
            ],
        );
        let network = site.network(automatic());
        let nic = network.has("nic1", "2001:db8::ff:fe00:1/64").await;
        assert_eq!(nic.gateways, ["fe80::1".parse::<std::net::IpAddr>().unwrap()]);
        network
            .until("its resolver", |status| {
                status.dns == ["2001:db8::53".parse::<std::net::IpAddr>().unwrap()]
            })
            .await;
        assert!(reaches("2001:db8::1"));
    });
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
        let network = site.network(HostConfig { interfaces: vec![interface], dns: vec![] });
        network.has("nic1", "2001:db8:0:1ab::7/128").await;
        network.until("its gateway answers", |status| status.online()).await;
        assert!(reaches("2001:db8:ffff::1"));
    });
}
