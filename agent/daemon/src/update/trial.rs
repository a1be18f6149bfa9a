//! A version on trial, from the agent's start to its slot being marked good, or the way back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_core::standing;
use agent_core::update::{self, Facts, Running, Started, Trial, Verdict};
use agent_system::files;
use anyhow::Context;
use image_layout::{Version, paths};

use super::{change, note_problem, reach, scrub, settle_state};
use crate::agent::Agent;
use crate::{clock, slots};

/// How often a version on trial is looked at.
const EVERY: Duration = Duration::from_secs(3);

/// At the agent's start, before the boot loader is told anything: what came of a trial that is on record.
pub(crate) fn begin(agent: &Arc<Agent>) {
    let running = agent.boot.slot().zip(agent.updates.image.version.clone());
    let Some((slot, version)) = running else { return };
    let running = Running { version, slot };
    let trace = slots::trace();
    let record = agent.updates.record();
    let now = clock::epoch();
    let of = record.trial.as_ref().map(|trial| trial.version.to_string()).unwrap_or_default();
    let started = update::start(&record, &running, &trace);
    let over = !matches!(started, Started::Usual | Started::OnTrial | Started::Wrong(_));
    let kept = match started {
        Started::Usual => match record.gave_way(&running) {
            Some(lost) => gave_way(agent, lost, &running),
            None => Ok(()),
        },
        Started::NeverSwitched => {
            agent.events.add("update", None, format!("the switch to {of} was cut and did not happen"));
            change(agent, |record| record.trial = None)
        }
        Started::Proved => {
            let told = files::remove(paths::TRIAL).map(drop);
            change(agent, |record| record.proved(now)).and(told.map_err(Into::into))
        }
        Started::WentBack(reason) => {
            agent.events.add("rolled-back", None, format!("the box went back from {of}: {reason}"));
            // The record first: of a cut behind it the boot loader knows that no try is left, and the next scrub
            // that the mark of the other slot means nothing.
            change(agent, |record| record.went_back(&reason, now))
                .and_then(|()| slots::went_back(slot))
                .and_then(|()| scrub::forget(agent, slot.other()))
        }
        Started::Stuck(reason) => {
            agent.events.add("update-problem", None, format!("there is no way back from {of}: {reason}"));
            change(agent, |record| record.went_back(&reason, now))
        }
        Started::Wrong(reason) => {
            let noted = change(agent, |record| {
                if let Some(trial) = &mut record.trial {
                    trial.progress.starts += 1;
                }
            });
            let (agent, trial) = (agent.clone(), record.trial.clone());
            tokio::spawn(async move {
                if let Some(trial) = trial {
                    go_back(&agent, &trial, &reason).await;
                }
            });
            noted
        }
        Started::OnTrial => {
            agent.updates.live().trial = Some(None);
            let kept = change(agent, |record| {
                if let Some(trial) = &mut record.trial {
                    trial.progress.starts += 1;
                }
            });
            // Whatever happens to this agent, the box goes back in time.
            let flag = files::write_atomic(paths::TRIAL, b"", 0o644);
            kept.and(flag.map_err(Into::into))
        }
    };
    if over {
        settle_state(agent);
    }
    if let Err(error) = kept {
        agent.events.add("update-problem", None, format!("{error:#}"));
    }
}

/// The box left a version that had proved itself. The one that runs had too, and does not have to again.
fn gave_way(agent: &Agent, lost: Version, running: &Running) -> anyhow::Result<()> {
    let other = running.slot.other();
    let reason = match scrub::damage_of(agent, other) {
        Some(damage) => format!("slot {other} is damaged: {damage}"),
        None => format!("slot {other} could not be started any more"),
    };
    slots::healthy(Some(running.slot))?;
    files::remove(paths::TRIAL)?;
    agent.events.add("rolled-back", None, format!("the box went back from {lost}: {reason}"));
    change(agent, |record| record.left(lost, running, &reason, clock::epoch()))
}

/// Watches a version on trial until it stays or the box goes back.
pub(super) async fn watch(agent: Arc<Agent>) {
    let mut ticks = tokio::time::interval(EVERY);
    while agent.updates.on_trial() {
        ticks.tick().await;
        let Some(trial) = agent.updates.record().trial else { return };
        let facts = facts(&agent, &trial).await;
        match update::judge(&trial, &facts) {
            Verdict::Wait(lacking) => wait(&agent, &facts, lacking),
            // Where that cannot be told it is tried again.
            Verdict::Good => match stay(&agent, &trial) {
                Ok(()) => return,
                Err(error) => note_problem(&agent, &format!("{error:#}")),
            },
            Verdict::Bad(reason) => {
                go_back(&agent, &trial, &reason).await;
                return;
            }
        }
    }
}

async fn facts(agent: &Agent, trial: &Trial) -> Facts {
    let (gateways, endpoints) =
        tokio::join!(reach::gateways(agent), reach::reached(&trial.baseline.endpoints));
    let live = agent.live();
    let wanted = live.desired.instances.values();
    let instances = wanted
        .map(|wanted| {
            let standing = standing::instance(wanted, &live.observed, &live.memory, &live.plan);
            (wanted.name.clone(), standing)
        })
        .collect();
    let steady_since = agent.updates.live().trial.flatten();
    Facts {
        since_answer: since_answer(),
        steady_since,
        generation: live.generation,
        instances,
        gateways,
        endpoints,
    }
}

/// Notes what is lacking, and since when nothing is.
fn wait(agent: &Agent, facts: &Facts, lacking: Vec<String>) {
    let steady = lacking.is_empty().then(|| facts.steady_since.unwrap_or(facts.since_answer));
    agent.updates.live().trial = Some(steady);
    let kept = change(agent, |record| {
        if let Some(trial) = &mut record.trial {
            trial.progress.lacking = lacking;
        }
    });
    if let Err(error) = kept {
        tracing::warn!("{error:#}");
    }
}

fn stay(agent: &Agent, trial: &Trial) -> anyhow::Result<()> {
    // The boot loader first: a cut between the two is told from its state.
    slots::healthy(Some(trial.slot)).context("the slot could not be marked as good")?;
    files::remove(paths::TRIAL)?;
    change(agent, |record| record.proved(clock::epoch()))?;
    agent.updates.live().trial = None;
    settle_state(agent);
    agent.events.add("updated", None, format!("{} has proved itself, after {}", trial.version, trial.from));
    agent.updates.wake.notify_one();
    Ok(())
}

async fn go_back(agent: &Agent, trial: &Trial, reason: &str) {
    agent.events.add("rolling-back", None, format!("the box goes back to {}: {reason}", trial.from));
    let kept = change(agent, |record| {
        if let Some(trial) = &mut record.trial {
            trial.progress.reason = Some(reason.to_owned());
        }
    });
    if let Err(error) = kept {
        tracing::error!("{error:#}");
    }
    if let Err(error) = agent.systemd.enqueue("reboot.target").await {
        tracing::error!("systemd refuses to restart: {error}");
    }
}

/// Milliseconds since an agent of this boot first answered.
fn since_answer() -> u64 {
    let first = files::read_text(paths::ANSWERED, 64).ok().and_then(|text| text.trim().parse::<u64>().ok());
    clock::uptime().saturating_sub(first.unwrap_or_else(clock::uptime))
}

/// Notes when an agent of this boot first answered.
pub(crate) fn note_answer() {
    if !Path::new(paths::ANSWERED).exists()
        && let Err(error) = files::write_atomic(paths::ANSWERED, clock::uptime().to_string(), 0o644)
    {
        tracing::error!("{error}");
    }
}
