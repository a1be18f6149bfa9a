//! Updates: looked for, staged, switched to, and kept or gone back from.
//!
//! The record is written before anything it speaks of is done. What is done unattended and what an admin asks
//! for go the same way, one at a time. Deliberately absent: what is decided, which is
//! [`agent_core::update`], and everything foreign, which is `holdfast-update`'s.

mod image;
mod reach;
mod refusal;
mod scrub;
mod status;
mod switch;
mod trial;
mod unattended;
mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use agent_core::healing::Millis;
use agent_core::text::{self, cut};
use agent_core::update::{Problem, ScrubRecord, UpdateRecord};
use anyhow::Context;
use tokio::sync::Notify;

pub(crate) use image::Image;
pub(crate) use refusal::hint;
pub(crate) use scrub::{damage, scrub, scrubs, stopped};
pub(crate) use status::status;
pub(crate) use switch::{apply, rollback};
pub(crate) use trial::{begin, note_answer};
pub(crate) use unattended::run;
pub(crate) use work::{check, stage, synchronized};

use crate::agent::Agent;
use crate::clock;
use crate::records::Records;

/// What the agent knows of updates.
#[derive(Debug)]
pub(crate) struct Updates {
    /// The image that runs.
    pub(crate) image: Image,
    /// One piece of work at a time.
    work: tokio::sync::Mutex<()>,
    /// Settings or the record changed.
    pub(crate) wake: Notify,
    live: Mutex<Live>,
    /// What is remembered of damage to the slots.
    scrubs: Mutex<ScrubRecord>,
    /// The box was not stopped cleanly, and its slots were not judged since.
    unread: AtomicBool,
}

/// What changes.
#[derive(Debug, Default)]
struct Live {
    record: UpdateRecord,
    /// What is being done, in a word.
    doing: Option<&'static str>,
    /// When the last unattended attempt came to nothing, seconds since 1970.
    tried: Option<u64>,
    /// On trial; since when nothing has been lacking.
    trial: Option<Option<Millis>>,
}

impl Updates {
    /// Reads the record; what is wrong with one that cannot be read.
    pub(crate) fn open(records: &Records) -> (Updates, Option<String>) {
        let (record, complaint) = match records.updates() {
            Ok(record) => (record.unwrap_or_default(), None),
            Err(error) => (UpdateRecord::default(), Some(format!("{error}; it is begun anew"))),
        };
        let live = Mutex::new(Live { record, ..Live::default() });
        let work = tokio::sync::Mutex::default();
        let (scrubs, of_scrubs) = scrub::begin(records);
        let complaint = complaint.or(of_scrubs);
        let unread = AtomicBool::new(scrubs.due);
        let scrubs = Mutex::new(scrubs);
        (Updates { image: Image::read(), work, wake: Notify::new(), live, scrubs, unread }, complaint)
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The record as it is.
    pub(crate) fn record(&self) -> UpdateRecord {
        self.live().record.clone()
    }

    /// What is being done, in a word.
    pub(crate) fn doing(&self) -> Option<&'static str> {
        self.live().doing
    }

    /// Whether the box was not stopped cleanly, and its slots were not judged since. Until then a damaged block
    /// may restart it at any moment, and each start has to cost the slot a try.
    pub(crate) fn unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Whether the version that runs has to prove itself.
    pub(crate) fn on_trial(&self) -> bool {
        self.live().trial.is_some()
    }
}

/// Changes the record; durable when this returns.
fn change(agent: &Agent, change: impl FnOnce(&mut UpdateRecord)) -> anyhow::Result<()> {
    let mut record = agent.updates.record();
    change(&mut record);
    if record != agent.updates.record() {
        agent.records.put_updates(&record).context("failed to keep the record of updates")?;
        agent.updates.live().record = record;
        agent.notices.wake.notify_one();
    }
    Ok(())
}

/// The slot is good, or no longer on trial: the state is written at the newest level, and brought there.
pub(crate) fn settle_state(agent: &Agent) {
    for complaint in agent.records.settle(Some(&agent.updates.record()), Some(true)) {
        agent.events.add("state-format", None, complaint);
    }
}

/// Notes why something came to nothing.
pub(crate) fn note_problem(agent: &Agent, reason: &str) {
    let reason = cut(reason, text::MESSAGE);
    let known = agent.updates.record().problem.is_some_and(|problem| problem.reason == reason);
    if !known {
        agent.events.add("update-problem", None, reason.as_str());
    }
    let problem = Problem { at: clock::epoch(), reason };
    if let Err(error) = change(agent, |record| record.problem = Some(problem)) {
        tracing::error!("{error:#}");
    }
}
