//! The task that owns all NICs.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use agent_core::network::policy::policy;
use agent_core::network::{AddressSource, HostConfig, NetworkEvent, NetworkStatus, Wanted};
use agent_system::files;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::HostOptions;
use super::advert::Advert;
use super::nic::{Nic, Others, Trial};
use super::resolver::{resolv_conf, unique};
use super::serve::RETRY;
use super::store::{self, Store};
use crate::dhcp::DhcpEvent;
use crate::dhcp6::Dhcp6Event;
use crate::links::{Link, converge_devices, converge_policy, links, observe};
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
    /// Its DHCPv6 client has.
    Dhcp6(u32, Dhcp6Event),
    /// A gateway that was asked for has answered.
    Answered(u32, IpAddr),
    /// A name server that was asked has answered.
    Resolved(u32, IpAddr),
    /// A router told something.
    Advert(u32, Advert),
}

/// Where words go.
pub(super) type Speak = mpsc::UnboundedSender<Word>;

/// The provider's bonds and VLANs are done without.
struct Dissolved {
    /// For people.
    why: String,
    /// When they are tried again, unless their NICs have found a way by then.
    until: Instant,
}

pub(super) struct Manager {
    pub(super) options: HostOptions,
    pub(super) store: Store,
    pub(super) handle: Handle,
    kernel: BoxStream<'static, ()>,
    /// What is wanted.
    given: HostConfig,
    /// What of it is in force; none before anything was wanted.
    pub(super) config: Option<HostConfig>,
    dissolved: Option<Dissolved>,
    /// Since when nothing leads out though something on which the provider's bonds and VLANs stand has a carrier.
    offline: Option<Instant>,
    /// Whether it has.
    carried: bool,
    /// Whether something else is wanted since everything was looked at last.
    anew: bool,
    /// Whether it was said that bonds and VLANs are done without, since something last led out.
    told: bool,
    pub(super) nics: BTreeMap<u32, Nic>,
    pub(super) publish: watch::Sender<NetworkStatus>,
    report: mpsc::UnboundedSender<NetworkEvent>,
    pub(super) speak: Speak,
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
            kernel: without_end(messages.map(drop), DEAF),
            given: HostConfig::default(),
            config: None,
            dissolved: None,
            offline: None,
            carried: false,
            anew: false,
            told: false,
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
            let again = match &self.dissolved {
                Some(dissolved) => Some(dissolved.until),
                None => self.devices_end(),
            };
            let deadline = self.nics.values().filter_map(Nic::deadline).chain(look).chain(again).min();
            tokio::select! {
                config = wanted.recv() => match config {
                    Some(config) => {
                        self.configure(config);
                        look = Some(Instant::now());
                    }
                    None => return,
                },
                word = self.words.recv() => {
                    if word.is_some_and(|word| self.hear(word)) {
                        look = Some(Instant::now());
                    }
                }
                Some(()) = self.kernel.next() => {
                    let wait = BURST * 2u32.pow(self.streak.min(MOST_PATIENCE));
                    look = look.or(Some(Instant::now() + wait));
                }
                () = sleep_until(deadline) => {
                    look = None;
                    if self.config.is_some() {
                        self.look().await;
                    }
                    if std::mem::take(&mut self.anew) {
                        look = Some(Instant::now());
                    }
                }
            }
        }
    }

    /// Takes what is wanted. NICs for which it is the same are not disturbed, even where something else
    /// stands in for it.
    fn configure(&mut self, config: HostConfig) {
        if self.config.is_none() {
            self.prepare();
        }
        if config.provider.devices != self.given.provider.devices {
            self.dissolved = None;
        }
        self.given = config;
        self.put_in_force();
        self.streak = 0;
    }

    fn put_in_force(&mut self) {
        let mut config = self.given.clone();
        if self.dissolved.is_some() {
            config.provider = config.provider.without_devices();
        }
        let orders = orders(&config, self.nics.values().map(|nic| &nic.link));
        for nic in self.nics.values_mut() {
            nic.order = orders.get(&nic.link.index).copied().unwrap_or(nic.order);
            let wanted = config.wanted(&nic.link.name, nic.mac);
            let tried = config.tried && wanted.source == AddressSource::Settings;
            if (&wanted.settings, wanted.source) != (&nic.wanted, nic.by) {
                nic.tried = tried;
                let stays = wanted.settings == nic.wanted && nic.source == nic.by;
                nic.by = wanted.source;
                if stays {
                    nic.source = wanted.source;
                    continue;
                }
                nic.wanted = wanted.settings.clone();
                nic.problem = None;
                nic.good_failed = false;
                nic.activate(wanted.settings, wanted.source);
            } else if nic.tried && !tried {
                // Whoever confirmed it came in by it.
                nic.tried = false;
                if nic.source == nic.by && matches!(Trial::of(&nic.active), Trial::Due) {
                    self.store.keep_good(&store::key(&nic.link, nic.mac), &nic.active);
                }
            }
        }
        self.config = Some(config);
    }

    /// Gives up the provider's bonds and VLANs until then, so that their NICs are served by themselves.
    pub(super) fn do_without_devices(&mut self, why: String, until: Instant) {
        if !self.told {
            self.say("no-device", "bonds and VLANs", why.clone());
            self.told = true;
        }
        self.dissolved = Some(Dissolved { why, until });
        // Until they are removed nothing is asked by them.
        self.nics.retain(|_, nic| !nic.link.is_device());
        self.anew = true;
        self.put_in_force();
    }

    /// When bonds and VLANs that lead nowhere are given up.
    fn devices_end(&self) -> Option<Instant> {
        self.offline.filter(|_| self.given.provider.devices_lead_out()).map(|since| since + RETRY)
    }

    /// Gives up the provider's bonds and VLANs when nothing has led out for long, and tries them again when it is
    /// time and their NICs have found no way by themselves.
    fn judge_devices(&mut self, now: Instant) {
        let Some(dissolved) = &mut self.dissolved else {
            if self.devices_end().is_some_and(|end| end <= now) {
                let why = format!(
                    "nothing led out by bonds and VLANs for {} seconds; NICs are served by themselves",
                    RETRY.as_secs()
                );
                self.do_without_devices(why, now + RETRY);
            }
            return;
        };
        if now < dissolved.until {
            return;
        }
        let provider = &self.given.provider;
        if self.publish.borrow().nics.iter().any(|nic| nic.online() && provider.carries(&nic.name, nic.mac)) {
            dissolved.until = now + RETRY;
        } else {
            self.dissolved = None;
            self.offline = None;
            self.put_in_force();
        }
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
        let now = Instant::now();
        self.judge_devices(now);
        let mut changed = self.make_devices(now).await;
        match links(&self.handle).await {
            Ok(links) => self.follow(links),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the links cannot be listed");
                return;
            }
        }
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

    /// Makes bonds and VLANs what they should be; without them where the kernel makes none.
    async fn make_devices(&mut self, now: Instant) -> Outcome {
        let Some(config) = &self.config else { return Outcome::Unchanged };
        let provider = &config.provider;
        // A bond has the hardware address of one of its ports.
        let port = |nic: &Nic| !nic.link.is_device() && provider.bond_of(&nic.link.name, nic.mac).is_some();
        self.nics.retain(|_, nic| !port(nic));
        match converge_devices(&self.handle, &provider.devices).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let why = format!("{}; NICs are served by themselves", chain(&error));
                self.do_without_devices(why, now + RETRY);
                Outcome::Changed
            }
        }
    }

    /// Takes note of links that came, went, or changed.
    fn follow(&mut self, links: Vec<Link>) {
        let Some(config) = self.config.clone() else { return };
        let carries = |link: &Link| {
            let carries = |mac| self.given.provider.carries(&link.name, mac);
            link.carrier && !link.is_device() && link.mac.is_some_and(carries)
        };
        self.carried = links.iter().any(carries);
        let served = |link: &Link| {
            let port = link.mac.is_some_and(|mac| config.provider.bond_of(&link.name, mac).is_some());
            link.is_device() || (self.options.is_nic)(link) && !port
        };
        let present: Vec<Link> = links.into_iter().filter(served).collect();
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
                    let (index, key) = (link.index, store::key(&link, mac));
                    let described = config.described(&link.name, mac).map(|described| described.settings);
                    let wanted = config.wanted(&link.name, mac);
                    let mut nic = Nic::new(link, mac, order, wanted);
                    nic.tried = config.tried && nic.by == AddressSource::Settings;
                    if !nic.tried && self.store.silent(&key).as_ref() == Some(&nic.wanted) {
                        let others = Others { good: self.store.last_good(&key), described };
                        nic.give_way(others, "its settings led nowhere in this boot", Instant::now() + RETRY);
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
                Ok(observed) => {
                    let mut told = nic.status(&observed);
                    let without = || {
                        let dissolved = self.dissolved.as_ref()?;
                        let carries = self.given.provider.carries(&told.name, told.mac);
                        carries.then(|| dissolved.why.clone())
                    };
                    told.problem = told.problem.or_else(without);
                    status.nics.push(told);
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a NIC cannot be seen")
                }
            }
        }
        let leases = || nics.iter().filter_map(|nic| nic.lease.as_ref());
        // The owner's alone, unless these do not answer.
        let others = config.owner.dns.is_empty() || nics.iter().any(|nic| nic.helped);
        let told = nics.iter().flat_map(|nic| nic.dns()).chain(config.provider.dns.iter().copied());
        status.dns = unique(config.owner.dns.iter().copied().chain(told.filter(|_| others)));
        let leased = leases().flat_map(|lease| &lease.search);
        let leased6 = nics.iter().filter_map(|nic| nic.lease6.as_ref()).flat_map(|lease| &lease.search);
        status.search = unique(leased.chain(leased6).chain(&config.provider.search).cloned());
        status.hostname = leases().find_map(|lease| lease.hostname.clone());
        let text = resolv_conf(&status.dns, &status.search);
        if let Err(error) = files::write_if_changed(&self.options.resolv_conf, text, 0o644) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the resolver's file cannot be written"
            );
        }
        if status.online() {
            (self.offline, self.told) = (None, false);
        } else if self.carried {
            self.offline = self.offline.or(Some(Instant::now()));
        } else {
            self.offline = None;
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

/// Each link's place: those that settings name in their order, then the others by number.
fn orders<'a>(config: &HostConfig, links: impl Iterator<Item = &'a Link>) -> HashMap<u32, u32> {
    let place = |link: &Link| {
        let wanted = link.mac.map(|mac| config.wanted(&link.name, mac));
        (wanted.map_or(usize::MAX, |wanted: Wanted| wanted.place), link.index)
    };
    let mut places: Vec<_> = links.map(place).collect();
    places.sort_unstable();
    places.into_iter().zip(0..).map(|((_, index), order)| (index, order)).collect()
}

