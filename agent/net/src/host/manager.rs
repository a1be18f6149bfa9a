//! The task that owns all NICs.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use agent_core::network::policy::policy;
use agent_core::network::{AddressSource, Cidr, HostConfig, InterfaceConfig, NetworkEvent, NetworkStatus};
use agent_system::files;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::nic::{Nic, Trial};
use super::resolver::{resolv_conf, unique};
use super::store::Store;
use super::{GATEWAY_WAIT, HostOptions, probe};
use crate::dhcp::message::Identity;
use crate::dhcp::{DhcpEvent, DhcpTask, Lease, Loss};
use crate::links::{Link, converge, converge_policy, links, observe};
use crate::netlink::{self, NetlinkError};
use crate::{Outcome, sysctl};

/// Words of the kernel come in bursts; they are answered together.
const BURST: Duration = Duration::from_millis(20);
/// How long DHCP may stand in for settings without an address.
const RETRY: Duration = Duration::from_secs(120);
/// Without a word from netlink, which ended, everything is looked at this often.
const DEAF: Duration = Duration::from_secs(10);
/// A link that someone else changes back each time is left alone for up to 2^this bursts.
const MOST_PATIENCE: u32 = 10;

/// Something that happened to a NIC, by the kernel's number of it.
enum Word {
    Dhcp(u32, DhcpEvent),
    Answered(u32, IpAddr),
}

pub(super) struct Manager {
    options: HostOptions,
    store: Store,
    handle: Handle,
    kernel: BoxStream<'static, ()>,
    config: Option<HostConfig>,
    nics: BTreeMap<u32, Nic>,
    publish: watch::Sender<NetworkStatus>,
    report: mpsc::UnboundedSender<NetworkEvent>,
    speak: mpsc::UnboundedSender<Word>,
    words: mpsc::UnboundedReceiver<Word>,
    /// How often in a row something had to be changed.
    streak: u32,
}

