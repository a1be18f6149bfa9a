//! The protocol, without sockets, clocks and randomness: those are arguments.
//!
//! Time is a [`Duration`] since any fixed moment. Every input may give actions, after which
//! [`Client::deadline`] says when to call [`Client::wake`]. States are those of RFC 2131, figure 5,
//! with one addition for the sake of reachability: an address that is held and has not ended stays in
//! use while servers are silent, also after a reboot and a lost carrier (section 3.2, 3 allows it);
//! only a refusal or its end takes it away. Deliberately absent: the look whether somebody else has the
//! address (section 3.1, 5 advises it) and with it DHCPDECLINE. It costs each boot a second or more, and
//! servers look themselves before they offer one.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::lease::Lease;
use super::message::{Answer, Identity, Request, build, parse};

/// Unanswered requests for the address held before, until any address is asked for.
const REBOOT_TRIES: u32 = 2;
/// Unanswered requests for an offer, until offers are asked for again.
const REQUEST_TRIES: u32 = 4;
/// Unanswered calls for offers, until an address held before is used without a word from a server.
const SILENCE: u32 = 2;
/// The least time between two renewals (RFC 2131, section 4.4.5).
const LEAST_RENEWAL: Duration = Duration::from_secs(60);
/// The wait after a refusal, so that a server that always refuses is not asked without end.
const AFTER_NAK: Duration = Duration::from_secs(1);

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a message.
    Send {
        /// Its bytes, without headers.
        bytes: Vec<u8>,
        /// Where to.
        to: Destination,
    },
    /// The link has this lease now: new, or with new times.
    Use(Lease),
    /// The server acknowledged it: to be kept for the next boot.
    Keep(Lease),
    /// The address is not ours any more, and what was kept of it is void.
    Drop(Loss),
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To all on the link, from `0.0.0.0`; the answer may come to an address the box does not have.
    Link,
    /// From an address the link has, to `to`.
    From {
        /// The address held.
        address: Ipv4Addr,
        /// A server, or `255.255.255.255`.
        to: Ipv4Addr,
    },
}

/// Why an address is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A server refused it.
    Refused,
    /// It ended, and no server answered.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// No carrier, or not begun.
    Idle,
    /// The address held before is asked for again.
    Rebooting { tries: u32 },
    /// Offers are asked for.
    Selecting { tries: u32 },
    /// An offer is asked for.
    Requesting { offer: Lease, tries: u32 },
    /// All is well.
    Bound,
    /// Its server is asked for more time.
    Renewing,
    /// Any server is.
    Rebinding,
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
        self.lease.ends().then(|| self.since + Duration::from_secs(seconds.into()))
    }
}

/// One NIC's client.
#[derive(Debug)]
pub struct Client {
    identity: Identity,
    state: State,
    held: Option<Held>,
    xid: u32,
    began: Duration,
    next: Option<Duration>,
}

impl Client {
    /// A client that does nothing until [`Client::start`].
    pub fn new(identity: Identity) -> Client {
        Client { identity, state: State::Idle, held: None, xid: 0, began: Duration::ZERO, next: None }
    }

    /// When to call [`Client::wake`].
    pub fn deadline(&self) -> Option<Duration> {
        let end = self.held.as_ref().filter(|held| held.used).and_then(|held| held.at(held.lease.seconds));
        match (self.next, end) {
            (Some(next), Some(end)) => Some(next.min(end)),
            (next, end) => next.or(end),
        }
    }

    /// Whether answers come to an address the link does not have, so that a packet socket is needed.
    pub fn listens_on_link(&self) -> bool {
        matches!(self.state, State::Rebooting { .. } | State::Selecting { .. } | State::Requesting { .. })
    }

    /// Takes in the lease of an earlier run with its times as they are now; `used` says whether the
    /// link still has its address, which it then keeps while the server is asked.
    pub fn hold(&mut self, now: Duration, lease: Lease, used: bool) {
        self.held = Some(Held { lease, since: now, used });
    }

    /// Begins, or begins again when the carrier is back.
    pub fn start(&mut self, now: Duration, random: u32) -> Vec<Action> {
        self.began = now;
        self.xid = random;
        self.state =
            if self.held.is_some() { State::Rebooting { tries: 0 } } else { State::Selecting { tries: 0 } };
        self.send(now, random)
    }

    /// The carrier is gone: nothing is sent until [`Client::start`]. The address stays until its end.
    pub fn stop(&mut self) {
        self.state = State::Idle;
        self.next = None;
    }

    /// The deadline has come.
    pub fn wake(&mut self, now: Duration, random: u32) -> Vec<Action> {
        let ended = |held: &Held| held.at(held.lease.seconds).is_some_and(|end| end <= now);
        if self.held.as_ref().is_some_and(ended) {
            return self.lose(now, Loss::Ended, random);
        }
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        self.next = None;
        match &mut self.state {
            State::Idle => Vec::new(),
            State::Rebooting { tries } if *tries < REBOOT_TRIES => self.send(now, random),
            State::Requesting { tries, .. } if *tries < REQUEST_TRIES => self.send(now, random),
            State::Selecting { tries } => {
                let silent = *tries >= SILENCE;
                let mut actions = self.send(now, random);
                if silent {
                    actions.extend(self.use_held());
                }
                actions
            }
            State::Rebooting { .. } | State::Requesting { .. } | State::Waiting => {
                self.state = State::Selecting { tries: 0 };
                self.xid = random;
                self.send(now, random)
            }
            State::Bound | State::Renewing | State::Rebinding => {
                if self.state == State::Bound {
                    self.began = now;
                    self.xid = random;
                }
                self.extend(now)
            }
        }
    }

