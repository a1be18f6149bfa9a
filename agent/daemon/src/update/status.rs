//! Updates, as the API tells of them.

use agent_api::types::{FailedUpdate, LastUpdate, StagedUpdate, UpdateProgress, UpdateState, UpdateStatus};
use agent_core::update::{Due, Ending};

use super::{scrub, unattended, work};
use crate::agent::Agent;
use crate::clock;

/// All of it.
pub(crate) fn status(agent: &Agent) -> UpdateStatus {
    let settings = agent.live().document.settings.clone();
    let record = agent.updates.record();
    let (doing, on_trial) = {
        let live = agent.updates.live();
        (live.doing, live.trial.is_some())
    };
    let running = agent.updates.image.version.clone();
    let newer =
        record.checked.as_ref().filter(|checked| running.as_ref().is_some_and(|r| checked.version > *r));
    let older =
        record.checked.as_ref().filter(|checked| running.as_ref().is_some_and(|r| checked.version < *r));
    let staged = record.staged.as_ref().filter(|_| record.trial.is_none() || !on_trial);
    let problem = record.problem.as_ref().map(|problem| problem.reason.clone()).or_else(|| {
        let older = older?;
        Some(format!(
            "the channel has {}, which is older than what runs: a box goes back only when told",
            older.version
        ))
    });
    let state = match doing {
        _ if on_trial => UpdateState::OnTrial,
        Some("staging") => UpdateState::Staging,
        _ if settings.update.is_none() => UpdateState::Off,
        _ if record.problem.is_some() => UpdateState::Blocked,
        _ if staged.is_some_and(|s| running.as_ref().is_some_and(|r| s.version > *r)) => UpdateState::Staged,
        _ if newer.is_some() => UpdateState::Available,
        _ if record.checked.is_none() => UpdateState::Unknown,
        _ => UpdateState::Current,
    };
    let next = match unattended::due(agent) {
        Due::Never => None,
        Due::In(seconds) => Some(clock::rfc3339(clock::epoch() + seconds)),
        Due::Now { .. } => Some(clock::rfc3339(clock::epoch())),
    };
    UpdateStatus {
        state,
        running: running.as_ref().map(ToString::to_string).unwrap_or_default(),
        url: settings.update.as_ref().map(|update| update.url.as_str().to_owned()),
        channel: settings.update.as_ref().map(|update| update.channel.clone()),
        policy: settings.update.as_ref().map(|update| update.policy.as_str().to_owned()),
        window: settings.update.as_ref().map(|update| format!("{} {}", update.window, settings.timezone)),
        next,
        available: newer.map(|checked| checked.version.to_string()),
        checked: record.checked.as_ref().map(|checked| clock::rfc3339(checked.at)),
        expires: record.checked.as_ref().map(|checked| clock::rfc3339(checked.expires.max(0) as u64)),
        problem,
        lacking: record
            .trial
            .as_ref()
            .filter(|_| on_trial)
            .map(|t| t.progress.lacking.clone())
            .unwrap_or_default(),
        staged: staged.map(|staged| StagedUpdate {
            version: staged.version.to_string(),
            at: clock::rfc3339(staged.at),
            fetched: staged.fetched,
            needed: staged.needed,
        }),
        progress: (doing == Some("staging"))
            .then(|| work::progress(agent))
            .flatten()
            .map(|progress| UpdateProgress { fetched: progress.fetched, needed: progress.needed }),
        last: record.last.map(|last| LastUpdate {
            version: last.version.to_string(),
            from: last.from.to_string(),
            kept: last.ending == Ending::Good,
            reason: last.reason,
            at: clock::rfc3339(last.at),
        }),
        failed: record
            .failed
            .into_iter()
            .filter(|(version, _)| Some(version) != running.as_ref())
            .map(|(version, failed)| FailedUpdate {
                version: version.to_string(),
                attempts: failed.attempts,
                reason: failed.reason,
                held: failed.held || failed.attempts >= agent_core::update::MOST_ATTEMPTS,
            })
            .collect(),
        previous: record
            .previous
            .filter(|previous| Some(previous.slot) != agent.boot.slot())
            .map(|previous| previous.version.to_string()),
        scrub: scrub::last(agent),
        damaged: scrub::damaged(agent),
    }
}
