//! Messages: those the box sends, and what it takes from an answer.
//!
//! Invariant: an option that makes no sense is passed over and does not cost the whole answer, and no
//! text from a server reaches a file unless it is a plain domain name.

use std::net::Ipv4Addr;

use agent_core::network::{Cidr, Mac};
use dhcproto::v4::{self, DhcpOption, Encodable, Encoder, MessageType, Opcode, OptionCode};

use super::lease::{INFINITE, Lease};

/// Largest message the box takes: an Ethernet frame without its IP and UDP headers.
const MAX_MESSAGE: u16 = 1472;
/// Seconds of a lease whose answer names none, against RFC 2131.
const DEFAULT_SECONDS: u32 = 3600;
/// No lease is taken to be shorter, so that a broken server is not asked without end.
const LEAST_SECONDS: u32 = 20;
/// Where the options begin, behind the magic number.
const OPTIONS: usize = 240;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Any address; the one held before is preferred.
    Discover {
        /// Option 50.
        preferred: Option<Ipv4Addr>,
    },
    /// The address offered by this server.
    Select {
        /// Option 50.
        address: Ipv4Addr,
        /// Option 54.
        server: Ipv4Addr,
    },
    /// The address held before a reboot.
    Reboot {
        /// Option 50.
        address: Ipv4Addr,
    },
    /// More time for the address in use.
    Extend {
        /// `ciaddr`.
        address: Ipv4Addr,
    },
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Hardware address.
    pub mac: Mac,
    /// Host name told to the server.
    pub hostname: Option<String>,
}

/// A message's bytes. `secs` is how long the box has been asking.
pub fn build(identity: &Identity, xid: u32, secs: u16, request: Request) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let ciaddr = if let Request::Extend { address } = request { address } else { none };
    let mut message = v4::Message::new_with_id(xid, ciaddr, none, none, none, &identity.mac.0);
    message.set_secs(secs);
    let options = message.opts_mut();
    let kind = match request {
        Request::Discover { .. } => MessageType::Discover,
        _ => MessageType::Request,
    };
    options.insert(DhcpOption::MessageType(kind));
    let mut client_id = vec![1];
    client_id.extend(identity.mac.0);
    options.insert(DhcpOption::ClientIdentifier(client_id));
    match request {
        Request::Discover { preferred: Some(address) } | Request::Reboot { address } => {
            options.insert(DhcpOption::RequestedIpAddress(address));
        }
        Request::Select { address, server } => {
            options.insert(DhcpOption::RequestedIpAddress(address));
            options.insert(DhcpOption::ServerIdentifier(server));
        }
        Request::Discover { preferred: None } | Request::Extend { .. } => {}
    }
    options.insert(DhcpOption::MaxMessageSize(MAX_MESSAGE));
    if let Some(hostname) = &identity.hostname {
        options.insert(DhcpOption::Hostname(hostname.clone()));
    }
    options.insert(DhcpOption::ParameterRequestList(vec![
        OptionCode::SubnetMask,
        // Before the router, as RFC 3442 asks.
        OptionCode::ClasslessStaticRoute,
        OptionCode::Router,
        OptionCode::DomainNameServer,
        OptionCode::Hostname,
        OptionCode::DomainName,
        OptionCode::InterfaceMtu,
        OptionCode::DomainSearch,
        OptionCode::AddressLeaseTime,
        OptionCode::Renewal,
        OptionCode::Rebinding,
    ]));
    let mut bytes = Vec::with_capacity(v4::MIN_PACKET_SIZE);
    let encoded = message.encode(&mut Encoder::new(&mut bytes));
    debug_assert!(encoded.is_ok(), "a vector takes all");
    // Relays and servers may drop what is shorter than BOOTP's 300 bytes (RFC 1542, section 2.1).
    bytes.resize(bytes.len().max(v4::MIN_PACKET_SIZE), 0);
    bytes
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An address could be had.
    Offer(Lease),
    /// It is given.
    Ack(Lease),
    /// It is refused.
    Nak {
        /// Which server says so, if it says.
        server: Option<Ipv4Addr>,
    },
}

