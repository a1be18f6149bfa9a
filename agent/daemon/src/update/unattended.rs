//! What the box does by itself, in its window.

use std::sync::Arc;
use std::time::Duration;

use agent_core::update::{self, Clock, Due};
use agent_system::files;
use image_layout::paths;

use super::work::{self, Looked};
use super::{change, note_problem, scrub, switch, trial};
use crate::agent::Agent;
use crate::clock;

/// The longest sleep: a clock that was set meanwhile is seen after it.
const LONGEST: Duration = Duration::from_secs(3600);

/// Does what is due, for ever.
pub(crate) async fn run(agent: Arc<Agent>) {
    trial::watch(agent.clone()).await;
    if let Err(error) = work::settle_cut(&agent).await {
        note_problem(&agent, &format!("{error:#}"));
    }
    tokio::spawn(scrub::run(agent.clone()));
    loop {
        let wait = match due(&agent) {
            Due::Never => LONGEST,
            Due::In(seconds) => Duration::from_secs(seconds).min(LONGEST),
            Due::Now { window, apply } => {
                act(&agent, window, apply).await;
                continue;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = agent.updates.wake.notified() => {}
        }
    }
}

/// What is due, and when.
pub(super) fn due(agent: &Agent) -> Due {
    let (settings, zone) = {
        let live = agent.live();
        let settings = &live.document.settings;
        (settings.update.clone(), settings.timezone.zone().clone())
    };
    let Some(settings) = settings else { return Due::Never };
    let (record, tried) = {
        let live = agent.updates.live();
        (live.record.clone(), live.tried)
    };
    if record.trial.is_some() {
        return Due::Never;
    }
    let clock = Clock { now: clock::epoch(), synchronized: work::synchronized() };
    update::due(&settings, &zone, &seed(), &record, tried, clock)
}

/// What tells this box's delays from those of others.
pub(super) fn seed() -> String {
    let id = files::read_text(format!("{}/machine-id", paths::IDENTITY), 64).unwrap_or_default();
    id.trim().to_owned()
}

async fn act(agent: &Arc<Agent>, window: u64, apply: bool) {
    let done = attempt(agent, window, apply).await;
    match done {
        Ok(()) => {
            if let Err(error) = change(agent, |record| record.window = window) {
                tracing::error!("{error:#}");
                agent.updates.live().tried = Some(clock::epoch());
            }
        }
        Err(error) => {
            note_problem(agent, &format!("{error:#}"));
            agent.updates.live().tried = Some(clock::epoch());
        }
    }
}

async fn attempt(agent: &Arc<Agent>, window: u64, apply: bool) -> anyhow::Result<()> {
    let Looked::Newer(version) = work::look(agent).await? else { return Ok(()) };
    if let Err(reason) = update::may_try(&agent.updates.record(), &version, window) {
        note_problem(agent, &reason);
        return Ok(());
    }
    if !apply {
        return work::stage(agent).await.map(drop);
    }
    if switch::apply(agent, window).await?.is_some() {
        // The box restarts; until it does there is nothing else to do.
        tokio::time::sleep(LONGEST).await;
    }
    Ok(())
}
