//! Switching to the other slot: by the boot loader, with one try.

use std::sync::Arc;

use agent_core::standing;
use agent_core::state::LEVEL;
use agent_core::update::{self, Baseline, FailedVersion, StagedRelease, Trial};
use anyhow::{Context, bail};
use image_layout::{Slot, Version};

use super::work::{self, Looked};
use super::{change, reach, scrub};
use crate::agent::Agent;
use crate::{clock, slots};

/// Looks for a newer release, stages it and switches to it; nothing newer is no error. `window` is that of an
/// unattended switch, else 0. Gives the version that is switched to: the box is about to restart.
pub(crate) async fn apply(agent: &Arc<Agent>, window: u64) -> anyhow::Result<Option<Version>> {
    let looked = match work::stage(agent).await {
        Err(error) if window == 0 && work::unreachable(&error) && valid(agent) => None,
        looked => Some(looked?),
    };
    if let Some(Looked::Current) = looked {
        return Ok(None);
    }
    let staged = agent.updates.record().staged.context("nothing is staged")?;
    let _alone = work::begin(agent, "switching").await;
    if let Err(error) = work::verify(agent, &staged).await {
        // It has to be fetched again before it can be switched to.
        change(agent, |record| record.staged = None)?;
        return Err(error);
    }
    let StagedRelease { version, slot, .. } = staged;
    switch(agent, &version, slot, window).await?;
    Ok(Some(version))
}

/// Whether what is staged may be switched to without a word of its publisher: its metadata has not expired.
fn valid(agent: &Agent) -> bool {
    let record = agent.updates.record();
    let of_staged = record
        .checked
        .filter(|checked| record.staged.as_ref().is_some_and(|staged| staged.version == checked.version));
    of_staged.is_some_and(|checked| checked.expires > clock::epoch() as i64) && work::synchronized()
}

/// Goes back to the version before; it is the box's owner who says so, and the one that is left is not taken
/// again by itself.
pub(crate) async fn rollback(agent: &Arc<Agent>) -> anyhow::Result<Version> {
    let _alone = work::begin(agent, "going back").await;
    let record = agent.updates.record();
    if record.trial.is_some() {
        bail!("the version that runs has not proved itself yet: a reboot goes back");
    }
    let other = work::running(agent)?.other();
    let previous = record.previous.filter(|previous| previous.slot == other);
    let previous = previous.context("the other slot holds no version that has proved itself")?;
    scrub::refuse_damaged(agent, other)?;
    let running = agent.updates.image.version.clone().context("the image that runs has no version")?;
    change(agent, |record| {
        let reason = "an admin went back from it".to_owned();
        let attempts = record.failed.get(&running).map_or(0, |failed| failed.attempts);
        record.failed.insert(running, FailedVersion { attempts, reason, window: 0, held: true });
    })?;
    switch(agent, &previous.version, previous.slot, 0).await?;
    Ok(previous.version)
}

/// Records the trial, tells the boot loader, and restarts the box.
async fn switch(agent: &Arc<Agent>, version: &Version, slot: Slot, window: u64) -> anyhow::Result<()> {
    let running = work::running(agent)?;
    let from = agent.updates.image.version.clone().context("the image that runs has no version")?;
    let baseline = baseline(agent).await;
    let boot = slots::boot_text()?;
    change(agent, |record| {
        record.trial = Some(Trial {
            version: version.clone(),
            from,
            level: LEVEL,
            slot,
            at: clock::epoch(),
            boot,
            window,
            baseline,
            progress: Default::default(),
        });
        record.problem = None;
    })?;
    let restarted = match slots::switch(running, slot) {
        Ok(()) => agent.systemd.enqueue("reboot.target").await.context("systemd refuses to restart"),
        refused => refused,
    };
    match &restarted {
        Ok(()) => agent.events.add("update", None, format!("the box restarts into {version}")),
        // Nothing came of it; where one of the two cannot be told so, the other is.
        Err(_) => {
            let undone = [slots::went_back(running), change(agent, |record| record.trial = None)];
            undone.into_iter().filter_map(Result::err).for_each(|error| tracing::error!("{error:#}"));
        }
    }
    restarted
}

/// What works now, and has to work again.
async fn baseline(agent: &Agent) -> Baseline {
    let (generation, instances) = {
        let live = agent.live();
        let ignored =
            live.document.settings.update.as_ref().map(|update| update.ignore.clone()).unwrap_or_default();
        let all = live.desired.instances.values().map(|wanted| {
            let standing = standing::instance(wanted, &live.observed, &live.memory, &live.plan);
            (wanted.name.as_str(), wanted.health_timeout, standing)
        });
        (live.generation, update::that_count(all, &ignored))
    };
    let endpoints = reach::endpoints(agent);
    let (gateways, endpoints) = tokio::join!(reach::gateways(agent), reach::reached(&endpoints));
    Baseline { generation, instances, gateways, endpoints }
}
