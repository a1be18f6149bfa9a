use dhcproto::v6::{DhcpOption, Message, MessageType, Status};
use dhcproto::{Decodable, Decoder};

use super::super::message::tests::{SERVER, association, identity, lease, refusal, said};
use super::*;

/// A client with a clock and a server that is played by the test.
struct Play {
    client: Client,
    now: Duration,
}

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// The message that the only action sends.
fn sent(actions: &[Action]) -> Message {
    let [Action::Send(bytes)] = actions else { panic!("{actions:?}") };
    Message::decode(&mut Decoder::new(bytes)).unwrap()
}

impl Play {
    fn new(client: Client) -> Play {
        Play { client, now: Duration::ZERO }
    }

    /// Lets time pass until the client wants to do something.
    fn pass(&mut self) -> Vec<Action> {
        self.now = self.client.deadline().expect("it waits for something");
        self.client.wake(self.now, 7)
    }

    fn hear(&mut self, kind: MessageType, options: Vec<DhcpOption>) -> Vec<Action> {
        let xid = self.client.xid;
        self.client.receive(self.now, &said(kind, xid, options), 8)
    }

    /// Takes a lease of these times.
    fn bound(t1: u32, t2: u32, preferred: u32, valid: u32) -> Play {
        let mut play = Play::new(Client::new(identity()));
        assert_eq!(sent(&play.client.start(at(0.0), 1)).msg_type(), MessageType::Solicit);
        let offer = || vec![association(t1, t2, &[("2001:db8::7", preferred, valid)])];
        assert_eq!(play.hear(MessageType::Advertise, offer()), []);
        assert_eq!(sent(&play.pass()).msg_type(), MessageType::Request);
        let actions = play.hear(MessageType::Reply, offer());
        assert!(matches!(&actions[..], [Action::Use(a), Action::Keep(b)] if a == b), "{actions:?}");
        play
    }
}

#[test]
fn an_address_is_found_renewed_and_rebound_and_ends() {
    let mut play = Play::bound(50, 80, 100, 200);
    let given = play.now;
    let renewal = play.pass();
    assert_eq!((play.now - given, sent(&renewal).msg_type()), (at(50.0), MessageType::Renew));
    // More time.
    let actions = play.hear(MessageType::Reply, vec![association(50, 80, &[("2001:db8::7", 100, 200)])]);
    assert_eq!(actions.len(), 2);
    let given = play.now;
    let mut kinds = vec![];
    loop {
        let actions = play.pass();
        if actions.first() == Some(&Action::Drop) {
            assert_eq!(play.now - given, at(200.0));
            assert_eq!(sent(&actions[1..]).msg_type(), MessageType::Solicit);
            break;
        }
        kinds.push(sent(&actions).msg_type());
    }
    assert_eq!(kinds[..2], [MessageType::Renew, MessageType::Renew]);
    assert_eq!(kinds.last(), Some(&MessageType::Rebind));
    assert!(kinds.len() < 20, "{kinds:?}");
}

#[test]
fn an_answer_that_says_nothing_of_the_addresses_takes_none_away() {
    let mut play = Play::bound(50, 80, 100, 200);
    assert_eq!(sent(&play.pass()).msg_type(), MessageType::Renew);
    assert_eq!(play.hear(MessageType::Reply, vec![]), []);
    assert_eq!(sent(&play.pass()).msg_type(), MessageType::Renew);
    let actions = play.hear(MessageType::Reply, vec![association(50, 80, &[])]);
    assert_eq!(actions.first(), Some(&Action::Drop));
    assert_eq!(sent(&actions[1..]).msg_type(), MessageType::Solicit);
}

#[test]
fn pauses_grow_and_a_late_server_is_found() {
    let mut play = Play::new(Client::new(identity()));
    play.client.start(at(0.0), 1);
    let mut pauses = vec![];
    for _ in 0..12 {
        let before = play.now;
        assert_eq!(sent(&play.pass()).msg_type(), MessageType::Solicit);
        pauses.push((play.now - before).as_secs());
    }
    assert_eq!(pauses[..5], [1, 2, 4, 8, 16]);
    assert_eq!(pauses[9..], [120, 120, 120]);
    // It need not be compared with others.
    let actions = play.hear(MessageType::Advertise, vec![association(0, 0, &[("2001:db8::7", 100, 200)])]);
    assert_eq!(sent(&actions).msg_type(), MessageType::Request);
}

