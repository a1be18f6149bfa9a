//! What the manager does with one NIC: serve it, hear of it, judge it.

use std::net::IpAddr;
use std::time::Duration;

use agent_core::network::{AddressSource, Cidr};
use rtnetlink::Handle;
use tokio::time::Instant;

use super::manager::{Manager, Word, chain};
use super::nic::{AbortOnDrop, Trial};
use super::{GATEWAY_WAIT, advert, probe};
use crate::dhcp::message::Identity;
use crate::dhcp::{DhcpEvent, DhcpTask, Lease, Loss};
use crate::links::{Link, converge, forget_routers, observe};
use crate::{Outcome, sysctl};

/// How long DHCP may stand in for settings without an address.
pub(super) const RETRY: Duration = Duration::from_secs(120);

impl Manager {
    /// Acts on trials whose time has come.
    pub(super) fn judge(&mut self, index: u32, now: Instant) {
        let Some(nic) = self.nics.get_mut(&index) else { return };
        nic.servers.retain(|(_, until)| now < *until);
        if nic.trial.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let name = nic.link.name.clone();
        let gateways: Vec<String> = nic.active.gateways().iter().map(IpAddr::to_string).collect();
        let silence =
            format!("{} did not answer for {} seconds", gateways.join(" and "), GATEWAY_WAIT.as_secs());
        if let Trial::Retry { .. } = nic.trial {
            if nic.lease.is_some() {
                nic.trial = Trial::None;
            } else {
                nic.activate(nic.wanted.clone(), AddressSource::Settings);
            }
            return;
        }
        let good = self.store.last_good(nic.mac);
        if nic.source == AddressSource::Settings && good.as_ref() == Some(&nic.active) {
            // These are the last good: there is nothing better to turn to.
            if let Trial::Running { deadline, .. } = &mut nic.trial {
                *deadline = None;
            }
            nic.problem = Some(format!("{silence}; its settings worked before and stay"));
        } else {
            if nic.source == AddressSource::Settings {
                self.store.keep_silent(nic.mac, &nic.active);
            }
            nic.give_way(good, &silence, now + RETRY);
        }
        let message = nic.problem.clone().unwrap_or(silence);
        self.say("gateway-silent", &name, message);
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
        if nic.active.accept_ra && nic.adverts.is_none() {
            let (speak, link) = (self.speak.clone(), name.clone());
            nic.adverts = Some(AbortOnDrop(tokio::spawn(async move {
                let report = |servers| drop(speak.send(Word::Advert(index, servers)));
                if let Err(error) = advert::listen(link, index, report).await {
                    tracing::warn!(%error, "router advertisements are not heard");
                }
            })));
        }
        if nic.active.dhcp4 && nic.dhcp.is_none() {
            let kept = match self.store.lease(nic.mac) {
                Some(lease) => {
                    let used = holds(&self.handle, &nic.link, &lease).await;
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
        match converge(&self.handle, &name, &nic.settings()).await {
            Ok(outcome) => changed = changed.or(outcome),
            Err(error) => {
                changed = Outcome::Changed;
                failure = Some(chain(&error));
            }
        }
        if failure.is_some() && failure != nic.failure {
            tracing::warn!(nic = name, error = failure, "the NIC is not as it should be");
        }
        nic.failure = failure;
        let carrier = nic.link.carrier;
        if let Some(dhcp) = &nic.dhcp {
            dhcp.carrier(carrier);
        }
        if carrier && matches!(nic.trial, Trial::Due) {
            let (speak, gateways) = (self.speak.clone(), nic.active.gateways());
            let probe = tokio::spawn(async move {
                match probe::answers(index, gateways).await {
                    Ok(gateway) => drop(speak.send(Word::Answered(index, gateway))),
                    Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "no probe"),
                }
            });
            nic.trial =
                Trial::Running { deadline: Some(Instant::now() + GATEWAY_WAIT), probe: AbortOnDrop(probe) };
        } else if !carrier && matches!(nic.trial, Trial::Running { .. }) {
            nic.trial = Trial::Due;
        }
        changed
    }

    /// Takes note of what a NIC's client or probe has to say.
    pub(super) fn hear(&mut self, word: Word) {
        let index = match word {
            Word::Dhcp(index, _) | Word::Answered(index, _) | Word::Advert(index, _) => index,
        };
        let Some(nic) = self.nics.get_mut(&index) else { return };
        let name = nic.link.name.clone();
        match word {
            Word::Answered(_, gateway) => {
                if !matches!(nic.trial, Trial::Running { .. }) {
                    return;
                }
                nic.trial = Trial::None;
                self.store.keep_good(nic.mac, &nic.active);
                if nic.source == AddressSource::Settings {
                    self.store.forget_silent(nic.mac);
                }
                if nic.source == AddressSource::Settings && nic.problem.take().is_some() {
                    self.say("gateway-answers", &name, format!("{gateway} answers"));
                }
            }
            Word::Advert(_, servers) => nic.take_servers(servers, Instant::now()),
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
            Word::Dhcp(_, DhcpEvent::Keep(lease)) => self.store.keep_lease(nic.mac, lease),
            Word::Dhcp(_, DhcpEvent::Drop(loss)) => {
                self.store.forget_lease(nic.mac);
                let Some(lease) = nic.lease.take() else { return };
                let why = match loss {
                    Loss::Refused => "a server refused it",
                    Loss::Ended => "it ended, and no server answered",
                };
                let message = format!("address {} is given up: {why}", lease.address);
                nic.problem = Some(message.clone());
                self.say("dhcp-lost", &name, message);
            }
            Word::Dhcp(_, DhcpEvent::Trouble(message)) => {
                tracing::warn!(nic = name, message, "DHCP has trouble");
            }
        }
    }
}

/// Whether the link has the address of this lease: the agent started again, and the box did not.
async fn holds(handle: &Handle, link: &Link, lease: &Lease) -> bool {
    let own = Cidr::new(lease.address, lease.prefix);
    let observed = observe(handle, link).await.unwrap_or_default();
    own.is_some_and(|own| observed.addresses.contains(&own))
}
