//! The protocol, without sockets, clocks and randomness: those are arguments.
//!
//! Time is a [`Duration`] since any fixed moment. Every input may give actions, after which
//! [`Client::deadline`] says when to call [`Client::wake`]. The exchanges are those of RFC 8415, section
//! 18.2, with one addition for the sake of reachability: addresses that are held and have not ended stay
//! in use while servers are silent or fail; only a refusal or their end takes them away.

use std::time::Duration;

use agent_core::network::Dhcp6;
use dhcproto::v6::Status;

use super::message::{Address, Answer, Identity, Lease, Request, build, parse};

/// How a message is repeated (RFC 8415, section 15): first and longest pause, and after how many tries or
/// how much time it is given up.
#[derive(Clone, Copy)]
struct Repeats {
    first: Duration,
    longest: Duration,
    tries: u32,
    time: Option<Duration>,
}

const fn repeats(first: u64, longest: u64, tries: u32, time: Option<u64>) -> Repeats {
    let time = match time {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => None,
    };
    Repeats { first: Duration::from_secs(first), longest: Duration::from_secs(longest), tries, time }
}

/// The standard's hour between two solicitations is two minutes here, as in RFC 3315: a server that comes
/// back is found.
const SOLICIT: Repeats = repeats(1, 120, u32::MAX, None);
const REQUEST: Repeats = repeats(1, 30, 10, None);
const CONFIRM: Repeats = repeats(1, 4, u32::MAX, Some(10));
const RENEW: Repeats = repeats(10, 600, u32::MAX, None);
const INFORMATION: Repeats = repeats(1, 120, u32::MAX, None);
/// Resolvers are asked for again after a day (RFC 8415, section 21.23).
const REFRESH: Duration = Duration::from_secs(86_400);
/// The wait after a refusal, so that a server that always refuses is not asked without end.
const AFTER_REFUSAL: Duration = Duration::from_secs(10);
/// The preference of a server that need not be compared with others.
const AT_ONCE: u8 = 255;

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this to all servers on the link.
    Send(Vec<u8>),
    /// The link has this lease now: new, or with new times.
    Use(Lease),
    /// The server gave it just now: to be kept for the next boot.
    Keep(Lease),
    /// The addresses are not ours any more, and what was kept of them is void.
    Drop,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// No carrier, or not begun.
    Idle,
    /// Addresses held before are asked about.
    Confirming,
    /// Servers are looked for; the best answer so far, and its preference.
    Soliciting(Option<(Lease, u8)>),
    /// An offer is asked for, or what is held of a server that does not know it.
    Requesting(Lease),
    /// All is well.
    Bound,
    /// Its server is asked for more time.
    Renewing,
    /// Any server is.
    Rebinding,
    /// Resolvers are asked for.
    Asking,
    /// After a refusal.
    Waiting,
}

#[derive(Clone, Debug)]
struct Held {
    lease: Lease,
    since: Duration,
    /// Whether the link has it.
    used: bool,
}

impl Held {
    fn at(&self, seconds: u32) -> Option<Duration> {
        (seconds != super::message::INFINITE).then(|| self.since + Duration::from_secs(seconds.into()))
    }
}

/// One NIC's client.
#[derive(Debug)]
pub struct Client {
    identity: Identity,
    state: State,
    held: Option<Held>,
    xid: u32,
    /// When the exchange began, how often it was tried, and the last pause.
    began: Duration,
    tries: u32,
    pause: Duration,
    next: Option<Duration>,
}

impl Client {
    /// A client that does nothing until [`Client::start`].
    pub fn new(identity: Identity) -> Client {
        let zero = Duration::ZERO;
        Client {
            identity,
            state: State::Idle,
            held: None,
            xid: 0,
            began: zero,
            tries: 0,
            pause: zero,
            next: None,
        }
    }

    /// When to call [`Client::wake`].
    pub fn deadline(&self) -> Option<Duration> {
        let end = self.held.as_ref().filter(|held| held.used).and_then(|held| held.at(held.lease.seconds()));
        self.next.into_iter().chain(end).min()
    }

    /// Takes in the lease of an earlier run with its times as they are now; `used` says whether the link
    /// still has its addresses, which it then keeps while servers are asked.
    pub fn hold(&mut self, now: Duration, lease: Lease, used: bool) {
        self.held = Some(Held { lease, since: now, used });
    }

    /// Begins, or begins again when the carrier is back.
    pub fn start(&mut self, now: Duration, random: u32) -> Vec<Action> {
        let confirms = self.held.as_ref().is_some_and(|held| !held.lease.addresses.is_empty());
        let state = match self.identity.wanted {
            Dhcp6::Stateless => State::Asking,
            Dhcp6::Stateful if confirms => State::Confirming,
            Dhcp6::Stateful => State::Soliciting(None),
        };
        self.begin(state, now, random)
    }

