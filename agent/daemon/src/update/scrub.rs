//! Slots that rot: looked for after an unclean stop, in each window and when asked; repaired, or told of.
//!
//! The kernel restarts the box at the first damaged block that is read, with no chance to write anything: so what
//! can be written is that a stop was clean, and the lack of that is what is found afterwards. A look can write to
//! neither slot; only a repair is handed partitions to write, and only those of slots that are damaged.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use agent_api::types::{DamagedSlot, Scrub};
use agent_core::update::{self, Good, LastScrub, ScrubRecord, Seen};
use agent_system::files;
use agent_update::{Condition, Outcome, Scrubbed, Verb};
use anyhow::{Context, bail};
use image_layout::{Slot, Version, kernel, paths};
use recipes::model::Update;
use recipes::shape::Window;

use super::unattended;
use super::work::{self, Rights};
use crate::agent::Agent;
use crate::records::Records;
use crate::{announce, clock, slots};

/// Under the state folder while the box is stopped cleanly.
const CLEAN: &str = "clean";
/// The window of a box that is given none.
const WINDOW: &str = "03:00-05:00";
/// The longest sleep, and the pause before damage that is left is tried again.
const LONGEST: u64 = 3600;
/// The same while there may soon be a release to repair it from.
const SOON: u64 = 120;
/// After so long the slot that runs does not restart the box at each start: it gets its tries back though it was
/// not read to the end. Without it, power that fails again and again would cost a box its newest version.
const TRUST: Duration = Duration::from_secs(120);

/// At the agent's start: whether the box was stopped cleanly, and what is known of damage.
pub(super) fn begin(records: &Records) -> (ScrubRecord, Option<String>) {
    let (known, mut complaint) = match records.scrubs() {
        Ok(known) => (known, None),
        Err(error) => (None, Some(format!("{error}; it is begun anew"))),
    };
    let clean = records.path(CLEAN);
    // An agent that is started again says nothing of the box, and a box that boots for the first time nothing
    // of its slots.
    let first = !Path::new(paths::ANSWERED).exists();
    let unclean = first && known.is_some() && !clean.exists();
    let mut record = known.clone().unwrap_or_default();
    record.due |= unclean;
    if known.as_ref() != Some(&record)
        && let Err(error) = records.put_scrubs(&record)
    {
        complaint = Some(error.to_string());
    }
    if let Err(error) = files::remove(clean) {
        complaint = Some(error.to_string());
    }
    (record, complaint)
}

/// The agent is stopped in good order.
pub(crate) fn stopped(agent: &Agent) {
    if let Err(error) = files::write_atomic(agent.records.path(CLEAN), b"", 0o600) {
        tracing::error!("{error}");
    }
}

/// Looks whenever it is due, for ever.
pub(super) async fn run(agent: Arc<Agent>) {
    let trusted = agent.clone();
    tokio::spawn(async move {
        tokio::time::sleep(TRUST).await;
        trust(&trusted);
    });
    let mut slept = 0;
    loop {
        let due = due(&agent).unwrap_or(LONGEST);
        if due > 0 {
            let sleep = due.min(LONGEST);
            tokio::time::sleep(Duration::from_secs(sleep)).await;
            slept += sleep;
            // Without a clock that is set no release can be asked, and the slots are as they were.
            let idle = due == SOON && !work::synchronized() && slept < LONGEST;
            if due > LONGEST || idle {
                continue;
            }
        }
        slept = 0;
        if agent.updates.record().trial.is_some() {
            tokio::time::sleep(Duration::from_secs(SOON)).await;
            continue;
        }
        let done = scrub(&agent).await;
        if let Err(error) = &done {
            agent.events.add("scrub-failed", None, format!("the slots cannot be judged: {error:#}"));
        }
        trust(&agent);
        if done.is_err() {
            tokio::time::sleep(Duration::from_secs(LONGEST)).await;
        }
    }
}

/// The slots were read, or cannot be, or nothing came of it for a while: the one that runs gets its tries back,
/// if it is still the good one.
fn trust(agent: &Agent) {
    if agent.updates.unread.swap(false, Ordering::Relaxed) {
        if let Err(error) = slots::trusted(agent.boot.slot()) {
            agent.events.add("slots", None, format!("the slot state was not written: {error:#}"));
        }
        announce::state(agent);
    }
}

/// Seconds until the slots are to be read.
fn due(agent: &Agent) -> Option<u64> {
    let (settings, zone) = {
        let live = agent.live();
        let settings = &live.document.settings;
        (settings.update.clone(), settings.timezone.zone().clone())
    };
    let record = known(agent).clone();
    if !record.damaged.is_empty() && !record.due {
        let soon = settings.is_some() && !work::synchronized();
        return Some(if soon { SOON } else { LONGEST });
    }
    let window = match &settings {
        Some(update) => update.window,
        None => Window::parse(WINDOW).ok()?,
    };
    let most = settings.map_or(Update::default_jitter(&window), |update| update.jitter);
    let seed = unattended::seed();
    update::scrub_due(&record, &window, &zone, clock::epoch(), |opens| update::jitter(&seed, opens, most))
}