#[test]
fn the_preferred_server_is_asked_and_one_that_is_sure_at_once() {
    let mut play = Play::new(Client::new(identity()));
    play.client.start(at(0.0), 1);
    let offer = |address| association(0, 0, &[(address, 100, 200)]);
    assert_eq!(play.hear(MessageType::Advertise, vec![offer("2001:db8::1")]), []);
    assert_eq!(play.hear(MessageType::Advertise, vec![offer("2001:db8::2"), DhcpOption::Preference(9)]), []);
    assert_eq!(play.hear(MessageType::Advertise, vec![offer("2001:db8::3"), DhcpOption::Preference(8)]), []);
    let State::Soliciting(Some((best, 9))) = &play.client.state else { panic!() };
    assert_eq!(best.addresses[0].address, "2001:db8::2".parse::<std::net::Ipv6Addr>().unwrap());
    let actions = play.hear(MessageType::Advertise, vec![offer("2001:db8::4"), DhcpOption::Preference(255)]);
    assert_eq!(sent(&actions).msg_type(), MessageType::Request);

    let mut play = Play::new(Client::new(identity()));
    play.client.start(at(0.0), 1);
    let at_once = play.hear(MessageType::Reply, vec![offer("2001:db8::5"), DhcpOption::RapidCommit]);
    assert_eq!(at_once.len(), 2, "{at_once:?}");
    assert_eq!(play.hear(MessageType::Reply, vec![offer("2001:db8::6")]), [], "nobody asked");
}

#[test]
fn what_was_held_is_confirmed_or_given_up() {
    let held = || {
        let mut client = Client::new(identity());
        client.hold(at(0.0), lease(), false);
        let mut play = Play::new(client);
        assert_eq!(sent(&play.client.start(at(0.0), 1)).msg_type(), MessageType::Confirm);
        play
    };
    let mut play = held();
    assert_eq!(play.hear(MessageType::Reply, vec![]), [Action::Use(lease())]);
    assert_eq!(play.client.deadline(), Some(at(50.0)));

    // A server says that it is wrong here.
    let mut play = held();
    let actions = play.hear(MessageType::Reply, vec![refusal(Status::NotOnLink)]);
    assert_eq!(actions[0], Action::Drop);
    assert_eq!(sent(&actions[1..]).msg_type(), MessageType::Solicit);

    // Nobody says anything: it is used.
    let mut play = held();
    let used = loop {
        let actions = play.pass();
        if let [Action::Use(used)] = &actions[..] {
            break used.clone();
        }
        assert_eq!(sent(&actions).msg_type(), MessageType::Confirm);
    };
    assert_eq!(used, lease());
    assert!(play.now < at(16.0), "{:?}", play.now);

    // A server that fails says nothing of it.
    let mut play = held();
    assert_eq!(play.hear(MessageType::Reply, vec![refusal(Status::UnspecFail)]), []);
    assert_eq!(sent(&play.pass()).msg_type(), MessageType::Confirm);
    assert_eq!(play.hear(MessageType::Reply, vec![]), [Action::Use(lease())]);
}

#[test]
fn a_server_that_fails_takes_nothing_away() {
    for status in [Status::UnspecFail, Status::NoAddrsAvail, Status::UseMulticast] {
        let mut play = Play::bound(50, 80, 100, 200);
        let given = play.now;
        let mut kinds = vec![];
        loop {
            let actions = play.pass();
            if actions.first() == Some(&Action::Drop) {
                break;
            }
            kinds.push(sent(&actions).msg_type());
            assert_eq!(play.hear(MessageType::Reply, vec![refusal(status)]), [], "{status:?}");
        }
        assert_eq!(play.now - given, at(200.0), "{status:?}");
        assert_eq!(kinds.first(), Some(&MessageType::Renew));
        assert_eq!(kinds.last(), Some(&MessageType::Rebind));
        assert!(kinds.len() < 20, "{kinds:?}");
    }
}

#[test]
fn what_is_never_to_be_rebound_is_renewed_until_its_end() {
    let mut play = Play::bound(50, u32::MAX, 100, 200);
    let given = play.now;
    let mut kinds = vec![];
    while play.now - given < at(200.0) {
        let actions = play.pass();
        if actions.first() != Some(&Action::Drop) {
            kinds.push(sent(&actions).msg_type());
        }
    }
    assert!(kinds.len() > 2 && kinds.iter().all(|kind| *kind == MessageType::Renew), "{kinds:?}");
}

#[test]
fn what_its_server_does_not_know_is_asked_for_anew_and_stays_meanwhile() {
    let unknown = || {
        let mut play = Play::bound(50, 80, 100, 200);
        play.pass();
        let actions = play.hear(MessageType::Reply, vec![refusal(Status::NoBinding)]);
        let request = sent(&actions);
        assert_eq!(request.msg_type(), MessageType::Request);
        let held =
            |option: &DhcpOption| matches!(option, DhcpOption::IANA(of) if of.opts.iter().count() == 1);
        assert!(request.opts().iter().any(held), "{request:?}");
        play
    };
    let mut play = unknown();
    let actions = play.hear(MessageType::Reply, vec![association(50, 80, &[("2001:db8::7", 100, 200)])]);
    assert!(matches!(&actions[..], [Action::Use(_), Action::Keep(_)]), "{actions:?}");

    // It fails, or says again that it does not know it: others are asked.
    for status in [Status::UnspecFail, Status::NoBinding] {
        let mut play = unknown();
        assert_eq!(play.hear(MessageType::Reply, vec![refusal(status)]), [], "{status:?}");
        let before = play.now;
        assert_eq!(sent(&play.pass()).msg_type(), MessageType::Solicit);
        assert_eq!(play.now - before, AFTER_REFUSAL);
    }

    // It does not give it.
    for status in [Status::NotOnLink, Status::NoAddrsAvail] {
        let mut play = unknown();
        assert_eq!(play.hear(MessageType::Reply, vec![refusal(status)]), [Action::Drop], "{status:?}");
        assert_eq!(sent(&play.pass()).msg_type(), MessageType::Solicit);
    }

    // It is silent now: the address stays until its end.
    let mut play = unknown();
    while play.pass().first() != Some(&Action::Drop) {}
    assert!(play.now >= at(200.0), "{:?}", play.now);
}

