//! DHCP (RFC 2131), DHCPv6 (RFC 8415) and router advertisements against the servers that providers run: dnsmasq and BusyBox's
//! udhcpd, each with what has been seen at a provider.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod namespace;

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use agent_core::network::{
    AddressSource, Cidr, Dhcp6, HostConfig, InterfaceConfig, LinkMatch, Mac, NetworkSettings, NetworkStatus,
    ProviderNetwork, RouteConfig,
};
use agent_net::dhcp6::{self, Dhcp6Event, Dhcp6Task};
use namespace::{Server, Site, far, inside, reaches, routes, sh};
use tokio::sync::mpsc;

fn automatic() -> HostConfig {
    HostConfig::default()
}

/// What the owner says, and nothing of the provider.
fn settings(interfaces: Vec<InterfaceConfig>) -> HostConfig {
    let owner = NetworkSettings { interfaces, dns: vec![] };
    HostConfig { owner, ..HostConfig::default() }
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
        let discovered = server.said().matches("DHCPDISCOVER").count();
        server.says("DHCPACK", 2).await;
        assert_eq!(server.said().matches("DHCPDISCOVER").count(), discovered, "{}", server.said());

        // A restart of the agent disturbs nothing; a reboot asks for the same address (RFC 2131, 4.4.2).
        drop(network);
        assert!(reaches("198.51.100.1"));
        sh("ip addr flush dev nic1; ip link set nic1 down");
        let network = site.network(automatic());
        network.has("nic1", "192.0.2.12/24").await;
        assert_eq!(server.said().matches("DHCPDISCOVER").count(), discovered, "{}", server.said());
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

/// The lease of a box at OVHcloud, in 2018: a /32 whose router lies elsewhere, without any other route.
#[test]
fn a_router_outside_the_lease_is_reached() {
    inside("a_router_outside_the_lease_is_reached", async |site: Site| {
        site.nic(1, &["54.36.112.1/23"]);
        far("ip addr add 213.186.33.99/32 dev lo; ip addr add 198.51.100.1/32 dev lo");
        let _server = site.dnsmasq(
            1,
            &[
                "--dhcp-range=54.36.113.86,54.36.113.86,24h",
                "--dhcp-option=1,255.255.255.255",
                "--dhcp-option=3,54.36.112.1",
                "--dhcp-option=6,213.186.33.99",
                "--dhcp-option=26,1500",
                "--dhcp-option=28",
                "--domain=openstacklocal",
            ],
        );
        let network = site.network(automatic());
        let nic = network.has("nic1", "54.36.113.86/32").await;
        assert_eq!((nic.source, nic.mtu), (AddressSource::Dhcp, 1500));
        assert_eq!(nic.gateways, ["54.36.112.1".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(routes("-4"), ["default via 54.36.112.1 dev nic1 metric 100 onlink"]);
        assert!(reaches("54.36.112.1") && reaches("213.186.33.99") && reaches("198.51.100.1"));
        assert_eq!(
            site.resolver().lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>(),
            ["nameserver 213.186.33.99", "search openstacklocal"]
        );
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

#[test]
fn an_mtu_goes_with_the_settings_that_it_came_by() {
    inside("an_mtu_goes_with_the_settings_that_it_came_by", async |site: Site| {
        site.nic(1, &["192.0.2.1/24"]);
        let _server = site.dnsmasq(1, &["--dhcp-range=192.0.2.10,192.0.2.10,1h"]);
        let narrow = InterfaceConfig { mtu: Some(1400), ..InterfaceConfig::automatic("nic1") };
        let network = site.network(settings(vec![narrow]));
        network.until("the settings' MTU", |status| status.online() && status.nics[0].mtu == 1400).await;
        network.host.configure(automatic());
        network.until("the NIC's own", |status| status.nics[0].mtu == 1500).await;
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
        network.host.configure(settings(vec![second]));
        network.until("the second", |_| out().contains("via 10.1.0.1 dev nic2")).await;
    });
}

/// As at DigitalOcean: a public NIC that also has the anchor address, at which arrives what is sent to a reserved
/// one, and a NIC in a private network whose gateway leads nowhere else.
#[test]
fn a_public_an_anchor_and_a_private_address_of_the_providers() {
    inside("a_public_an_anchor_and_a_private_address_of_the_providers", async |site: Site| {
        site.nic(1, &["203.0.113.1/24", "10.17.0.1/16"]);
        site.nic(2, &["10.132.0.1/16"]);
        // Somebody elsewhere, who comes by the public router.
        far("ip addr add 198.51.100.1/32 dev lo");
        let public = ["203.0.113.211", "10.17.0.7"];
        for own in public {
            far(&format!("ip route add {own} dev srv1 src 198.51.100.1"));
        }
        let _names = site.dnsmasq(1, &[]);
        // It would name the private network's gateway as router.
        let private = site.dnsmasq(2, &["--port=0", "--dhcp-range=10.132.0.10,10.132.0.10,1h"]);
        let via = "203.0.113.1".parse().unwrap();
        let route =
            RouteConfig { to: Cidr::default_route(via), via: Some(via), on_link: false, metric: None };
        let nic = |last: u8, addresses: &[&str], routes: Vec<RouteConfig>| InterfaceConfig {
            matches: LinkMatch::Mac(Mac([2, 0, 0, 0, 0, last])),
            dhcp4: false,
            addresses: addresses.iter().map(|own| own.parse().unwrap()).collect(),
            routes,
            ..InterfaceConfig::automatic("")
        };
        let provider = ProviderNetwork {
            interfaces: vec![
                nic(1, &["203.0.113.211/24", "10.17.0.7/16"], vec![route]),
                nic(2, &["10.132.255.113/16"], vec![]),
            ],
            dns: vec!["198.51.100.1".parse().unwrap()],
            ..ProviderNetwork::default()
        };
        let network = site.network(HostConfig { provider, ..HostConfig::default() });
        network.has("nic2", "10.132.255.113/16").await;
        network.until("its gateway answers", NetworkStatus::online).await;

        let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (own, other) = (stream.local_addr().unwrap().ip(), stream.peer_addr().unwrap().ip());
                // Who has gone is not answered.
                let _ = write!(stream, "{own} to {other}");
            }
        });
        let answered = |own: &str| far(&format!("busybox nc -w 5 {own} 8080 </dev/null"));
        // Also when it is seen that the private network leads nowhere.
        for wait in [0, 35] {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            let status = network.until("it is online", NetworkStatus::online).await;
            let addresses = status.nics.iter().map(|nic| {
                let addresses: Vec<String> = nic.addresses.iter().map(Cidr::to_string).collect();
                format!("{} {:?} {}", nic.name, nic.source, addresses.join(" "))
            });
            assert_eq!(
                addresses.collect::<Vec<_>>(),
                ["nic1 Provider 10.17.0.7/16 203.0.113.211/24", "nic2 Provider 10.132.255.113/16"]
            );
            assert!(status.nics.iter().all(|nic| nic.problem.is_none()), "{status:?}");
            assert_eq!(routes("-4"), ["default via 203.0.113.1 dev nic1 metric 100"]);
            for own in public {
                assert_eq!(answered(own), format!("{own} to 198.51.100.1"));
            }
            assert_eq!(answered("10.132.255.113"), "10.132.255.113 to 10.132.0.1");
        }
        assert!(!private.said().contains("DHCPDISCOVER"), "{}", private.said());
        let begun = sh("ip route get 198.51.100.1");
        assert!(begun.contains("src 203.0.113.211"), "what the box begins has its public address: {begun}");
        assert!(reaches("198.51.100.1"));
        assert_eq!(
            site.resolver().lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>(),
            ["nameserver 198.51.100.1"]
        );
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

/// A router that leads out and has DHCPv6 asked for addresses; no IPv4 at all.
fn managed(site: &Site) -> Server {
    // Its address on the link is the one given to it, and no other.
    far("sysctl -qw net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.all.forwarding=1");
    site.nic(1, &["fe80::1/64", "2001:db8::1/64"]);
    far("ip addr add 2001:db8:ffff::1/128 dev lo");
    site.dnsmasq(
        1,
        &[
            "--enable-ra",
            "--dhcp-range=2001:db8::10,2001:db8::10,64,10m",
            "--dhcp-option=option6:dns-server,[2001:db8::53]",
            "--dhcp-option=option6:domain-search,example.org",
        ],
    )
}

/// Whether the box has a way out, and what only DHCPv6 tells of [`managed`].
fn told_by_dhcpv6(status: &NetworkStatus) -> bool {
    status.online() && status.search == ["example.org"]
}

#[test]
fn a_network_of_ipv6_alone_with_addresses_by_dhcpv6_is_enough() {
    inside("a_network_of_ipv6_alone_with_addresses_by_dhcpv6_is_enough", async |site: Site| {
        let server = managed(&site);
        let mut network = site.network(automatic());
        network.has("nic1", "2001:db8::10/128").await;
        let status = network.until("a way out", told_by_dhcpv6).await;
        let nic = &status.nics[0];
        assert_eq!((nic.source, nic.problem.as_deref()), (AddressSource::Dhcp, None));
        let addresses: Vec<String> = nic.addresses.iter().map(Cidr::to_string).collect();
        assert_eq!(
            addresses,
            ["2001:db8::10/128"],
            "the prefix is not for addresses of the box's own making"
        );
        assert_eq!(nic.gateways, ["fe80::1".parse::<std::net::IpAddr>().unwrap()]);
        let way = sh("ip -6 route show default");
        assert!(way.contains("default via fe80::1 dev nic1 proto ra"), "{way}");
        assert_eq!(
            site.resolver().lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>(),
            ["nameserver 2001:db8::53", "search example.org"]
        );
        assert!(reaches("2001:db8:ffff::1"), "the router leads on");
        assert!(server.said().contains("DHCPSOLICIT"), "{}", server.said());
        assert_eq!(network.events(), ["nic1 dhcp-bound: address 2001:db8::10 from DHCPv6"]);
    });
}

#[test]
fn a_restart_of_the_agent_leaves_what_dhcpv6_gave() {
    inside("a_restart_of_the_agent_leaves_what_dhcpv6_gave", async |site: Site| {
        let server = managed(&site);
        let network = site.network(automatic());
        network.until("a way out", told_by_dhcpv6).await;
        assert!(reaches("2001:db8:ffff::1"));
        drop(network);
        let solicited = server.said().matches("DHCPSOLICIT").count();
        let mut network = site.network(automatic());
        network.until("the same again", told_by_dhcpv6).await;
        assert!(reaches("2001:db8:ffff::1"));
        assert_eq!(server.said().matches("DHCPSOLICIT").count(), solicited, "{}", server.said());
        assert_eq!(network.events(), [""; 0], "it was never without its address");
    });
}

/// What a DHCPv6 client on `nic1` says, one after another.
fn ask6(
    wanted: Dhcp6,
    kept: Option<(dhcp6::Lease, bool)>,
) -> (Dhcp6Task, mpsc::UnboundedReceiver<Dhcp6Event>) {
    let index = sh("cat /sys/class/net/nic1/ifindex 2>/dev/null || ip -o link show nic1 | cut -d: -f1");
    let identity = dhcp6::Identity { mac: Mac([2, 0, 0, 0, 0, 1]), wanted };
    let (tell, said) = mpsc::unbounded_channel();
    let report = move |event| drop(tell.send(event));
    let task = Dhcp6Task::start("nic1".to_owned(), index.trim().parse().unwrap(), identity, kept, report);
    task.carrier(true);
    (task, said)
}

/// The next lease that is to be used.
async fn used(said: &mut mpsc::UnboundedReceiver<Dhcp6Event>) -> dhcp6::Lease {
    let next = async {
        loop {
            if let Dhcp6Event::Use(lease) = said.recv().await.expect("the client runs") {
                return lease;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), next).await.expect("a lease")
}

#[test]
fn addresses_and_resolvers_come_by_dhcpv6() {
    inside("addresses_and_resolvers_come_by_dhcpv6", async |site: Site| {
        site.nic(1, &["fe80::1/64", "2001:db8::1/64"]);
        sh("ip link set nic1 up");
        let options = [
            "--dhcp-option=option6:dns-server,[2001:db8::53]",
            "--dhcp-option=option6:domain-search,example.org",
        ];
        let addresses = [&["--dhcp-range=2001:db8::10,2001:db8::10,64,10m"], &options[..]].concat();
        let server = site.dnsmasq(1, &addresses);
        let (task, mut said) = ask6(Dhcp6::Stateful, None);
        let lease = used(&mut said).await;
        let own: std::net::Ipv6Addr = "2001:db8::10".parse().unwrap();
        assert_eq!(
            lease.addresses.iter().map(|given| (given.address, given.valid)).collect::<Vec<_>>(),
            [(own, 600)]
        );
        assert_eq!(lease.dns, ["2001:db8::53".parse::<std::net::Ipv6Addr>().unwrap()]);
        assert_eq!(lease.search, ["example.org"]);
        assert!((1..=lease.rebind).contains(&lease.renew) && lease.rebind < 600, "{lease:?}");
        drop(task);

        // After a reboot it is asked about, not for.
        let solicited = server.said().matches("DHCPSOLICIT").count();
        let (task, mut said) = ask6(Dhcp6::Stateful, Some((lease.clone(), false)));
        assert_eq!(used(&mut said).await, lease);
        server.says("DHCPCONFIRM", 1).await;
        assert_eq!(server.said().matches("DHCPSOLICIT").count(), solicited, "{}", server.said());
        drop(task);

        // What is due is renewed at its server.
        let due = dhcp6::Lease { renew: 1, ..lease.clone() };
        let (task, mut said) = ask6(Dhcp6::Stateful, Some((due, false)));
        used(&mut said).await;
        assert_eq!(used(&mut said).await.addresses[0].valid, 600);
        assert!(server.said().contains("DHCPRENEW"), "{}", server.said());
        drop((task, server));

        // Another network: the address is wrong there.
        far("ip addr flush dev srv1 scope global; ip addr add 2001:db8:9::1/64 dev srv1 nodad");
        let server = site.dnsmasq(1, &["--dhcp-range=2001:db8:9::20,2001:db8:9::20,64,10m"]);
        let (task, mut said) = ask6(Dhcp6::Stateful, Some((lease_of("2001:db8::10"), true)));
        let found = used(&mut said).await;
        assert_eq!(found.addresses[0].address, "2001:db8:9::20".parse::<std::net::Ipv6Addr>().unwrap());
        drop((task, server));

        // Resolvers alone.
        let stateless = [&["--dhcp-range=2001:db8:9::,ra-stateless"], &options[..]].concat();
        let server = site.dnsmasq(1, &stateless);
        let (_task, mut said) = ask6(Dhcp6::Stateless, None);
        let lease = used(&mut said).await;
        assert_eq!((lease.addresses.len(), lease.dns.len()), (0, 1));
        assert!(server.said().contains("DHCPINFORMATION-REQUEST"), "{}", server.said());
    });
}

/// A lease of this address, as one is kept.
fn lease_of(address: &str) -> dhcp6::Lease {
    let address = dhcp6::message::Address { address: address.parse().unwrap(), preferred: 600, valid: 600 };
    let server = vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 99];
    dhcp6::Lease { server, addresses: vec![address], renew: 300, rebind: 480, ..dhcp6::Lease::default() }
}
