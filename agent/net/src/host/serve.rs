//! What the manager does with one NIC: serve it, hear of it, judge it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use agent_core::network::{AddressSource, Cidr, Dhcp6, NicStatus};
use rtnetlink::Handle;
use tokio::time::Instant;

use super::manager::{Manager, Speak, Word, chain};
use super::nic::{AbortOnDrop, Nic, Others, Trial};
use super::store::{self, LEASE, LEASE6, Store};
use super::{GATEWAY_WAIT, advert, probe};
use crate::dhcp::message::Identity;
use crate::dhcp::{DhcpEvent, DhcpTask, Lease, Loss};
use crate::dhcp6::{self, Dhcp6Event, Dhcp6Task};
use crate::links::{Link, converge, forget_routers, observe};
use crate::{Outcome, sysctl};

/// How long DHCP may stand in for settings without an address.
pub(super) const RETRY: Duration = Duration::from_secs(120);
/// How long the box may take to find a way out where static settings name none.
const WAY: Duration = Duration::from_secs(30);

impl Manager {
    /// Acts on trials whose time has come.
    pub(super) fn judge(&mut self, index: u32, now: Instant) {
        let Some(nic) = self.nics.get_mut(&index) else { return };
        nic.servers.retain(|(_, until)| now < *until);
        let others = |other: &NicStatus| other.name != nic.link.name && other.online();
        if nic.helped && nic.wanted.gateways().is_empty() && self.publish.borrow().nics.iter().any(others) {
            // Another NIC leads out, so that this one need not.
            nic.activate(nic.wanted.clone(), nic.by);
            nic.problem = None;
        }
        if nic.trial.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if let Trial::Retry { .. } = nic.trial {
            if nic.lease.is_some() {
                nic.trial = Trial::None;
            } else {
                nic.activate(nic.wanted.clone(), nic.by);
            }
            return;
        }
        let wayless = matches!(nic.trial, Trial::Wayless { .. });
        if wayless && self.publish.borrow().online() {
            nic.trial = Trial::None;
            return;
        }
        let names = matches!(nic.trial, Trial::Names { .. });
        let missing = match &nic.trial {
            Trial::Running { silent, .. } => silent.clone(),
            _ => BTreeSet::new(),
        };
        let refused = matches!(nic.trial, Trial::Running { .. }) && missing.is_empty();
        if refused && nic.failure.is_none() {
            // The kernel has taken them since.
            nic.trial = Trial::Due;
            return;
        }
        let partly = !missing.is_empty() && missing.len() < nic.active.gateways().len();
        let silent = |servers: Vec<IpAddr>| {
            let servers: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
            format!("{} did not answer for {} seconds", servers.join(" and "), GATEWAY_WAIT.as_secs())
        };
        let key = store::key(&nic.link, nic.mac);
        let good = self.store.last_good(&key);
        let known = nic.problem.clone();
        let kind = match nic.trial {
            Trial::Wayless { .. } => "no-gateway",
            Trial::Names { .. } => "resolver-silent",
            _ if refused => "settings-refused",
            _ => "gateway-silent",
        };
        let silence = if wayless {
            format!("its settings name no gateway, and nothing else led out for {} seconds", WAY.as_secs())
        } else if refused {
            format!("not all of its settings can be had: {}", nic.failure.as_deref().unwrap_or_default())
        } else if names {
            let config = self.config.as_ref();
            silent(config.map_or_else(Vec::new, |config| servers(nic, &config.owner.dns)))
        } else {
            silent(missing.iter().copied().collect())
        };
        let first = nic.source == nic.by;
        let tried = nic.tried && first;
        let better = good.as_ref().is_some_and(|good| *good != nic.active);
        if first && good.as_ref() == Some(&nic.active) {
            // These are the last good: there is nothing better to turn to.
            nic.trial.believe();
            nic.problem = Some(format!("{silence}; its settings worked before and stay"));
        } else if tried {
            nic.trial.believe();
            nic.problem = Some(format!("{silence}; its settings are being tried, and end by themselves"));
        } else if names && !better {
            // The box can be reached by these, and DHCP may know name servers that answer.
            nic.trial.believe();
            let asking = std::mem::replace(&mut nic.trial, Trial::None);
            nic.ask_dhcp_too(&missing, &format!("{silence}; its gateway does, and its settings stay"));
            nic.trial = asking;
        } else if first && partly && !better {
            nic.ask_dhcp_too(
                &missing,
                &format!("{silence}; the other gateway does, and what leads there stays"),
            );
            nic.trial = Trial::Retry { at: now + RETRY };
        } else {
            if first {
                self.store.keep_silent(&key, &nic.active);
            }
            let described = self.config.as_ref().and_then(|c| c.described(&nic.link.name, nic.mac));
            let others = Others { good, described: described.map(|described| described.settings) };
            nic.give_way(others, &silence, now + RETRY);
        }
        let name = nic.link.name.clone();
        let message = nic.problem.clone().unwrap_or(silence);
        let dissolve = nic.link.is_device() && !nic.helped && matches!(nic.trial, Trial::Retry { .. });
        // What is tried again and again is told once.
        if known.as_ref() != Some(&message) {
            self.say(kind, &name, message.clone());
        }
        if dissolve {
            self.do_without_devices(format!("{name}: {message}"), now + RETRY);
        }
    }

