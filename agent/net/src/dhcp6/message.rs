//! Messages: those the box sends, and what it takes from an answer.
//!
//! Invariant: an answer that is taken is to the question asked, by a server that names itself, and no text
//! of it reaches a file unless it is a plain domain name.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use agent_core::network::{Cidr, Dhcp6, LinkSettings, Mac};
use dhcproto::v6::{DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, ORO, OptionCode, Status};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use serde::{Deserialize, Serialize};

use crate::dhcp::lease::Ages;
use crate::dhcp::message::domain_name;

/// The time of what never ends.
pub const INFINITE: u32 = u32::MAX;
/// Most addresses of an answer.
const MOST: usize = 16;
/// Hardware type of Ethernet (IANA).
const ETHERNET: u16 = 1;
/// A DUID made of the hardware address alone (RFC 8415, section 11.4).
const DUID_LL: u16 = 3;
/// Longest DUID of a server (RFC 8415, section 11.1).
const LONGEST_DUID: usize = 130;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Hardware address.
    pub mac: Mac,
    /// What for.
    pub wanted: Dhcp6,
}

impl Identity {
    /// The box's name for itself on this NIC: it stays over restarts and new systems.
    fn duid(&self) -> Vec<u8> {
        [&DUID_LL.to_be_bytes()[..], &ETHERNET.to_be_bytes(), &self.mac.0].concat()
    }

    /// The name of the NIC's association: the part of the hardware address that differs.
    fn association(&self) -> u32 {
        let [_, _, a, b, c, d] = self.mac.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

/// An address and its times, in seconds from when it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub address: Ipv6Addr,
    /// Until it is used no more for what is new.
    pub preferred: u32,
    /// Until it ends; [`INFINITE`] for never.
    pub valid: u32,
}

/// What a server gives, kept on data so that the same is asked for after a reboot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The server's name for itself.
    pub server: Vec<u8>,
    /// Addresses; none where resolvers alone were wanted.
    pub addresses: Vec<Address>,
    /// Seconds until they are to be renewed at their server.
    pub renew: u32,
    /// Seconds until any server is asked.
    pub rebind: u32,
    /// Resolvers.
    pub dns: Vec<Ipv6Addr>,
    /// Search domains.
    pub search: Vec<String>,
}

impl Lease {
    /// Seconds until the last address ends; [`INFINITE`] where one never does, and where there is none.
    pub fn seconds(&self) -> u32 {
        self.addresses.iter().map(|address| address.valid).max().unwrap_or(INFINITE)
    }

    /// What the link should have by it. Each address stands alone: what else is on the link is told by
    /// routers.
    pub fn settings(&self) -> LinkSettings {
        let own = |given: &Address| Cidr::new(IpAddr::V6(given.address), 128);
        let addresses: BTreeSet<Cidr> = self.addresses.iter().filter_map(own).collect();
        LinkSettings { addresses, ..LinkSettings::default() }
    }
}