    /// The carrier is gone: nothing is sent until [`Client::start`]. The addresses stay until their end.
    pub fn stop(&mut self) {
        self.state = State::Idle;
        self.next = None;
    }

    /// The deadline has come.
    pub fn wake(&mut self, now: Duration, random: u32) -> Vec<Action> {
        let ended = |held: &Held| held.at(held.lease.seconds()).is_some_and(|end| end <= now);
        if self.held.as_ref().is_some_and(ended) {
            return self.lose(now, random);
        }
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        self.next = None;
        match self.state.clone() {
            State::Idle => Vec::new(),
            State::Soliciting(Some((best, _))) => self.begin(State::Requesting(best), now, random),
            State::Waiting => self.begin(State::Soliciting(None), now, random),
            State::Bound if self.identity.wanted == Dhcp6::Stateless => {
                self.begin(State::Asking, now, random)
            }
            State::Bound => self.begin(State::Renewing, now, random),
            State::Renewing if self.rebinding().is_some_and(|at| at <= now) => {
                self.begin(State::Rebinding, now, random)
            }
            _ if self.is_over(now) => self.give_up(now, random),
            _ => self.send(now, random),
        }
    }

    /// A message has come.
    pub fn receive(&mut self, now: Duration, bytes: &[u8], random: u32) -> Vec<Action> {
        let Some(answer) = parse(bytes, &self.identity, self.xid) else { return Vec::new() };
        match (self.state.clone(), answer) {
            (State::Soliciting(best), Answer::Advertise(lease, preference)) => {
                // The answers to the first message are compared; later ones are late enough.
                if preference == AT_ONCE || self.tries > 1 {
                    return self.begin(State::Requesting(lease), now, random);
                }
                if best.as_ref().is_none_or(|(_, known)| preference > *known) {
                    self.state = State::Soliciting(Some((lease, preference)));
                }
                Vec::new()
            }
            (State::Soliciting(_), Answer::Reply { lease, rapid: true, .. })
                if !lease.addresses.is_empty() =>
            {
                self.bind(now, lease)
            }
            (State::Requesting(offer), Answer::Reply { lease, .. }) if lease.server == offer.server => {
                if lease.addresses.is_empty() {
                    self.refused(&offer, None, now, random)
                } else {
                    self.bind(now, lease)
                }
            }
            (State::Confirming, Answer::Reply { .. }) => {
                let used = self.use_held();
                self.extend_later(now);
                used.into_iter().collect()
            }
            (State::Renewing | State::Rebinding, Answer::Reply { lease, associated: true, .. }) => {
                if lease.addresses.is_empty() { self.lose(now, random) } else { self.bind(now, lease) }
            }
            (State::Asking, Answer::Reply { lease, .. }) => {
                let lease = Lease { addresses: Vec::new(), ..lease };
                let actions = self.bind(now, lease);
                self.next = Some(now + REFRESH);
                actions
            }
            (State::Requesting(offer), Answer::Refused(status, server)) if server == offer.server => {
                self.refused(&offer, Some(status), now, random)
            }
            (
                State::Confirming | State::Renewing | State::Rebinding,
                Answer::Refused(Status::NotOnLink, _),
            ) => self.lose(now, random),
            (State::Renewing | State::Rebinding, Answer::Refused(Status::NoBinding, server)) => {
                self.ask_anew(server, now, random)
            }
            // A server that fails, has no more to give or says nothing of the addresses takes nothing away
            // (RFC 8415, sections 18.2.10 and 18.2.10.1): the message is repeated.
            _ => Vec::new(),
        }
    }

    /// The server does not give what it offered, or what it was asked for anew. Addresses in use stay, unless
    /// these were asked for and it says that they are wrong on this link, or that it has none.
    fn refused(&mut self, asked: &Lease, why: Option<Status>, now: Duration, random: u32) -> Vec<Action> {
        let wrong = matches!(why, Some(Status::NotOnLink | Status::NoAddrsAvail));
        let was_asked = |own: &Address| asked.addresses.iter().any(|other| other.address == own.address);
        let stays = |held: &Held| held.used && !(wrong && held.lease.addresses.iter().all(was_asked));
        if self.held.as_ref().is_some_and(stays) {
            self.wait(now);
            return Vec::new();
        }
        self.lose(now, random)
    }