    /// Makes a NIC what it should be now.
    pub(super) async fn serve(&mut self, index: u32) -> Outcome {
        let Some(nic) = self.nics.get_mut(&index) else { return Outcome::Unchanged };
        let name = nic.link.name.clone();
        let mut changed = Outcome::Unchanged;
        let mut failure = None;
        match sysctl::set_nic(&name, nic.active.accept_ra) {
            Ok(outcome) => changed = changed.or(outcome),
            Err(error) => failure = Some(chain(&error)),
        }
        if !nic.active.accept_ra {
            match forget_routers(&self.handle, &nic.link).await {
                Ok(outcome) => changed = changed.or(outcome),
                Err(error) => failure = Some(chain(&error)),
            }
        }
        let key = store::key(&nic.link, nic.mac);
        if nic.active.accept_ra && nic.adverts.is_none() {
            if kept_lease6(&self.handle, &self.store, nic).await.is_some_and(|(_, used)| used) {
                // The agent started again, and no router says again for minutes that there is a server.
                nic.advertised = Some(Dhcp6::Stateful);
            }
            let (speak, link) = (self.speak.clone(), name.clone());
            nic.adverts = Some(AbortOnDrop(tokio::spawn(async move {
                let report = |advert| drop(speak.send(Word::Advert(index, advert)));
                if let Err(error) = advert::listen(link, index, report).await {
                    tracing::warn!(%error, "router advertisements are not heard");
                }
            })));
        }
        if nic.active.dhcp4 && nic.dhcp.is_none() {
            let kept: Option<Lease> = self.store.lease(LEASE, &key);
            let kept = match kept {
                Some(lease) => {
                    let own = Cidr::new(lease.address, lease.prefix);
                    let used = holds(&self.handle, &nic.link, own).await;
                    nic.lease = used.then(|| lease.clone());
                    Some((lease, used))
                }
                None => None,
            };
            let identity = Identity { mac: nic.mac, hostname: self.options.hostname.clone() };
            let speak = self.speak.clone();
            let report = move |event| drop(speak.send(Word::Dhcp(index, event)));
            nic.dhcp = Some(DhcpTask::start(name.clone(), identity, kept, report));
        }
        ask_dhcp6(&self.handle, &self.store, &self.speak, nic).await;
        let mut settings = nic.settings();
        match (settings.mtu, self.store.own_mtu(&key)) {
            (None, own) => settings.mtu = own,
            (Some(mtu), None) if mtu != nic.link.mtu => self.store.keep_own_mtu(&key, nic.link.mtu),
            _ => {}
        }
        match converge(&self.handle, &name, &settings).await {
            Ok(outcome) => changed = changed.or(outcome),
            Err(error) => {
                changed = Outcome::Changed;
                failure = Some(chain(&error));
            }
        }
        if failure.is_some() && failure != nic.failure {
            tracing::warn!(nic = name, error = failure, "the NIC is not as it should be");
        }
        if failure.is_none() && nic.failure.is_some() && nic.source == nic.by {
            // The kernel has taken all of it now: what was not to be believed before may be proven.
            let unproven = match &nic.trial {
                Trial::None => !nic.tried && self.store.last_good(&key).as_ref() != Some(&nic.active),
                Trial::Running { deadline: None, silent, .. } => silent.is_empty(),
                _ => false,
            };
            if unproven && matches!(Trial::of(&nic.active), Trial::Due) {
                nic.trial = Trial::Due;
                nic.problem = None;
            }
        }
        nic.failure = failure;
        let carrier = nic.link.carrier;
        if let Some(dhcp) = &nic.dhcp {
            dhcp.carrier(carrier);
        }
        if let Some((_, dhcp6)) = &nic.dhcp6 {
            dhcp6.carrier(carrier);
        }
        if carrier && matches!(nic.trial, Trial::Due) && nic.active.gateways().is_empty() {
            nic.trial = Trial::Wayless { deadline: Some(Instant::now() + WAY) };
        } else if carrier && matches!(nic.trial, Trial::Due) {
            let silent = nic.active.gateways();
            let (v4, v6): (BTreeSet<_>, BTreeSet<_>) = silent.iter().partition(|gateway| gateway.is_ipv4());
            let asked = [v4, v6].into_iter().filter(|gateways| !gateways.is_empty());
            let probes = asked.map(|gateways| ask_gateways(&self.speak, index, gateways)).collect();
            nic.trial = Trial::Running { deadline: Some(Instant::now() + GATEWAY_WAIT), silent, probes };
        } else if !carrier
            && matches!(nic.trial, Trial::Running { .. } | Trial::Names { .. } | Trial::Wayless { .. })
        {
            nic.trial = Trial::Due;
        }
        changed
    }