#[test]
fn the_server_that_answers_is_asked_anew() {
    let mut client = Client::new(identity());
    client.hold(at(0.0), Lease { server: vec![0, 3, 0, 1, 9], ..lease() }, true);
    let mut play = Play::new(client);
    play.client.start(at(0.0), 1);
    assert_eq!(play.hear(MessageType::Reply, vec![]), []);
    while sent(&play.pass()).msg_type() != MessageType::Rebind {}
    let request = sent(&play.hear(MessageType::Reply, vec![refusal(Status::NoBinding)]));
    assert_eq!(request.msg_type(), MessageType::Request);
    assert!(request.opts().iter().any(|option| *option == DhcpOption::ServerId(SERVER.to_vec())));
}

#[test]
fn a_refusal_takes_the_address_and_the_server_is_not_asked_without_end() {
    let mut play = Play::bound(50, 80, 100, 200);
    play.pass();
    let actions = play.hear(MessageType::Reply, vec![refusal(Status::NotOnLink)]);
    assert_eq!(actions[0], Action::Drop);

    let mut play = Play::new(Client::new(identity()));
    play.client.start(at(0.0), 1);
    play.hear(MessageType::Advertise, vec![association(0, 0, &[("2001:db8::7", 100, 200)])]);
    play.pass();
    assert_eq!(play.hear(MessageType::Reply, vec![refusal(Status::NoAddrsAvail)]), []);
    let before = play.now;
    assert_eq!(sent(&play.pass()).msg_type(), MessageType::Solicit);
    assert_eq!(play.now - before, AFTER_REFUSAL);
}

#[test]
fn resolvers_alone_are_asked_for_once_a_day() {
    let mut play = Play::new(Client::new(Identity { wanted: Dhcp6::Stateless, ..identity() }));
    assert_eq!(sent(&play.client.start(at(0.0), 1)).msg_type(), MessageType::InformationRequest);
    let servers = DhcpOption::DomainNameServers(vec!["2001:db8::53".parse().unwrap()]);
    let actions = play.hear(MessageType::Reply, vec![servers]);
    let [Action::Use(found), Action::Keep(_)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((found.dns.len(), found.addresses.len()), (1, 0));
    assert_eq!(sent(&play.pass()).msg_type(), MessageType::InformationRequest);
    assert_eq!(play.now, REFRESH);
}

#[test]
fn without_a_carrier_nothing_is_sent_and_the_address_stays_until_its_end() {
    let mut play = Play::bound(50, 80, 100, 200);
    let given = play.now;
    play.client.stop();
    assert_eq!(play.pass(), [Action::Drop]);
    assert_eq!(play.now - given, at(200.0));
    assert_eq!(play.client.deadline(), None);
    assert_eq!(sent(&play.client.start(play.now, 1)).msg_type(), MessageType::Solicit);
}

/// Whatever a server sends, what is used is an address of one's own with times in order.
#[test]
fn harmed_answers_are_taken_whole_or_not_at_all() {
    let servers = DhcpOption::DomainNameServers(vec!["2001:db8::53".parse().unwrap()]);
    let good = said(MessageType::Reply, 1, vec![association(50, 80, &[("2001:db8::7", 100, 200)]), servers]);
    let (mut taken, mut seed) = (0, 1u32);
    let mut next = |end: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % end
    };
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, next(256) as u8),
            }
        }
        let mut play = Play::bound(50, 80, 100, 200);
        play.pass();
        play.client.xid = 1;
        for action in play.client.receive(play.now, &bytes, 9) {
            let (Action::Use(lease) | Action::Keep(lease)) = action else { continue };
            taken += 1;
            assert!(
                !lease.addresses.is_empty() && lease.renew <= lease.rebind && lease.renew > 0,
                "{lease:?}"
            );
            for given in &lease.addresses {
                assert!(!given.address.is_multicast() && given.valid > 0 && given.preferred <= given.valid);
            }
            assert!(lease.dns.iter().all(|server| !server.is_multicast()));
        }
        assert!(play.client.deadline().is_some());
    }
    assert!(taken > 1000, "{taken}");
}