/// Reads an answer to the message `xid` of `mac`; none for everything else.
pub fn parse(bytes: &[u8], mac: Mac, xid: u32) -> Option<Answer> {
    let message = v4::borrowed::Message::new(bytes).ok()?;
    let ours = message.opcode() == Opcode::BootReply
        && message.xid() == xid
        && message.hlen() == 6
        && bytes.get(28..34)? == mac.0
        && bytes.get(OPTIONS - 4..OPTIONS)? == v4::MAGIC;
    if !ours {
        return None;
    }
    let options: Vec<DhcpOption> = v4::borrowed::DhcpOptionIterator::new(&bytes[OPTIONS..])
        .filter_map(|option| option.into_option().ok())
        .collect();
    let kind = options.iter().find_map(|option| match option {
        DhcpOption::MessageType(kind) => Some(*kind),
        _ => None,
    })?;
    let server = options.iter().find_map(|option| match option {
        DhcpOption::ServerIdentifier(server) => Some(*server),
        _ => None,
    });
    match kind {
        MessageType::Nak => Some(Answer::Nak { server }),
        MessageType::Offer | MessageType::Ack => {
            let next = Some(message.siaddr()).filter(|address| !address.is_unspecified());
            let lease = lease(message.yiaddr(), server.or(next)?, &options)?;
            Some(if kind == MessageType::Offer { Answer::Offer(lease) } else { Answer::Ack(lease) })
        }
        _ => None,
    }
}

fn lease(address: Ipv4Addr, server: Ipv4Addr, options: &[DhcpOption]) -> Option<Lease> {
    let unusable =
        address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback();
    if unusable {
        return None;
    }
    let mut lease = Lease {
        address,
        prefix: classful(address),
        server,
        seconds: DEFAULT_SECONDS,
        renew: 0,
        rebind: 0,
        routers: Vec::new(),
        routes: None,
        dns: Vec::new(),
        search: Vec::new(),
        hostname: None,
        mtu: None,
    };
    let (mut renew, mut rebind, mut domain) = (None, None, None);
    for option in options {
        match option {
            DhcpOption::SubnetMask(mask) => lease.prefix = prefix(*mask).unwrap_or(lease.prefix),
            DhcpOption::AddressLeaseTime(seconds) => lease.seconds = (*seconds).max(LEAST_SECONDS),
            DhcpOption::Renewal(seconds) => renew = Some(*seconds),
            DhcpOption::Rebinding(seconds) => rebind = Some(*seconds),
            DhcpOption::Router(routers) => lease.routers = hosts(routers),
            DhcpOption::DomainNameServer(servers) => lease.dns = hosts(servers),
            DhcpOption::Hostname(name) => lease.hostname = domain_name(name),
            DhcpOption::DomainName(name) => domain = domain_name(name),
            DhcpOption::DomainSearch(names) => {
                lease.search = names.iter().filter_map(|name| domain_name(&name.to_string())).collect();
            }
            DhcpOption::InterfaceMtu(mtu) => lease.mtu = Some(*mtu),
            DhcpOption::ClasslessStaticRoute(routes) => {
                let cidr = |net: Ipv4Addr, length| Cidr::new(net, length);
                lease.routes = Some(
                    routes
                        .iter()
                        .filter_map(|(to, via)| Some((cidr(to.addr(), to.prefix_len())?, *via)))
                        .collect(),
                );
            }
            _ => {}
        }
    }
    if lease.search.is_empty() {
        lease.search.extend(domain);
    }
    (lease.renew, lease.rebind) = times(lease.seconds, renew, rebind);
    Some(lease)
}

/// T1 and T2: those given if they are in order, else a half and seven eighths (RFC 2131, 4.4.5).
fn times(seconds: u32, renew: Option<u32>, rebind: Option<u32>) -> (u32, u32) {
    if seconds == INFINITE {
        return (INFINITE, INFINITE);
    }
    let rebind = rebind.filter(|t| (2..seconds).contains(t)).unwrap_or(seconds - seconds / 8);
    let renew = renew.filter(|t| (1..rebind).contains(t)).unwrap_or((seconds / 2).min(rebind - 1));
    (renew, rebind)
}

fn hosts(addresses: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
    let unusable = |a: &Ipv4Addr| a.is_unspecified() || a.is_broadcast() || a.is_multicast();
    addresses.iter().copied().filter(|address| !unusable(address)).collect()
}

fn prefix(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    (bits.leading_ones() + bits.trailing_zeros() == 32).then_some(bits.leading_ones() as u8)
}

/// The prefix length of an address without a mask, from before there were masks.
fn classful(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// A domain name that is safe to write into a file: RFC 1123, in lower case, without its last dot.
pub(crate) fn domain_name(text: &str) -> Option<String> {
    let text = text.trim_end_matches(['\0', '.']).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (text.len() <= 253 && text.split('.').all(label)).then_some(text)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