    /// Takes note of what a NIC's client or probe has to say; says whether everything is to be looked at for it.
    pub(super) fn hear(&mut self, word: Word) -> bool {
        let index = match word {
            Word::Dhcp(index, _)
            | Word::Dhcp6(index, _)
            | Word::Answered(index, _)
            | Word::Resolved(index, _)
            | Word::Advert(index, _) => index,
        };
        let Some(nic) = self.nics.get_mut(&index) else { return false };
        let name = nic.link.name.clone();
        let key = store::key(&nic.link, nic.mac);
        match word {
            Word::Answered(_, gateway) => {
                let Trial::Running { silent, .. } = &mut nic.trial else { return false };
                if !silent.contains(&gateway) {
                    // It is one of settings before these.
                    return false;
                }
                silent.retain(|other| other.is_ipv4() != gateway.is_ipv4());
                if !silent.is_empty() {
                    return false;
                }
                let mut servers = Vec::new();
                let good = self.store.last_good(&key);
                let better = good.as_ref().is_some_and(|good| *good != nic.active) && !nic.good_failed;
                if nic.failure.is_some() && nic.source == nic.by && better {
                    // There are better ones to turn to, unless the kernel takes all of these until the trial ends.
                    return false;
                }
                if nic.source == AddressSource::Settings && good.as_ref() != Some(&nic.active) {
                    let owner = self.config.as_ref().map_or(&[][..], |config| &config.owner.dns);
                    servers = self::servers(nic, owner);
                }
                if servers.is_empty() {
                    self.proven(index, &format!("{gateway} answers"));
                } else {
                    nic.trial = ask_names(&self.speak, index, servers);
                }
            }
            Word::Resolved(_, server) => {
                if matches!(nic.trial, Trial::Names { .. }) {
                    if nic.helped {
                        nic.activate(nic.wanted.clone(), nic.by);
                    }
                    self.proven(index, &format!("{server} answers"));
                }
            }
            Word::Advert(_, advert) => return nic.take_advert(advert, Instant::now()),
            Word::Dhcp(_, DhcpEvent::Use(lease)) => {
                let new = nic.lease.as_ref().is_none_or(|old| old.address != lease.address);
                if nic.source == AddressSource::Dhcp {
                    nic.problem = None;
                }
                let message = format!("address {}/{} from {}", lease.address, lease.prefix, lease.server);
                nic.lease = Some(lease);
                if new {
                    self.say("dhcp-bound", &name, message);
                }
            }
            Word::Dhcp(_, DhcpEvent::Keep(lease)) => self.store.keep_lease(LEASE, &key, lease),
            Word::Dhcp(_, DhcpEvent::Drop(loss)) => {
                self.store.forget_lease(LEASE, &key);
                let Some(lease) = nic.lease.take() else { return false };
                let why = match loss {
                    Loss::Refused => "a server refused it",
                    Loss::Ended => "it ended, and no server answered",
                };
                let message = format!("address {} is given up: {why}", lease.address);
                nic.problem = Some(message.clone());
                self.say("dhcp-lost", &name, message);
            }
            Word::Dhcp(_, DhcpEvent::Trouble(message)) | Word::Dhcp6(_, Dhcp6Event::Trouble(message)) => {
                tracing::warn!(nic = name, message, "DHCP has trouble");
            }
            Word::Dhcp6(_, Dhcp6Event::Use(lease)) => {
                let old = nic.lease6.replace(lease.clone()).unwrap_or_default();
                let had: Vec<_> = old.addresses.iter().map(|given| given.address).collect();
                let new = lease.addresses.iter().map(|given| given.address).filter(|a| !had.contains(a));
                let new: Vec<String> = new.map(|address| address.to_string()).collect();
                if !new.is_empty() {
                    self.say("dhcp-bound", &name, format!("address {} from DHCPv6", new.join(" and ")));
                }
            }
            Word::Dhcp6(_, Dhcp6Event::Keep(lease)) => self.store.keep_lease(LEASE6, &key, lease),
            Word::Dhcp6(_, Dhcp6Event::Drop) => {
                self.store.forget_lease(LEASE6, &key);
                if nic.lease6.take().is_some_and(|lease| !lease.addresses.is_empty()) {
                    self.say("dhcp-lost", &name, "its addresses from DHCPv6 are given up".to_owned());
                }
            }
        }
        true
    }

