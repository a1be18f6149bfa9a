//! How an instance stands, in one word and one sentence.

use recipes::model::Restart;

use crate::action::{Action, Plan};
use crate::container::ContainerName;
use crate::desired::InstanceDesired;
use crate::health::Verdict;
use crate::memory::{Failure, Memory};
use crate::observed::{Observed, UnitState};

/// How something stands. Later is worse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// As it should.
    Healthy,
    /// Work is under way: what it waits for.
    Settling(String),
    /// Something does not work: what.
    Degraded(String),
}

/// How an instance stands.
pub fn instance(wanted: &InstanceDesired, observed: &Observed, memory: &Memory, plan: &Plan) -> Standing {
    let failed = memory.failures.values().find_map(|failure| failure_of(wanted, failure));
    if let Some(reason) = failed {
        return Standing::Degraded(reason);
    }
    let containers = wanted.containers.keys().map(|name| container(wanted, name, observed, memory));
    let worst = containers.max().unwrap_or(Standing::Healthy);
    if worst > Standing::Healthy {
        return worst;
    }
    let references = wanted.references();
    let next = plan.actions.iter().find(|planned| match &planned.action {
        Action::FetchImage { reference, .. } | Action::AdoptImage { reference } => {
            references.contains(reference.as_str())
        }
        action => action.instance() == Some(&wanted.name),
    });
    match next {
        Some(planned) => Standing::Settling(format!("{}: {}", planned.action, planned.reason)),
        None => Standing::Healthy,
    }
}

/// Why a failed action makes this instance degraded; `None` when it is another's, or may still be retried.
fn failure_of(wanted: &InstanceDesired, failure: &Failure) -> Option<String> {
    let concerns = match &failure.action {
        Action::FetchImage { reference, .. } | Action::AdoptImage { reference } => {
            wanted.references().contains(reference.as_str())
        }
        action => action.instance() == Some(&wanted.name),
    };
    let retried = match &failure.action {
        Action::RunStep { step, .. } => {
            wanted.steps.get(step).is_some_and(|step| failure.healing.failures <= step.retries)
        }
        _ => false,
    };
    (concerns && !retried).then(|| format!("{}: {}", failure.action, failure.error))
}

/// How a container of an instance stands.
pub fn container(wanted: &InstanceDesired, name: &str, observed: &Observed, memory: &Memory) -> Standing {
    let id = ContainerName::new(&wanted.name, name);
    let Some(desired) = wanted.containers.get(name) else { return Standing::Healthy };
    let remembered = memory.containers.get(&id);
    let found = observed.containers.get(&id);
    let exit = remembered.and_then(|m| m.last_exit);
    let unhealthy = remembered.is_some_and(|m| m.unhealthy);
    let is_unhealthy = || {
        let reason = remembered.and_then(|m| m.probed.as_ref()?.last_failure.clone());
        Standing::Degraded(format!("{id} is unhealthy: {}", reason.unwrap_or_default()))
    };
    if let Some(m) = remembered
        && m.healing.degraded()
    {
        let how = exit.map(|exit| format!(", last it {exit}")).unwrap_or_default();
        return Standing::Degraded(format!("{id} failed {} times in a row{how}", m.healing.failures));
    }
    match found.map(|found| &found.unit) {
        Some(UnitState::Running { .. }) => match memory.verdict(&id, desired) {
            Some(Verdict::Unhealthy) => is_unhealthy(),
            Some(Verdict::Starting) => Standing::Settling(format!("{id} has not answered its probe yet")),
            Some(Verdict::Healthy) | None => Standing::Healthy,
        },
        Some(UnitState::Stopping) if unhealthy => is_unhealthy(),
        Some(UnitState::Starting | UnitState::Stopping) => Standing::Settling(format!("{id} is changing")),
        _ => match (desired.restart, exit, found.is_some_and(|f| f.started)) {
            // However well it ended when it was stopped for that.
            (Restart::Never, Some(_), true) if unhealthy => {
                Standing::Degraded(format!("{id} was unhealthy and is not restarted"))
            }
            (_, Some(_), true) if unhealthy => {
                Standing::Settling(format!("{id} was unhealthy and is started again"))
            }
            (Restart::Never, Some(exit), true) if !exit.is_success() => {
                Standing::Degraded(format!("{id} {exit} and is not restarted"))
            }
            (Restart::Never | Restart::OnFailure, Some(exit), true) if exit.is_success() => Standing::Healthy,
            (Restart::Never, None, true) => Standing::Healthy,
            (_, Some(exit), true) => Standing::Settling(format!("{id} {exit} and is started again")),
            _ => Standing::Settling(format!("{id} has not been started")),
        },
    }
}
