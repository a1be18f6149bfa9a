//! Start to end of the agent, in one place.
//!
//! Order matters: identity before anything that shows it; the API before the network, so that the way in
//! never waits; the network with what was accepted before anything is fetched.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_containers::store::Store;
use agent_core::network::{NetworkEvent, PATIENCE};
use agent_net::containers::ContainerNetworks;
use agent_net::host::{HostNetwork, HostOptions};
use agent_system::notify::{self, Notifier};
use agent_system::systemd::Systemd;
use anyhow::Context;
use image_layout::paths;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::agent::{Agent, Parts};
use crate::boot::Boot;
use crate::console::Console;
use crate::document::Library;
use crate::notify::Notices;
use crate::records::{Events, Records};
use crate::update::Updates;
use crate::{
    announce, clock, disk, eviction, host_keys, network, power_button, reconcile, reserve, server, slots,
    space, update, user_data,
};

/// Runs until asked to stop; an error means that the agent must be started anew.
pub(crate) async fn run() -> anyhow::Result<()> {
    let notifier = Notifier::from_env()?;
    let mut stop = signal(SignalKind::terminate()).context("failed to listen for signals")?;
    let (agent, network_events) = match prepare().await {
        Ok(prepared) => prepared,
        Err(error) => {
            disk::without_state(&error).await;
            return Err(error);
        }
    };
    let listener = server::listen(Path::new(paths::API_SOCKET))?;
    let server = tokio::spawn(server::serve(agent.clone(), listener));
    notifier.ready()?;
    tokio::spawn(watchdog(notifier));
    tokio::spawn(follow_network(agent.clone(), network_events));
    tokio::spawn(miss_network(agent.clone()));
    tokio::spawn(power_button::watch(agent.clone()));
    tokio::spawn(disk::watch(agent.clone()));
    eviction::start(agent.clone());
    let sweeping = agent.clone();
    tokio::task::spawn_blocking(move || sweeping.records.remove_leftovers());
    update::note_answer();
    // Before the boot loader is told anything: what it was told before says what came of an update.
    update::begin(&agent);
    answered(&agent);
    announce::host_keys(&agent);
    user_data::restore(&agent);
    user_data::restore_provider(&agent);
    network::restore(&agent);
    tokio::select! {
        ended = work(agent.clone()) => ended,
        ended = server => ended.context("the API ended").and_then(|ended| ended),
        _ = stop.recv() => {
            update::stopped(&agent);
            Ok(())
        }
    }
}

async fn work(agent: Arc<Agent>) -> anyhow::Result<()> {
    user_data::ask(&agent).await;
    tokio::spawn(update::run(agent.clone()));
    tokio::spawn(crate::notify::run(agent.clone()));
    // Before the first container runs.
    let looking = agent.clone();
    tokio::task::spawn_blocking(move || space::look(&looking)).await.context("the look at data broke off")?;
    tokio::spawn(space::run(agent.clone()));
    reconcile::run(agent).await
}

/// Opens everything that the agent lives on.
async fn prepare() -> anyhow::Result<(Arc<Agent>, UnboundedReceiver<NetworkEvent>)> {
    let boot = Boot::read();
    // Before anything is written to data: in which formats.
    let good = slots::trace().good.zip(boot.slot()).map(|(good, running)| good == running);
    let records = Records::open(paths::STATE, good).context("failed to open the state")?;
    let events = Arc::new(Events::open(&records.path("events")));
    for event in boot.report.iter().flat_map(|report| &report.events) {
        events.add(&event.kind, None, event.message.clone());
    }
    for message in records.mended() {
        events.add("state-damaged", None, message.clone());
    }
    for note in records.notes() {
        events.add("state-format", None, note.clone());
    }
    if host_keys::ensure(Path::new(paths::IDENTITY))? {
        events.add("identity", None, "made an SSH host key");
    }
    let store = Store::open(records.path("images")).context("failed to open the image store")?;
    if let Err(error) = store.tidy() {
        tracing::warn!("{:#}", anyhow::Error::from(error));
    }
    let (updates, damaged) = Updates::open(&records);
    let (notices, also_damaged) = Notices::open(&records);
    for complaint in damaged.into_iter().chain(also_damaged) {
        events.add("state-damaged", None, complaint);
    }
    let systemd = Systemd::connect().await.context("failed to reach systemd")?;
    if let Err(error) = reserve::keep(&systemd).await {
        events.add("reserve", None, format!("{error:#}"));
    }
    let bus = zbus::Connection::system().await;
    let bus = bus.inspect_err(|error| tracing::warn!("no time from timesyncd: {error}")).ok();
    let networks = ContainerNetworks::open().context("failed to reach netlink")?;
    let (network, network_events) = HostNetwork::start(HostOptions::standard())?;
    let agent = Arc::new(Agent::new(Parts {
        boot,
        records,
        events,
        console: Arc::new(Console::open()),
        library: Library::new(paths::RECIPES),
        updates,
        notices,
        store: Arc::new(store),
        systemd,
        bus,
        networks,
        network,
    }));
    Ok((agent, network_events))
}

/// Tells the boot loader that the agent answers.
fn answered(agent: &Agent) {
    if let Err(error) = slots::answered(agent.boot.slot(), !agent.updates.unread()) {
        agent.events.add("slots", None, format!("the slot state was not written: {error:#}"));
    }
}

/// Shows systemd a sign of life for as long as the runtime turns.
async fn watchdog(notifier: Notifier) {
    let Some(timeout) = notify::watchdog_timeout() else { return };
    let mut ticks = tokio::time::interval((timeout / 3).max(Duration::from_secs(1)));
    loop {
        ticks.tick().await;
        if let Err(error) = notifier.watchdog() {
            tracing::warn!("systemd was not told of a sign of life: {error}");
        }
    }
}

/// A box that has got no address by then says so.
async fn miss_network(agent: Arc<Agent>) {
    tokio::time::sleep(Duration::from_millis(PATIENCE.saturating_sub(clock::uptime()) + 1)).await;
    agent.wake.notify_one();
}

/// Takes in what the network tells.
async fn follow_network(agent: Arc<Agent>, mut events: UnboundedReceiver<NetworkEvent>) {
    let mut status = agent.network.status();
    loop {
        tokio::select! {
            changed = status.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = status.borrow_and_update().clone();
                agent.live().network = now;
                announce::state(&agent);
                agent.wake.notify_one();
            }
            Some(event) = events.recv() => {
                agent.events.add(&event.kind, None, format!("{}: {}", event.nic, event.message));
            }
        }
    }
}