    /// A link's settings lead where they should.
    fn proven(&mut self, index: u32, how: &str) {
        let Some(nic) = self.nics.get_mut(&index) else { return };
        nic.trial = Trial::None;
        nic.good_failed = false;
        let key = store::key(&nic.link, nic.mac);
        if !nic.tried && nic.failure.is_none() {
            self.store.keep_good(&key, &nic.active);
        }
        if nic.source != nic.by {
            return;
        }
        self.store.forget_silent(&key);
        if nic.problem.take().is_some() {
            let name = nic.link.name.clone();
            self.say("gateway-answers", &name, how.to_owned());
        }
    }
}

/// The name servers that a link's settings lead to, the owner's for the whole box first.
fn servers(nic: &Nic, of_box: &[IpAddr]) -> Vec<IpAddr> {
    if of_box.is_empty() { nic.dns() } else { of_box.to_vec() }
}

fn ask_gateways(speak: &Speak, index: u32, gateways: BTreeSet<IpAddr>) -> AbortOnDrop {
    let speak = speak.clone();
    AbortOnDrop(tokio::spawn(async move {
        match probe::answers(index, gateways).await {
            Ok(gateway) => drop(speak.send(Word::Answered(index, gateway))),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "no probe"),
        }
    }))
}

fn ask_names(speak: &Speak, index: u32, servers: Vec<IpAddr>) -> Trial {
    let speak = speak.clone();
    let probe = tokio::spawn(async move {
        let server = probe::resolves(servers).await;
        drop(speak.send(Word::Resolved(index, server)));
    });
    Trial::Names { deadline: Some(Instant::now() + GATEWAY_WAIT), probe: AbortOnDrop(probe) }
}

/// Has DHCPv6 asked for what it is to be asked for now.
async fn ask_dhcp6(handle: &Handle, store: &Store, speak: &Speak, nic: &mut Nic) {
    let wanted = nic.wants_dhcp6();
    if nic.dhcp6.as_ref().map(|(asked, _)| *asked) == wanted {
        return;
    }
    nic.dhcp6 = None;
    let Some(wanted) = wanted else {
        nic.lease6 = None;
        return;
    };
    let kept = kept_lease6(handle, store, nic).await;
    nic.lease6 = kept.as_ref().filter(|(_, used)| *used).map(|(lease, _)| lease.clone());
    let identity = dhcp6::Identity { mac: nic.mac, wanted };
    let (speak, index) = (speak.clone(), nic.link.index);
    let report = move |event| drop(speak.send(Word::Dhcp6(index, event)));
    nic.dhcp6 = Some((wanted, Dhcp6Task::start(nic.link.name.clone(), index, identity, kept, report)));
}

/// The lease of DHCPv6 that was kept, and whether the link has its address.
async fn kept_lease6(handle: &Handle, store: &Store, nic: &Nic) -> Option<(dhcp6::Lease, bool)> {
    let kept: dhcp6::Lease = store.lease(LEASE6, &store::key(&nic.link, nic.mac))?;
    let own = kept.settings().addresses.first().copied();
    let used = holds(handle, &nic.link, own).await;
    Some((kept, used))
}

/// Whether the link has the address of a lease: the agent started again, and the box did not.
async fn holds(handle: &Handle, link: &Link, own: Option<Cidr>) -> bool {
    let observed = observe(handle, link).await.unwrap_or_default();
    own.is_some_and(|own| observed.addresses.contains(&own))
}