/// Compares both slots with what they should be, repairs what can be, and tells of it.
pub(crate) async fn scrub(agent: &Arc<Agent>) -> anyhow::Result<()> {
    if agent.updates.on_trial() {
        bail!("the version that runs has not proved itself yet");
    }
    let _alone = work::begin(agent, "scrubbing").await;
    let slot = work::running(agent)?;
    let version = agent.updates.image.version.clone().context("the image that runs has no version")?;
    let other = update::in_other(&agent.updates.record(), &known(agent), slot.other());
    let cmdline = std::fs::read_to_string("/proc/cmdline").context("failed to read `/proc/cmdline`")?;
    let verity = kernel::argument(&cmdline, kernel::VERITY).context("the kernel was told of no root")?;
    let look = async |repair: bool, rights| {
        let other = other.as_ref().map(|(version, _)| version.clone());
        let what = agent_update::Scrub { verity: verity.to_owned(), other, repair };
        match work::run(agent, Verb::Scrub(what), rights).await? {
            Outcome::Scrubbed(found) => Ok(found),
            answer => bail!("holdfast-update answers a question that was not asked: {answer:?}"),
        }
    };
    let seen = |found: &Scrubbed| {
        let other = found.other.as_ref().zip(other.as_ref());
        let running = seen(slot, &version, &found.running);
        let other = other.map(|(found, (version, _))| seen(slot.other(), version, found));
        [running].into_iter().chain(other).collect::<Vec<Seen>>()
    };
    let mut found = look(false, Rights::READ).await?;
    // The mark is there before anything is tried.
    note(agent, &seen(&found))?;
    let is_damaged = |condition: &Condition| !condition.whole();
    let (running, target) = (is_damaged(&found.running), found.other.as_ref().is_some_and(is_damaged));
    if running || target {
        let network = reachable(agent);
        found = look(true, Rights { network, target, running }).await?;
        note(agent, &seen(&found))?;
    }
    let seen = seen(&found);
    let proved = other.is_some_and(|(_, proved)| proved);
    let sum = |of: fn(&Seen) -> u64| seen.iter().map(of).sum();
    let last = LastScrub { at: clock::epoch(), damaged: sum(|s| s.damaged), repaired: sum(|s| s.repaired) };
    let mut good = None;
    remember(agent, |record| {
        record.due = false;
        record.last = Some(last);
        good = record.conclude(slot, &seen, proved);
    })?;
    announce::state(agent);
    match good {
        None => Ok(()),
        Some(Good::Running) => slots::healthy(Some(slot)),
        Some(Good::Other) => slots::damaged(slot),
    }
}

/// What is wrong, for the box's state.
pub(crate) fn damage(agent: &Agent) -> Vec<String> {
    known(agent).problems()
}

/// What is remembered of damage.
pub(crate) fn scrubs(agent: &Agent) -> ScrubRecord {
    known(agent).clone()
}

/// The last look, for the API.
pub(super) fn last(agent: &Agent) -> Option<Scrub> {
    let LastScrub { at, damaged, repaired } = known(agent).last?;
    Some(Scrub { at: clock::rfc3339(at), damaged, repaired })
}

/// What is wrong with a slot that the box left for it.
pub(super) fn damage_of(agent: &Agent, slot: Slot) -> Option<String> {
    known(agent).damaged.get(&slot).filter(|damage| damage.moved).map(|damage| damage.reason.clone())
}

/// Slots that are marked, for the API.
pub(super) fn damaged(agent: &Agent) -> Vec<DamagedSlot> {
    let damaged = known(agent).damaged.clone();
    let told = damaged.into_iter().map(|(slot, damage)| DamagedSlot {
        slot: slot.to_string(),
        version: damage.version.to_string(),
        blocks: damage.blocks,
        since: clock::rfc3339(damage.since),
        reason: damage.reason,
    });
    told.collect()
}

/// Something else is written to this slot.
pub(super) fn forget(agent: &Agent, slot: Slot) -> anyhow::Result<()> {
    remember(agent, |record| drop(record.damaged.remove(&slot)))
}

/// No box is sent to a slot that is known to be damaged.
pub(super) fn refuse_damaged(agent: &Agent, slot: Slot) -> anyhow::Result<()> {
    match known(agent).damaged.get(&slot) {
        None => Ok(()),
        Some(damage) => bail!("slot {slot} is damaged: {}", damage.reason),
    }
}

/// Whether a release can be asked for what is missing.
fn reachable(agent: &Agent) -> bool {
    let source = agent.live().document.settings.update.is_some();
    source && agent.updates.image.root.is_some() && work::synchronized()
}

fn seen(slot: Slot, version: &Version, condition: &Condition) -> Seen {
    Seen {
        slot,
        version: version.clone(),
        damaged: condition.damaged,
        repaired: condition.repaired,
        reason: condition.reason.clone().unwrap_or_default(),
    }
}

fn note(agent: &Agent, seen: &[Seen]) -> anyhow::Result<()> {
    let mut events = Vec::new();
    remember(agent, |record| events = record.note(seen, clock::epoch()))?;
    for (kind, message) in events {
        agent.events.add(kind, None, message);
    }
    Ok(())
}

fn known(agent: &Agent) -> MutexGuard<'_, ScrubRecord> {
    agent.updates.scrubs.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Changes the record; durable when this returns.
fn remember(agent: &Agent, change: impl FnOnce(&mut ScrubRecord)) -> anyhow::Result<()> {
    let mut record = known(agent).clone();
    change(&mut record);
    if *known(agent) != record {
        agent.records.put_scrubs(&record).context("failed to keep the record of damage")?;
        *known(agent) = record;
    }
    Ok(())
}