impl Manager {
    pub(super) fn new(
        options: HostOptions,
        publish: watch::Sender<NetworkStatus>,
        report: mpsc::UnboundedSender<NetworkEvent>,
    ) -> Result<Manager, NetlinkError> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ];
        let (connection, _, messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(NetlinkError::Open)?;
        tokio::spawn(connection);
        let (speak, words) = mpsc::unbounded_channel();
        Ok(Manager {
            store: Store::new(options.state.clone(), options.volatile.clone()),
            options,
            handle: netlink::open()?,
            kernel: messages.map(drop).boxed(),
            config: None,
            nics: BTreeMap::new(),
            publish,
            report,
            speak,
            words,
            streak: 0,
        })
    }

    pub(super) async fn run(mut self, mut wanted: mpsc::UnboundedReceiver<HostConfig>) {
        let mut look = None;
        loop {
            let deadline = self.nics.values().filter_map(|nic| nic.trial.deadline()).chain(look).min();
            tokio::select! {
                config = wanted.recv() => match config {
                    Some(config) => {
                        self.configure(config).await;
                        look = Some(Instant::now());
                    }
                    None => return,
                },
                word = self.words.recv() => {
                    if let Some(word) = word {
                        self.hear(word);
                    }
                    look = Some(Instant::now());
                }
                heard = self.kernel.next() => {
                    let wait = match heard {
                        Some(()) => BURST * 2u32.pow(self.streak.min(MOST_PATIENCE)),
                        None => {
                            self.kernel = futures_util::stream::pending().boxed();
                            DEAF
                        }
                    };
                    look = look.or(Some(Instant::now() + wait));
                }
                () = sleep_until(deadline) => {
                    look = None;
                    if self.config.is_some() {
                        self.look().await;
                    }
                }
            }
        }
    }

    /// Takes what the owner wants. NICs for which it is the same are not disturbed, even where
    /// something else stands in for it.
    async fn configure(&mut self, config: HostConfig) {
        if self.config.is_none() {
            self.prepare();
        }
        let orders = orders(&config, self.nics.values().map(|nic| &nic.link));
        for nic in self.nics.values_mut() {
            nic.order = orders.get(&nic.link.index).copied().unwrap_or(nic.order);
            let (settings, source) = wanted(&config, &nic.link);
            if settings != nic.wanted {
                nic.wanted = settings.clone();
                nic.problem = None;
                nic.activate(settings, source);
            }
        }
        self.config = Some(config);
        self.streak = 0;
    }

    /// Kernel settings that must stand before a link comes up.
    fn prepare(&self) {
        let prepared = sysctl::set_accept_ra("default", true).and_then(|_| sysctl::set_forwarding());
        if let Err(error) = prepared {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a kernel setting of the network failed"
            );
        }
    }

    /// Compares everything with what it should be, and changes what is not.
    async fn look(&mut self) {
        match links(&self.handle).await {
            Ok(links) => self.follow(links),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the links cannot be listed");
                return;
            }
        }
        let now = Instant::now();
        let mut changed = Outcome::Unchanged;
        let indexes: Vec<u32> = self.nics.keys().copied().collect();
        for index in indexes {
            self.judge(index, now);
            changed = changed.or(self.serve(index).await);
        }
        let settings: Vec<_> = self.nics.iter().map(|(index, nic)| (*index, nic.settings())).collect();
        match converge_policy(&self.handle, &policy(&settings)).await {
            Ok(outcome) => changed = changed.or(outcome),
            Err(error) => {
                changed = Outcome::Changed;
                tracing::warn!(error = chain(&error), "routing by source is not as it should be");
            }
        }
        self.streak = if changed == Outcome::Changed { self.streak + 1 } else { 0 };
        self.tell().await;
    }

    /// Takes note of links that came, went, or changed.
    fn follow(&mut self, links: Vec<Link>) {
        let Some(config) = self.config.clone() else { return };
        let present: Vec<Link> = links.into_iter().filter(|link| (self.options.is_nic)(link)).collect();
        let gone: Vec<u32> = self
            .nics
            .keys()
            .filter(|index| !present.iter().any(|link| link.index == **index))
            .copied()
            .collect();
        for index in gone {
            if let Some(nic) = self.nics.remove(&index) {
                self.say("nic-gone", &nic.link.name, "it is gone".to_owned());
            }
        }
        let orders = orders(&config, present.iter());
        for link in present {
            let Some(mac) = link.mac else { continue };
            let order = orders.get(&link.index).copied().unwrap_or_default();
            let known =
                self.nics.get_mut(&link.index).filter(|nic| nic.mac == mac && nic.link.name == link.name);
            match known {
                Some(nic) => {
                    nic.order = order;
                    nic.link = link;
                }
                None => {
                    let (settings, source) = wanted(&config, &link);
                    let index = link.index;
                    let mut nic = Nic::new(link, mac, order, settings, source);
                    if source == AddressSource::Settings
                        && self.store.silent(mac).as_ref() == Some(&nic.wanted)
                    {
                        let good = self.store.last_good(mac);
                        nic.give_way(good, "its gateway was silent in this boot", Instant::now() + RETRY);
                    }
                    self.nics.insert(index, nic);
                }
            }
        }
    }

    /// Acts on trials whose time has come.
    fn judge(&mut self, index: u32, now: Instant) {
        let Some(nic) = self.nics.get_mut(&index) else { return };
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
    async fn serve(&mut self, index: u32) -> Outcome {
        let Some(nic) = self.nics.get_mut(&index) else { return Outcome::Unchanged };
        let name = nic.link.name.clone();
        let mut changed = Outcome::Unchanged;
        let mut failure = None;
        match sysctl::set_nic(&name, nic.active.accept_ra) {
            Ok(outcome) => changed = changed.or(outcome),
            Err(error) => failure = Some(chain(&error)),
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
            nic.trial = Trial::Running { deadline: Some(Instant::now() + GATEWAY_WAIT), probe };
        } else if !carrier && matches!(nic.trial, Trial::Running { .. }) {
            nic.trial = Trial::Due;
        }
        changed
    }

    /// Takes note of what a NIC's client or probe has to say.
    fn hear(&mut self, word: Word) {
        let index = match word {
            Word::Dhcp(index, _) | Word::Answered(index, _) => index,
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

    /// Publishes the status and writes the resolver's file, where they changed.
    async fn tell(&mut self) {
        let Some(config) = &self.config else { return };
        let mut nics: Vec<&Nic> = self.nics.values().collect();
        nics.sort_by_key(|nic| (nic.order, nic.link.index));
        let mut status = NetworkStatus::default();
        for nic in &nics {
            match observe(&self.handle, &nic.link).await {
                Ok(observed) => status.nics.push(nic.status(&observed)),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a NIC cannot be seen")
                }
            }
        }
        let leases = || nics.iter().filter_map(|nic| nic.lease.as_ref());
        status.dns = if config.dns.is_empty() {
            unique(nics.iter().flat_map(|nic| nic.dns()))
        } else {
            unique(config.dns.iter().copied())
        };
        status.search = unique(leases().flat_map(|lease| lease.search.iter().cloned()));
        status.hostname = leases().find_map(|lease| lease.hostname.clone());
        let text = resolv_conf(&status.dns, &status.search);
        if let Err(error) = files::write_if_changed(&self.options.resolv_conf, text, 0o644) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the resolver's file cannot be written"
            );
        }
        self.publish.send_if_modified(|published| {
            let differs = *published != status;
            *published = status;
            differs
        });
    }

    fn say(&self, kind: &str, nic: &str, message: String) {
        tracing::info!(nic, kind, message, "network");
        // No one may be listening.
        let _ = self.report.send(NetworkEvent { kind: kind.to_owned(), nic: nic.to_owned(), message });
    }
}

/// Whether the link has the address of this lease: the agent started again, and the box did not.
async fn holds(handle: &Handle, link: &Link, lease: &Lease) -> bool {
    let own = Cidr::new(lease.address, lease.prefix);
    let observed = observe(handle, link).await.unwrap_or_default();
    own.is_some_and(|own| observed.addresses.contains(&own))
}

/// What the owner wants for a link, and whether that was said or is the default.
fn wanted(config: &HostConfig, link: &Link) -> (InterfaceConfig, AddressSource) {
    match link.mac.and_then(|mac| config.interface(&link.name, mac)) {
        Some((_, settings)) => (settings.clone(), AddressSource::Settings),
        None => (InterfaceConfig::automatic(&link.name), AddressSource::Dhcp),
    }
}

/// Each link's place: those that settings name in their order, then the others by number.
fn orders<'a>(config: &HostConfig, links: impl Iterator<Item = &'a Link>) -> HashMap<u32, u32> {
    let place = |link: &Link| {
        let named = link.mac.and_then(|mac| config.interface(&link.name, mac));
        (named.map_or(usize::MAX, |(place, _)| place), link.index)
    };
    let mut places: Vec<_> = links.map(place).collect();
    places.sort_unstable();
    places.into_iter().zip(0..).map(|((_, index), order)| (index, order)).collect()
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
