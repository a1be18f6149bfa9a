//! The task that owns all NICs.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use agent_core::network::policy::policy;
use agent_core::network::{AddressSource, HostConfig, InterfaceConfig, NetworkEvent, NetworkStatus};
use agent_system::files;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::HostOptions;
use super::advert::Server;
use super::nic::Nic;
use super::resolver::{resolv_conf, unique};
use super::serve::RETRY;
use super::store::Store;
use crate::dhcp::DhcpEvent;
use crate::links::{Link, converge_policy, links, observe};
use crate::netlink::{self, NetlinkError};
use crate::{Outcome, sysctl};

/// Words of the kernel come in bursts; they are answered together.
const BURST: Duration = Duration::from_millis(20);
/// Without a word from netlink, which ended, everything is looked at this often.
const DEAF: Duration = Duration::from_secs(10);
/// A link that someone else changes back each time is left alone for up to 2^this bursts.
const MOST_PATIENCE: u32 = 10;

/// Something that happened to a NIC, by the kernel's number of it.
pub(super) enum Word {
    /// Its DHCP client has something to say.
    Dhcp(u32, DhcpEvent),
    /// A gateway that was asked for has answered.
    Answered(u32, IpAddr),
    /// A router told of resolvers.
    Advert(u32, Vec<Server>),
}

pub(super) struct Manager {
    pub(super) options: HostOptions,
    pub(super) store: Store,
    pub(super) handle: Handle,
    kernel: BoxStream<'static, ()>,
    config: Option<HostConfig>,
    pub(super) nics: BTreeMap<u32, Nic>,
    publish: watch::Sender<NetworkStatus>,
    report: mpsc::UnboundedSender<NetworkEvent>,
    pub(super) speak: mpsc::UnboundedSender<Word>,
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
            let deadline = self.nics.values().filter_map(Nic::deadline).chain(look).min();
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

    /// What must stand before a link comes up.
    fn prepare(&self) {
        let folder = self.options.resolv_conf.parent();
        let made = folder.map(|folder| files::create_dir_all(folder, files::Access::mode(0o755)));
        if let Some(Err(error)) = made {
            tracing::error!(error = chain(&error), "no folder for the resolver's file");
        }
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

    pub(super) fn say(&self, kind: &str, nic: &str, message: String) {
        tracing::info!(nic, kind, message, "network");
        // No one may be listening.
        let _ = self.report.send(NetworkEvent { kind: kind.to_owned(), nic: nic.to_owned(), message });
    }
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
pub(super) fn chain(error: &dyn std::error::Error) -> String {
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
