//! A client against servers made of `dhcproto`, with a clock and dice of the tests' own.

use dhcproto::v4::{
    self, Decodable, Decoder, DhcpOption, Encodable, Encoder, MessageType, Opcode, OptionCode,
};

use super::*;
use agent_core::network::Mac;

const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

/// A client, its clock, and what it has to say.
struct Bench {
    client: Client,
    now: Duration,
    dice: u32,
}

impl Bench {
    fn new() -> Bench {
        let identity = Identity { mac: MAC, hostname: Some("box".to_owned()) };
        Bench { client: Client::new(identity), now: Duration::from_secs(100), dice: 7000 }
    }

    fn roll(&mut self) -> u32 {
        self.dice += 1000;
        self.dice
    }

    fn start(&mut self, kept: Option<Lease>) -> Vec<Action> {
        if let Some(lease) = kept {
            self.client.hold(self.now, lease, false);
        }
        let dice = self.roll();
        self.client.start(self.now, dice)
    }

    /// Lets time pass to the deadline.
    fn wait(&mut self) -> Vec<Action> {
        self.now = self.client.deadline().expect("it waits for something");
        let dice = self.roll();
        self.client.wake(self.now, dice)
    }

    fn receive(&mut self, bytes: &[u8]) -> Vec<Action> {
        let dice = self.roll();
        self.client.receive(self.now, bytes, dice)
    }

    /// Answers the last message sent.
    fn answer(&mut self, kind: MessageType, address: Ipv4Addr, seconds: u32) -> Vec<Action> {
        let bytes = reply(self.client.xid, kind, SERVER, address, seconds);
        self.receive(&bytes)
    }

    /// Comes by an address the long way.
    fn bind(&mut self, seconds: u32) {
        self.start(None);
        self.answer(MessageType::Offer, ADDRESS, seconds);
        let actions = self.answer(MessageType::Ack, ADDRESS, seconds);
        assert!(matches!(actions[..], [Action::Use(_), Action::Keep(_)]), "{actions:?}");
    }
}

fn reply(xid: u32, kind: MessageType, server: Ipv4Addr, address: Ipv4Addr, seconds: u32) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = v4::Message::new_with_id(xid, none, address, none, none, &MAC.0);
    message.set_opcode(Opcode::BootReply);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(server));
    if kind != MessageType::Nak {
        options.insert(DhcpOption::AddressLeaseTime(seconds));
        options.insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
    }
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

/// The one message among the actions.
fn sent(actions: &[Action]) -> (v4::Message, Destination) {
    let [Action::Send { bytes, to }] = actions else { panic!("not one message: {actions:?}") };
    assert!(bytes.len() >= 300, "shorter than BOOTP");
    (v4::Message::decode(&mut Decoder::new(bytes)).unwrap(), *to)
}

fn option(message: &v4::Message, code: OptionCode) -> Option<&DhcpOption> {
    message.opts().get(code)
}

fn is_discover(actions: &[Action]) -> bool {
    sent(actions).0.opts().has_msg_type(MessageType::Discover)
}

