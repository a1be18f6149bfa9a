//! What router advertisements tell that the kernel leaves to others: resolvers (RFC 8106), and whether
//! DHCPv6 is to be asked (RFC 4861, section 4.2).
//!
//! Only what comes from a link-local address is heard, which no router forwards.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use agent_core::network::Dhcp6;
use nix::sys::socket::sockopt::{BindToDevice, Ipv6MulticastHops};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket};
use tokio::net::UdpSocket;

const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
/// Bytes before the options of an advertisement (RFC 4861, section 4.2).
const HEADER: usize = 16;
const RDNSS: u8 = 25;
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Most servers taken of one advertisement.
const MOST: usize = 8;

/// Bits of an advertisement: addresses, or all the rest, are to be had by DHCPv6.
const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;

/// A server and how long it may be asked; zero takes it back.
pub(super) type Server = (IpAddr, Duration);

/// What a router tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advert {
    /// Resolvers.
    pub(super) servers: Vec<Server>,
    /// What DHCPv6 is to be asked for.
    pub(super) dhcp6: Option<Dhcp6>,
}

/// Hears advertisements on a link for as long as it runs, having asked for one. What they say goes to
/// `report`.
pub(super) async fn listen(link: String, index: u32, report: impl Fn(Advert)) -> io::Result<()> {
    let socket = open(&link)?;
    // Refused while the link is down: the kernel asks when it comes up, and the answer is for all.
    let solicitation = [SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    let _ = socket.send_to(&solicitation, SocketAddrV6::new(ALL_ROUTERS, 0, 0, index)).await;
    let mut buffer = vec![0; 1500];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        let SocketAddr::V6(from) = from else { continue };
        if !from.ip().is_unicast_link_local() {
            continue;
        }
        if let Some(advert) = advert(&buffer[..length]) {
            report(advert);
        }
    }
}

/// A raw ICMPv6 socket on one link; like a packet socket it does what a UDP socket's calls want.
fn open(link: &str) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6)?;
    setsockopt(&fd, BindToDevice, &link.into())?;
    // What has been forwarded is no solicitation (RFC 4861, section 6.1.1).
    setsockopt(&fd, Ipv6MulticastHops, &255)?;
    UdpSocket::from_std(fd.into())
}

/// What an ICMPv6 message tells, if it is an advertisement.
fn advert(message: &[u8]) -> Option<Advert> {
    let options = message.get(HEADER..).filter(|_| message[0] == ADVERTISEMENT)?;
    let dhcp6 = match message[5] {
        flags if flags & MANAGED != 0 => Some(Dhcp6::Stateful),
        flags if flags & OTHER != 0 => Some(Dhcp6::Stateless),
        _ => None,
    };
    Some(Advert { servers: servers(options), dhcp6 })
}

/// The servers in an advertisement's options.
fn servers(mut options: &[u8]) -> Vec<Server> {
    let mut servers = Vec::new();
    while let [kind, units, ..] = *options {
        let length = usize::from(units) * 8;
        let Some(option) = options.get(..length).filter(|option| !option.is_empty()) else { break };
        if kind == RDNSS && length >= 24 {
            let lifetime = u32::from_be_bytes([option[4], option[5], option[6], option[7]]);
            for address in option[8..].chunks_exact(16) {
                let bytes: [u8; 16] = address.try_into().unwrap_or_default();
                let address = Ipv6Addr::from(bytes);
                let usable = !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
                // One that is link-local would need its link's name in the resolver's file.
                if usable && !address.is_unicast_link_local() && servers.len() < MOST {
                    servers.push((IpAddr::V6(address), Duration::from_secs(lifetime.into())));
                }
            }
        }
        options = &options[length..];
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An advertisement with these options.
    fn advertisement(options: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![ADVERTISEMENT, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend(options.concat());
        message
    }

    fn rdnss(lifetime: u8, addresses: &[&str]) -> Vec<u8> {
        let mut option = vec![RDNSS, 1 + 2 * addresses.len() as u8, 0, 0, 0, 0, 0, lifetime];
        for address in addresses {
            option.extend(address.parse::<Ipv6Addr>().unwrap().octets());
        }
        option
    }

    fn check(message: &[u8], expect: &[(&str, u64)]) {
        let expect: Vec<Server> =
            expect.iter().map(|(a, s)| (a.parse().unwrap(), Duration::from_secs(*s))).collect();
        let told = advert(message).map(|advert| advert.servers).unwrap_or_default();
        assert_eq!(told, expect, "{message:?}");
    }

    #[test]
    fn servers_are_found_among_other_options() {
        let mtu = [5, 1, 0, 0, 0, 0, 5, 220];
        let option = rdnss(120, &["2620:fe::fe", "2620:fe::9"]);
        check(&advertisement(&[&mtu, &option]), &[("2620:fe::fe", 120), ("2620:fe::9", 120)]);
        check(&advertisement(&[&rdnss(0, &["2620:fe::fe"])]), &[("2620:fe::fe", 0)]);
        check(&advertisement(&[&rdnss(9, &["fe80::1", "ff02::1", "::", "::1"])]), &[]);
        check(&advertisement(&[&mtu]), &[]);
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        let good = advertisement(&[&rdnss(120, &["2620:fe::fe"])]);
        let mut other = good.clone();
        other[0] = SOLICITATION;
        check(&other, &[]);
        for length in 0..good.len() {
            check(&good[..length], &[]);
        }
        check(&advertisement(&[&[RDNSS, 0, 0, 0, 0, 0, 0, 0]]), &[]);
        check(&advertisement(&[&[RDNSS, 1, 0, 0, 0, 0, 0, 9]]), &[]);
        let many: Vec<u8> = (0..20).flat_map(|_| rdnss(1, &["2620:fe::fe"])).collect();
        assert_eq!(advert(&advertisement(&[&many])).unwrap().servers.len(), MOST);
    }

    #[test]
    fn routers_say_whether_dhcp_is_to_be_asked() {
        for (flags, expect) in [
            (0, None),
            (0x40, Some(Dhcp6::Stateless)),
            (0x80, Some(Dhcp6::Stateful)),
            (0xc0, Some(Dhcp6::Stateful)),
            (0x08, None),
        ] {
            let mut message = advertisement(&[]);
            message[5] = flags;
            assert_eq!(advert(&message).unwrap().dhcp6, expect, "{flags:#x}");
        }
    }
}