impl Ages for Lease {
    fn aged(&self, elapsed: u64) -> Option<Lease> {
        let elapsed = u32::try_from(elapsed).unwrap_or(INFINITE);
        let left =
            |seconds: u32| if seconds == INFINITE { INFINITE } else { seconds.saturating_sub(elapsed) };
        let mut lease = self.clone();
        for given in &mut lease.addresses {
            (given.preferred, given.valid) = (left(given.preferred), left(given.valid));
        }
        lease.addresses.retain(|given| given.valid > 0);
        (lease.renew, lease.rebind) = (left(lease.renew), left(lease.rebind));
        (!lease.addresses.is_empty() || self.addresses.is_empty()).then_some(lease)
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Who has addresses? Those held before are preferred.
    Solicit(Option<&'a Lease>),
    /// The addresses that this server offered.
    Request(&'a Lease),
    /// Are these still right on this link?
    Confirm(&'a Lease),
    /// More time, from its server.
    Renew(&'a Lease),
    /// More time, from anyone.
    Rebind(&'a Lease),
    /// Which resolvers are there?
    Information,
}

/// A message's bytes. `hundredths` of a second is how long the box has been asking.
pub fn build(identity: &Identity, xid: u32, hundredths: u16, request: &Request<'_>) -> Vec<u8> {
    let (kind, lease) = match request {
        Request::Solicit(lease) => (MessageType::Solicit, *lease),
        Request::Request(lease) => (MessageType::Request, Some(*lease)),
        Request::Confirm(lease) => (MessageType::Confirm, Some(*lease)),
        Request::Renew(lease) => (MessageType::Renew, Some(*lease)),
        Request::Rebind(lease) => (MessageType::Rebind, Some(*lease)),
        Request::Information => (MessageType::InformationRequest, None),
    };
    let mut message = Message::new(kind);
    message.set_xid_num(xid & 0x00ff_ffff);
    let options = message.opts_mut();
    options.insert(DhcpOption::ClientId(identity.duid()));
    options.insert(DhcpOption::ElapsedTime(hundredths));
    if let (Request::Request(lease) | Request::Renew(lease), true) = (request, lease.is_some()) {
        options.insert(DhcpOption::ServerId(lease.server.clone()));
    }
    if *request != Request::Information {
        let mut inner = DhcpOptions::new();
        for given in lease.iter().flat_map(|lease| &lease.addresses) {
            // The server decides on the times (RFC 8415, section 21.6).
            let (preferred_life, valid_life) = (0, 0);
            let held = IAAddr { addr: given.address, preferred_life, valid_life, opts: DhcpOptions::new() };
            inner.insert(DhcpOption::IAAddr(held));
        }
        options.insert(DhcpOption::IANA(IANA { id: identity.association(), t1: 0, t2: 0, opts: inner }));
    }
    if matches!(request, Request::Solicit(_)) {
        options.insert(DhcpOption::RapidCommit);
    }
    if !matches!(request, Request::Confirm(_)) {
        let opts = vec![OptionCode::DomainNameServers, OptionCode::DomainSearchList];
        options.insert(DhcpOption::ORO(ORO { opts }));
    }
    let mut bytes = Vec::new();
    let encoded = message.encode(&mut Encoder::new(&mut bytes));
    debug_assert!(encoded.is_ok(), "a vector takes all");
    bytes
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This could be had; the preference is 255 where no other server is to be waited for.
    Advertise(Lease, u8),
    /// It is given.
    Reply {
        /// What is.
        lease: Lease,
        /// Whether it answers a solicitation at once (rapid commit).
        rapid: bool,
        /// Whether it says anything of the addresses.
        associated: bool,
    },
    /// It is not, and why; by the server of this name.
    Refused(Status, Vec<u8>),
}

/// Reads an answer to the message `xid` of `identity`; none for everything else.
pub fn parse(bytes: &[u8], identity: &Identity, xid: u32) -> Option<Answer> {
    let message = Message::decode(&mut Decoder::new(bytes)).ok()?;
    let options = message.opts();
    let kind = message.msg_type();
    let ours = message.xid_num() == xid & 0x00ff_ffff
        && matches!(kind, MessageType::Advertise | MessageType::Reply)
        && options.iter().any(|option| *option == DhcpOption::ClientId(identity.duid()));
    if !ours {
        return None;
    }
    let mut lease = Lease { renew: INFINITE, rebind: INFINITE, ..Lease::default() };
    let (mut preference, mut rapid, mut associated, mut status) = (0, false, false, None);
    for option in options.iter() {
        match option {
            DhcpOption::ServerId(name) if (1..=LONGEST_DUID).contains(&name.len()) => {
                lease.server.clone_from(name);
            }
            DhcpOption::Preference(value) => preference = *value,
            DhcpOption::RapidCommit => rapid = true,
            DhcpOption::StatusCode(code) if code.status != Status::Success => {
                status = Some(code.status);
            }
            DhcpOption::DomainNameServers(servers) => {
                let usable = |a: &&Ipv6Addr| !a.is_unspecified() && !a.is_multicast() && !a.is_loopback();
                // One that is link-local would need its link's name in the resolver's file.
                let usable = servers.iter().filter(usable).filter(|a| !a.is_unicast_link_local());
                lease.dns = usable.take(MOST).copied().collect();
            }
            DhcpOption::DomainSearchList(names) => {
                let plain = names.iter().filter_map(|name| domain_name(&name.to_string()));
                lease.search = plain.take(MOST).collect();
            }
            DhcpOption::IANA(association) if association.id == identity.association() => {
                associated = true;
                status = status.or(take(&mut lease, association));
            }
            _ => {}
        }
    }
    if lease.server.is_empty() {
        return None;
    }
    match status {
        Some(status) => Some(Answer::Refused(status, lease.server)),
        None if kind == MessageType::Advertise => {
            (!lease.addresses.is_empty()).then_some(Answer::Advertise(lease, preference))
        }
        None => Some(Answer::Reply { lease, rapid, associated }),
    }
}

/// Takes the addresses of an association; gives what is wrong with it.
fn take(lease: &mut Lease, association: &IANA) -> Option<Status> {
    let mut status = None;
    for option in association.opts.iter() {
        match option {
            DhcpOption::StatusCode(code) if code.status != Status::Success => status = Some(code.status),
            DhcpOption::IAAddr(given) => {
                let own = given.addr;
                let unusable = own.is_unspecified()
                    || own.is_multicast()
                    || own.is_loopback()
                    || own.is_unicast_link_local()
                    || given.valid_life == 0
                    || given.preferred_life > given.valid_life;
                let known = lease.addresses.iter().any(|known| known.address == own);
                if !unusable && !known && lease.addresses.len() < MOST {
                    let (preferred, valid) = (given.preferred_life, given.valid_life);
                    lease.addresses.push(Address { address: own, preferred, valid });
                }
            }
            _ => {}
        }
    }
    (lease.renew, lease.rebind) = times(lease, association.t1, association.t2);
    status.filter(|_| lease.addresses.is_empty())
}

/// T1 and T2: those given where they are in order, else a half and four fifths of the shortest preferred time
/// (RFC 8415, section 21.4).
fn times(lease: &Lease, t1: u32, t2: u32) -> (u32, u32) {
    let shortest = lease.addresses.iter().map(|given| given.preferred.max(1)).min().unwrap_or(INFINITE);
    if shortest == INFINITE && t1 == 0 {
        return (INFINITE, INFINITE);
    }
    if t1 > 0 && t1 <= t2 {
        return (t1, t2);
    }
    let (half, most) = (shortest / 2, (u64::from(shortest) * 4 / 5) as u32);
    (half.max(1), most.max(half).max(1))
}

#[cfg(test)]
pub(super) mod tests {
    use dhcproto::v6::StatusCode;

    use super::*;

    pub(in super::super) const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    pub(in super::super) const SERVER: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 99];

    pub(in super::super) fn identity() -> Identity {
        Identity { mac: MAC, wanted: Dhcp6::Stateful }
    }

    pub(in super::super) fn lease() -> Lease {
        let address = "2001:db8::7".parse().unwrap();
        Lease {
            server: SERVER.to_vec(),
            addresses: vec![Address { address, preferred: 100, valid: 200 }],
            renew: 50,
            rebind: 80,
            dns: vec!["2001:db8::53".parse().unwrap()],
            search: vec!["example.org".to_owned()],
        }
    }

    /// A server's message with these options, and those by which it is known.
    pub(in super::super) fn said(kind: MessageType, xid: u32, options: Vec<DhcpOption>) -> Vec<u8> {
        let mut message = Message::new(kind);
        message.set_xid_num(xid);
        message.opts_mut().insert(DhcpOption::ClientId(identity().duid()));
        message.opts_mut().insert(DhcpOption::ServerId(SERVER.to_vec()));
        options.into_iter().for_each(|option| message.opts_mut().insert(option));
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).unwrap();
        bytes
    }

    /// An association with addresses and their times.
    pub(in super::super) fn association(t1: u32, t2: u32, given: &[(&str, u32, u32)]) -> DhcpOption {
        let mut opts = DhcpOptions::new();
        for (address, preferred_life, valid_life) in given {
            let (addr, preferred_life, valid_life) = (address.parse().unwrap(), *preferred_life, *valid_life);
            opts.insert(DhcpOption::IAAddr(IAAddr {
                addr,
                preferred_life,
                valid_life,
                opts: DhcpOptions::new(),
            }));
        }
        DhcpOption::IANA(IANA { id: 1, t1, t2, opts })
    }

    pub(in super::super) fn refusal(status: Status) -> DhcpOption {
        let mut opts = DhcpOptions::new();
        opts.insert(DhcpOption::StatusCode(StatusCode { status, msg: "no".to_owned() }));
        DhcpOption::IANA(IANA { id: 1, t1: 0, t2: 0, opts })
    }

    #[test]
    fn what_is_asked_has_what_the_standard_wants() {
        let held = lease();
        for (request, kind, server, addresses) in [
            (Request::Solicit(None), MessageType::Solicit, false, Some(0)),
            (Request::Solicit(Some(&held)), MessageType::Solicit, false, Some(1)),
            (Request::Request(&held), MessageType::Request, true, Some(1)),
            (Request::Confirm(&held), MessageType::Confirm, false, Some(1)),
            (Request::Renew(&held), MessageType::Renew, true, Some(1)),
            (Request::Rebind(&held), MessageType::Rebind, false, Some(1)),
            (Request::Information, MessageType::InformationRequest, false, None),
        ] {
            let bytes = build(&identity(), 0xff12_3456, 7, &request);
            let message = Message::decode(&mut Decoder::new(&bytes)).unwrap();
            assert_eq!((message.msg_type(), message.xid_num()), (kind, 0x12_3456));
            let options: Vec<&DhcpOption> = message.opts().iter().collect();
            let has = |wanted: DhcpOption| options.contains(&&wanted);
            assert!(has(DhcpOption::ClientId(vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 1])), "{request:?}");
            assert!(has(DhcpOption::ElapsedTime(7)), "{request:?}");
            assert_eq!(has(DhcpOption::ServerId(SERVER.to_vec())), server, "{request:?}");
            let found = options.iter().find_map(|option| match option {
                DhcpOption::IANA(association) => Some(association.opts.iter().count()),
                _ => None,
            });
            assert_eq!(found, addresses, "{request:?}");
        }
    }

    #[test]
    fn answers_are_taken_only_where_they_are_ours() {
        let good = || vec![association(0, 0, &[("2001:db8::7", 100, 200)])];
        let bytes = said(MessageType::Advertise, 5, good());
        let Some(Answer::Advertise(found, 0)) = parse(&bytes, &identity(), 5) else { panic!() };
        assert_eq!((found.server.as_slice(), found.renew, found.rebind), (&SERVER[..], 50, 80));
        assert_eq!(parse(&bytes, &identity(), 6), None, "of another question");
        let other = Identity { mac: Mac([2, 0, 0, 0, 0, 2]), ..identity() };
        assert_eq!(parse(&bytes, &other, 5), None, "of another box");
        assert_eq!(parse(&bytes[..bytes.len() - 1], &identity(), 5), None);
        assert_eq!(parse(&said(MessageType::Advertise, 5, vec![]), &identity(), 5), None, "of nothing");
        assert_eq!(parse(&said(MessageType::Solicit, 5, good()), &identity(), 5), None);
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        let given = [
            ("ff02::1", 100, 200),
            ("fe80::7", 100, 200),
            ("::", 100, 200),
            ("2001:db8::8", 300, 200),
            ("2001:db8::9", 0, 0),
            ("2001:db8::7", 100, 200),
            ("2001:db8::7", 100, 200),
        ];
        let names = DhcpOption::DomainNameServers(
            ["fe80::53", "::1", "2001:db8::53"].map(|address| address.parse().unwrap()).to_vec(),
        );
        let bytes = said(MessageType::Reply, 5, vec![association(90, 80, &given), names]);
        let Some(Answer::Reply { lease: found, rapid: false, associated: true }) =
            parse(&bytes, &identity(), 5)
        else {
            panic!()
        };
        assert_eq!(found, Lease { search: vec![], ..lease() });
        let refused = said(MessageType::Reply, 5, vec![refusal(Status::NoBinding)]);
        let answer = Answer::Refused(Status::NoBinding, SERVER.to_vec());
        assert_eq!(parse(&refused, &identity(), 5), Some(answer));
    }

    #[test]
    fn times_are_in_order() {
        let with = |preferred| Lease {
            addresses: vec![Address { preferred, valid: INFINITE, ..lease().addresses[0] }],
            ..lease()
        };
        assert_eq!(times(&with(100), 10, 20), (10, 20));
        assert_eq!(times(&with(100), 0, 0), (50, 80));
        assert_eq!(times(&with(100), 30, 20), (50, 80));
        assert_eq!(times(&with(INFINITE), 0, 0), (INFINITE, INFINITE));
        assert_eq!(times(&with(0), 0, 0), (1, 1));
        assert_eq!(times(&with(INFINITE - 1), 0, 0), (2_147_483_647, 3_435_973_835));
    }

    #[test]
    fn a_lease_ages_and_ends() {
        let aged = lease().aged(60).unwrap();
        assert_eq!((aged.renew, aged.rebind, aged.seconds()), (0, 20, 140));
        assert_eq!(aged.addresses[0].preferred, 40);
        assert_eq!(lease().aged(200), None);
        let resolvers = Lease { addresses: vec![], ..lease() };
        assert!(resolvers.aged(u64::MAX).is_some(), "nothing of it ends");
    }
}