    /// A message has come, without headers.
    pub fn receive(&mut self, now: Duration, bytes: &[u8], random: u32) -> Vec<Action> {
        let Some(answer) = parse(bytes, self.identity.mac, self.xid) else { return Vec::new() };
        match (&self.state, answer) {
            (State::Selecting { .. }, Answer::Offer(offer)) => {
                self.state = State::Requesting { offer, tries: 0 };
                self.send(now, random)
            }
            (State::Requesting { offer, .. }, Answer::Ack(lease)) if offer.server == lease.server => {
                self.bind(now, lease)
            }
            (State::Rebooting { .. } | State::Renewing | State::Rebinding, Answer::Ack(lease)) => {
                self.bind(now, lease)
            }
            // Of another server than the one asked, it says nothing.
            (State::Requesting { offer, .. }, Answer::Nak { server })
                if server.is_none_or(|server| server == offer.server) =>
            {
                self.refused(now, random)
            }
            (State::Rebooting { .. } | State::Renewing | State::Rebinding, Answer::Nak { .. }) => {
                self.refused(now, random)
            }
            _ => Vec::new(),
        }
    }

    /// What is held is void, whether or not the link had it.
    fn refused(&mut self, now: Duration, random: u32) -> Vec<Action> {
        let refused_offer = matches!(self.state, State::Requesting { .. });
        if refused_offer && self.held.as_ref().is_some_and(|held| held.used) {
            // The offer was refused; the address in use was not asked for.
            self.wait(now, random);
            return Vec::new();
        }
        self.lose(now, Loss::Refused, random)
    }

    fn lose(&mut self, now: Duration, loss: Loss, random: u32) -> Vec<Action> {
        let held = self.held.take();
        if self.state == State::Idle {
            self.next = None;
        } else {
            self.wait(now, random);
        }
        if held.is_some() { vec![Action::Drop(loss)] } else { Vec::new() }
    }

    fn wait(&mut self, now: Duration, random: u32) {
        self.state = State::Waiting;
        self.next = Some(now + AFTER_NAK + Duration::from_millis(u64::from(random % 1000)));
    }

    fn bind(&mut self, now: Duration, lease: Lease) -> Vec<Action> {
        let held = Held { lease: lease.clone(), since: now, used: true };
        self.next = held.at(lease.renew);
        self.held = Some(held);
        self.state = State::Bound;
        vec![Action::Use(lease.clone()), Action::Keep(lease)]
    }

    /// Puts what is held into use while servers are silent.
    fn use_held(&mut self) -> Option<Action> {
        let held = self.held.as_mut().filter(|held| !held.used)?;
        held.used = true;
        Some(Action::Use(held.lease.clone()))
    }

    /// Sends what the state asks for to all on the link, and sets the time of the next try: 4 s,
    /// doubling to 64 s, each a second more or less (RFC 2131, section 4.1).
    fn send(&mut self, now: Duration, random: u32) -> Vec<Action> {
        let held = self.held.as_ref().map(|held| held.lease.address);
        let (tries, request) = match &mut self.state {
            State::Rebooting { tries } => match held {
                Some(address) => (tries, Request::Reboot { address }),
                None => return Vec::new(),
            },
            State::Selecting { tries } => (tries, Request::Discover { preferred: held }),
            State::Requesting { offer, tries } => {
                (tries, Request::Select { address: offer.address, server: offer.server })
            }
            State::Idle | State::Bound | State::Renewing | State::Rebinding | State::Waiting => {
                return Vec::new();
            }
        };
        let seconds = 4u64 << (*tries).min(4);
        *tries += 1;
        let jitter = Duration::from_millis(u64::from(random % 2001));
        self.next = Some(now + Duration::from_secs(seconds - 1) + jitter);
        let bytes = build(&self.identity, self.xid, self.secs(now), request);
        vec![Action::Send { bytes, to: Destination::Link }]
    }

    /// Asks for more time: its server until T2, then anyone.
    fn extend(&mut self, now: Duration) -> Vec<Action> {
        let Some(held) = &self.held else { return Vec::new() };
        let (Some(rebind), Some(end)) = (held.at(held.lease.rebind), held.at(held.lease.seconds)) else {
            return Vec::new();
        };
        let address = held.lease.address;
        let (state, to, until) = if now < rebind {
            (State::Renewing, held.lease.server, rebind)
        } else {
            (State::Rebinding, Ipv4Addr::BROADCAST, end)
        };
        self.state = state;
        let pause = ((until - now) / 2).max(LEAST_RENEWAL);
        self.next = Some((now + pause).min(until));
        let bytes = build(&self.identity, self.xid, self.secs(now), Request::Extend { address });
        vec![Action::Send { bytes, to: Destination::From { address, to } }]
    }

    fn secs(&self, now: Duration) -> u16 {
        u16::try_from(now.saturating_sub(self.began).as_secs()).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