#[test]
fn the_long_way_to_an_address() {
    let mut bench = Bench::new();
    let (discover, to) = sent(&bench.start(None));
    assert_eq!(to, Destination::Link);
    assert!(discover.opts().has_msg_type(MessageType::Discover));
    assert_eq!(discover.chaddr(), MAC.0);
    assert_eq!(option(&discover, OptionCode::Hostname), Some(&DhcpOption::Hostname("box".to_owned())));
    assert!(bench.client.listens_on_link());

    bench.now += Duration::from_secs(2);
    let (request, to) = sent(&bench.answer(MessageType::Offer, ADDRESS, 3600));
    assert_eq!(to, Destination::Link);
    assert_eq!(request.xid(), discover.xid());
    assert_eq!(request.secs(), 2);
    assert_eq!(request.ciaddr(), Ipv4Addr::UNSPECIFIED);
    let wanted = option(&request, OptionCode::RequestedIpAddress);
    assert_eq!(wanted, Some(&DhcpOption::RequestedIpAddress(ADDRESS)));
    assert_eq!(option(&request, OptionCode::ServerIdentifier), Some(&DhcpOption::ServerIdentifier(SERVER)));

    let actions = bench.answer(MessageType::Ack, ADDRESS, 3600);
    let [Action::Use(used), Action::Keep(kept)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(used, kept);
    assert_eq!(
        (used.address, used.prefix, used.seconds, used.renew, used.rebind),
        (ADDRESS, 24, 3600, 1800, 3150)
    );
    assert!(!bench.client.listens_on_link());
    assert_eq!(bench.client.deadline(), Some(bench.now + Duration::from_secs(1800)));
}

#[test]
fn silence_is_met_with_patience() {
    let mut bench = Bench::new();
    let xid = sent(&bench.start(None)).0.xid();
    let mut last = bench.now;
    for seconds in [4, 8, 16, 32, 64, 64, 64] {
        let (message, _) = sent(&bench.wait());
        assert_eq!(message.xid(), xid);
        let pause = (bench.now - last).as_secs_f32();
        assert!((pause - seconds as f32).abs() <= 1.01, "{pause} instead of {seconds}");
        last = bench.now;
    }
}

#[test]
fn an_offer_that_is_never_acknowledged_is_let_go() {
    let mut bench = Bench::new();
    bench.start(None);
    bench.answer(MessageType::Offer, ADDRESS, 3600);
    for _ in 1..REQUEST_TRIES {
        assert!(sent(&bench.wait()).0.opts().has_msg_type(MessageType::Request));
    }
    assert!(is_discover(&bench.wait()));
}

#[test]
fn what_is_not_for_us_is_passed_over() {
    let mut bench = Bench::new();
    bench.start(None);
    let xid = bench.client.xid;
    let offer = reply(xid, MessageType::Offer, SERVER, ADDRESS, 3600);
    let damaged = |at: usize| {
        let mut bytes = offer.clone();
        bytes[at] ^= 0xff;
        bytes
    };
    for at in [0, 2, 4, 28, 236] {
        assert_eq!(bench.receive(&damaged(at)), [], "byte {at}");
    }
    for length in [0, 100, 239, 240, 242] {
        assert_eq!(bench.receive(&offer[..length]), [], "cut at {length}");
    }
    assert_eq!(bench.receive(&reply(xid, MessageType::Offer, SERVER, Ipv4Addr::UNSPECIFIED, 3600)), []);
    assert_eq!(bench.receive(&reply(xid, MessageType::Offer, SERVER, Ipv4Addr::BROADCAST, 3600)), []);
    assert_eq!(
        bench.receive(&reply(xid, MessageType::Ack, SERVER, ADDRESS, 3600)),
        [],
        "nothing was asked for"
    );
    assert!(!bench.receive(&offer).is_empty());
    assert_eq!(
        bench.receive(&reply(xid, MessageType::Ack, OTHER, ADDRESS, 3600)),
        [],
        "of a server not asked"
    );
    assert_eq!(
        bench.receive(&reply(xid, MessageType::Nak, OTHER, ADDRESS, 3600)),
        [],
        "of a server not asked"
    );
    assert!(!bench.receive(&reply(xid, MessageType::Ack, SERVER, ADDRESS, 3600)).is_empty());
}

#[test]
fn a_lease_is_renewed_at_its_server() {
    let mut bench = Bench::new();
    bench.bind(3600);
    let bound = bench.now;
    let (request, to) = sent(&bench.wait());
    assert_eq!(bench.now - bound, Duration::from_secs(1800));
    assert_eq!(to, Destination::From { address: ADDRESS, to: SERVER });
    assert_eq!(request.ciaddr(), ADDRESS);
    assert_eq!(option(&request, OptionCode::RequestedIpAddress), None);
    assert_eq!(option(&request, OptionCode::ServerIdentifier), None);
    let actions = bench.answer(MessageType::Ack, ADDRESS, 7200);
    assert!(matches!(&actions[..], [Action::Use(lease), Action::Keep(_)] if lease.seconds == 7200));
    assert_eq!(bench.client.deadline(), Some(bench.now + Duration::from_secs(3600)));
}

#[test]
fn a_silent_server_is_given_up_for_any_and_then_the_address() {
    let mut bench = Bench::new();
    bench.bind(3600);
    let bound = bench.now;
    let mut targets = Vec::new();
    let lost = loop {
        let actions = bench.wait();
        if let [Action::Drop(loss)] = actions[..] {
            break loss;
        }
        let (_, Destination::From { to, .. }) = sent(&actions) else { panic!("{actions:?}") };
        targets.push((to, (bench.now - bound).as_secs()));
    };
    assert_eq!(lost, Loss::Ended);
    assert_eq!((bench.now - bound).as_secs(), 3600);
    let renewals: Vec<_> = targets.iter().filter(|(to, _)| *to == SERVER).collect();
    assert_eq!(renewals.iter().map(|(_, at)| *at).collect::<Vec<_>>()[..3], [1800, 2475, 2812]);
    assert!(renewals.iter().all(|(_, at)| *at < 3150));
    let rebinds: Vec<_> = targets.iter().filter(|(to, _)| *to == Ipv4Addr::BROADCAST).collect();
    assert_eq!(rebinds[0].1, 3150);
    assert!(targets.windows(2).all(|pair| pair[1].1 - pair[0].1 >= 60 || pair[1].1 == 3150), "{targets:?}");
    assert!(is_discover(&bench.wait()), "then it begins again");
}

#[test]
fn any_server_may_take_a_lease_over() {
    let mut bench = Bench::new();
    bench.bind(3600);
    while bench.client.state != State::Rebinding {
        bench.wait();
    }
    let ack = reply(bench.client.xid, MessageType::Ack, OTHER, ADDRESS, 3600);
    let actions = bench.receive(&ack);
    assert!(matches!(&actions[..], [Action::Use(lease), Action::Keep(_)] if lease.server == OTHER));
}

#[test]
fn a_refused_renewal_takes_the_address_away() {
    let mut bench = Bench::new();
    bench.bind(3600);
    bench.wait();
    assert_eq!(bench.answer(MessageType::Nak, ADDRESS, 0), [Action::Drop(Loss::Refused)]);
    let refused = bench.now;
    assert!(is_discover(&bench.wait()));
    assert!(bench.now - refused >= AFTER_NAK, "a server that always refuses is not asked without end");
}

#[test]
fn the_address_of_an_earlier_boot_is_asked_for() {
    let kept = crate::dhcp::lease::tests::lease();
    let mut bench = Bench::new();
    let (request, to) = sent(&bench.start(Some(kept.clone())));
    assert_eq!(to, Destination::Link);
    assert!(request.opts().has_msg_type(MessageType::Request));
    let wanted = option(&request, OptionCode::RequestedIpAddress);
    assert_eq!(wanted, Some(&DhcpOption::RequestedIpAddress(kept.address)));
    assert_eq!(option(&request, OptionCode::ServerIdentifier), None);
    assert!(matches!(bench.answer(MessageType::Ack, ADDRESS, 3600)[..], [Action::Use(_), Action::Keep(_)]));
}

#[test]
fn a_box_that_moved_gets_another_address() {
    let mut bench = Bench::new();
    bench.start(Some(crate::dhcp::lease::tests::lease()));
    assert_eq!(bench.answer(MessageType::Nak, ADDRESS, 0), [Action::Drop(Loss::Refused)]);
    let (discover, _) = sent(&bench.wait());
    assert_eq!(option(&discover, OptionCode::RequestedIpAddress), None, "what was refused is not asked for");
}

#[test]
fn silence_at_boot_leaves_the_address_of_the_earlier_boot_until_its_end() {
    let kept = crate::dhcp::lease::tests::lease();
    let mut bench = Bench::new();
    let began = bench.now;
    bench.start(Some(kept.clone()));
    let used = loop {
        let actions = bench.wait();
        if let Some(Action::Use(lease)) = actions.last() {
            assert!(is_discover(&actions[..1]), "it goes on asking");
            break lease.clone();
        }
    };
    assert_eq!(used, kept);
    assert!(bench.now - began < Duration::from_secs(60), "{:?}", bench.now - began);
    loop {
        let actions = bench.wait();
        if actions == [Action::Drop(Loss::Ended)] {
            break;
        }
        assert!(is_discover(&actions));
    }
    assert_eq!(bench.now - began, Duration::from_secs(kept.seconds.into()));
}

#[test]
fn an_address_in_use_stays_while_the_agent_starts_again() {
    let kept = crate::dhcp::lease::tests::lease();
    let mut bench = Bench::new();
    bench.client.hold(bench.now, kept.clone(), true);
    let end = bench.now + Duration::from_secs(kept.seconds.into());
    let mut actions = bench.start(None);
    while bench.now < end {
        assert!(!actions.iter().any(|action| matches!(action, Action::Use(_))), "the link has it already");
        assert!(bench.now == end || !actions.contains(&Action::Drop(Loss::Ended)));
        actions = bench.wait();
    }
    assert_eq!(actions, [Action::Drop(Loss::Ended)]);
}

#[test]
fn a_server_that_comes_back_replaces_what_was_used_in_its_absence() {
    let mut bench = Bench::new();
    bench.start(Some(crate::dhcp::lease::tests::lease()));
    while !matches!(bench.wait().last(), Some(Action::Use(_))) {}
    assert!(sent(&bench.answer(MessageType::Offer, OTHER, 600)).0.opts().has_msg_type(MessageType::Request));
    assert_eq!(bench.answer(MessageType::Nak, OTHER, 0), [], "the address in use was not refused");
    assert!(is_discover(&bench.wait()));
    bench.answer(MessageType::Offer, OTHER, 600);
    let actions = bench.answer(MessageType::Ack, OTHER, 600);
    assert!(matches!(&actions[..], [Action::Use(lease), Action::Keep(_)] if lease.address == OTHER));
}

#[test]
fn a_lost_carrier_keeps_the_address_and_asks_again() {
    let mut bench = Bench::new();
    bench.bind(3600);
    bench.client.stop();
    assert_eq!(bench.client.deadline(), Some(bench.now + Duration::from_secs(3600)), "only its end remains");
    bench.now += Duration::from_secs(30);
    let (request, _) = sent(&bench.start(None));
    assert_eq!(
        option(&request, OptionCode::RequestedIpAddress),
        Some(&DhcpOption::RequestedIpAddress(ADDRESS))
    );
    bench.client.stop();
    assert_eq!(bench.wait(), [Action::Drop(Loss::Ended)]);
    assert_eq!(bench.client.deadline(), None);
}

#[test]
fn an_endless_lease_is_never_renewed() {
    let mut bench = Bench::new();
    bench.bind(u32::MAX);
    assert_eq!(bench.client.deadline(), None);
}