/// These words, and one more after each `pause` when they have ended.
fn without_end(words: impl Stream<Item = ()> + Send + 'static, pause: Duration) -> BoxStream<'static, ()> {
    words.chain(stream::repeat(()).then(move |()| tokio::time::sleep(pause))).boxed()
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

#[cfg(test)]
mod tests {
    use agent_core::network::{Cidr, InterfaceConfig, RouteConfig};

    use super::super::nic::tests::nic;
    use super::*;

    #[tokio::test]
    async fn when_netlink_has_ended_there_is_a_word_again_and_again() {
        let mut words = without_end(stream::iter([()]), Duration::from_millis(1));
        for _ in 0..5 {
            let word = tokio::time::timeout(Duration::from_secs(60), words.next()).await;
            assert_eq!(word, Ok(Some(())));
        }
    }

    /// A manager with a NIC whose settings have two gateways, which are being asked.
    fn asking(folder: &std::path::Path) -> (Manager, InterfaceConfig, String) {
        let options = HostOptions {
            state: folder.join("state"),
            volatile: folder.join("run"),
            resolv_conf: folder.join("resolv.conf"),
            ..HostOptions::standard()
        };
        let (publish, _) = watch::channel(NetworkStatus::default());
        let (report, _) = mpsc::unbounded_channel();
        let mut manager = Manager::new(options, publish, report).unwrap();

        let route = |via: &str, metric: u32| {
            let via: IpAddr = via.parse().unwrap();
            RouteConfig { to: Cidr::default_route(via), via: Some(via), on_link: false, metric: Some(metric) }
        };
        let settings = InterfaceConfig {
            dhcp4: false,
            addresses: vec!["192.0.2.7/24".parse().unwrap()],
            routes: vec![route("192.0.2.1", 1), route("192.0.2.2", 2)],
            ..InterfaceConfig::automatic("ens3")
        };
        let mut nic = nic(settings.clone());
        nic.trial = Trial::Running { deadline: None, silent: settings.gateways(), probes: vec![] };
        let key = store::key(&nic.link, nic.mac);
        manager.nics.insert(nic.link.index, nic);
        (manager, settings, key)
    }

    fn answered(address: &str) -> Word {
        Word::Answered(2, address.parse().unwrap())
    }

    #[tokio::test]
    async fn only_a_gateway_that_is_asked_proves_settings() {
        let folder = tempfile::tempdir().unwrap();
        let (mut manager, settings, key) = asking(folder.path());
        // One of settings before these.
        assert!(!manager.hear(answered("192.0.2.99")));
        assert_eq!(manager.store.last_good(&key), None);
        assert!(manager.hear(answered("192.0.2.2")));
        assert_eq!(manager.store.last_good(&key), Some(settings));
    }

    #[tokio::test]
    async fn settings_that_are_refused_in_part_give_way_only_to_what_may_lead_out() {
        let good = InterfaceConfig::automatic("ens4");
        for good_failed in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let (mut manager, _, key) = asking(folder.path());
            manager.store.keep_good(&key, &good);
            let nic = manager.nics.get_mut(&2).unwrap();
            nic.failure = Some("an MTU".to_owned());
            nic.good_failed = good_failed;
            assert_eq!(manager.hear(answered("192.0.2.1")), good_failed);
            assert_eq!(matches!(manager.nics[&2].trial, Trial::None), good_failed, "they stay");
            assert_eq!(manager.store.last_good(&key).as_ref(), Some(&good), "they are no good ones");
        }
    }
}