    /// Asks a server that knows nothing of what is held to give it (RFC 8415, section 18.2.10.1).
    fn ask_anew(&mut self, server: Vec<u8>, now: Duration, random: u32) -> Vec<Action> {
        let Some(held) = &self.held else { return Vec::new() };
        let wanted = Lease { server, ..held.lease.clone() };
        self.begin(State::Requesting(wanted), now, random)
    }

    fn lose(&mut self, now: Duration, random: u32) -> Vec<Action> {
        let held = self.held.take();
        let mut actions = if held.is_some() { vec![Action::Drop] } else { Vec::new() };
        match self.state {
            State::Idle => self.next = None,
            State::Requesting(_) => self.wait(now),
            _ => actions.extend(self.begin(State::Soliciting(None), now, random)),
        }
        actions
    }

    fn wait(&mut self, now: Duration) {
        self.state = State::Waiting;
        self.next = Some(now + AFTER_REFUSAL);
    }

    fn bind(&mut self, now: Duration, lease: Lease) -> Vec<Action> {
        self.held = Some(Held { lease: lease.clone(), since: now, used: true });
        self.extend_later(now);
        vec![Action::Use(lease.clone()), Action::Keep(lease)]
    }

    fn extend_later(&mut self, now: Duration) {
        self.state = State::Bound;
        self.next = self.held.as_ref().and_then(|held| held.at(held.lease.renew)).map(|at| at.max(now));
    }

    /// When any server is asked for more time; none for never.
    fn rebinding(&self) -> Option<Duration> {
        self.held.as_ref().and_then(|held| held.at(held.lease.rebind))
    }

    /// Puts what is held into use.
    fn use_held(&mut self) -> Option<Action> {
        let held = self.held.as_mut().filter(|held| !held.used)?;
        held.used = true;
        Some(Action::Use(held.lease.clone()))
    }

    /// Whether an exchange has had its tries, or its time.
    fn is_over(&self, now: Duration) -> bool {
        let Some(repeats) = self.repeats() else { return false };
        self.tries >= repeats.tries || repeats.time.is_some_and(|time| now >= self.began + time)
    }

    fn give_up(&mut self, now: Duration, random: u32) -> Vec<Action> {
        if self.state == State::Confirming {
            // Nobody says that they are wrong (RFC 8415, section 18.2.3).
            let used = self.use_held();
            self.extend_later(now);
            return used.into_iter().collect();
        }
        self.begin(State::Soliciting(None), now, random)
    }

    fn repeats(&self) -> Option<Repeats> {
        match self.state {
            State::Soliciting(_) => Some(SOLICIT),
            State::Requesting(_) => Some(REQUEST),
            State::Confirming => Some(CONFIRM),
            State::Renewing | State::Rebinding => Some(RENEW),
            State::Asking => Some(INFORMATION),
            State::Idle | State::Bound | State::Waiting => None,
        }
    }

    /// Begins an exchange.
    fn begin(&mut self, state: State, now: Duration, random: u32) -> Vec<Action> {
        self.state = state;
        self.xid = random & 0x00ff_ffff;
        (self.began, self.tries, self.pause) = (now, 0, Duration::ZERO);
        self.send(now, random)
    }

    /// Sends what the state asks for, and sets the time of the next try: the first pause, doubled each time, a
    /// tenth more or less.
    fn send(&mut self, now: Duration, random: u32) -> Vec<Action> {
        let Some(repeats) = self.repeats() else { return Vec::new() };
        let held = self.held.as_ref().map(|held| &held.lease);
        let request = match (&self.state, held) {
            (State::Soliciting(_), held) => Request::Solicit(held),
            (State::Requesting(offer), _) => Request::Request(offer),
            (State::Confirming, Some(held)) => Request::Confirm(held),
            (State::Renewing, Some(held)) => Request::Renew(held),
            (State::Rebinding, Some(held)) => Request::Rebind(held),
            (State::Asking, _) => Request::Information,
            _ => return Vec::new(),
        };
        let hundredths = now.saturating_sub(self.began).as_millis() / 10;
        let hundredths = u16::try_from(hundredths).unwrap_or(u16::MAX);
        let bytes = build(&self.identity, self.xid, hundredths, &request);
        let wanted = if self.pause.is_zero() { repeats.first } else { (self.pause * 2).min(repeats.longest) };
        self.tries += 1;
        // Never shorter than the first one: a server has that long to answer a solicitation.
        let tenths = 1.0 + f64::from(random % 1001) / 10_000.0;
        self.pause = wanted.mul_f64(tenths);
        let mut next = now + self.pause;
        if self.state == State::Renewing
            && let Some(rebind) = self.rebinding()
        {
            next = next.min(rebind.max(now));
        }
        self.next = Some(next);
        vec![Action::Send(bytes)]
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
