//! One container: from its image to its running unit, and back when its configuration changed.

use recipes::model::{Item, Restart};

use super::{Planner, images, instance, steps};
use crate::action::Action;
use crate::container::ContainerName;
use crate::desired::{ContainerDesired, InstanceDesired};
use crate::health::Verdict;
use crate::network;
use crate::observed::{ObservedContainer, UnitState};
use crate::state::InstanceRecord;

/// Why a running container has to be stopped, or what it is told while it runs.
pub(super) fn plan(p: &mut Planner<'_>, wanted: &InstanceDesired, name: &str, container: &ContainerDesired) {
    let id = ContainerName::new(&wanted.name, name);
    let image = images::plan(p, &wanted.name, &container.image);
    let found = p.observed.container(&id);
    let record = p.observed.records.get(&wanted.name);
    let current = record.and_then(|record| fingerprint(container, image.digest.as_deref(), record));
    let changed = current.is_some() && found.bundle.is_some() && found.bundle != current;
    match &found.unit {
        UnitState::Running { .. } | UnitState::Starting => {
            let Some(reason) = stop_reason(p, &id, container, changed) else {
                return hosts(p, wanted, &id, &found);
            };
            let stopped = p.push(Action::StopContainer(id.clone()), reason, vec![]);
            if changed {
                start(p, wanted, &id, container, &found, current.as_deref(), vec![stopped]);
            }
        }
        UnitState::Stopping => {}
        UnitState::Absent | UnitState::Ended(_) => {
            if changed || wants_start(p, &id, container, &found) {
                start(p, wanted, &id, container, &found, current.as_deref(), image.after);
            }
        }
    }
}

fn stop_reason(
    p: &Planner<'_>,
    id: &ContainerName,
    container: &ContainerDesired,
    changed: bool,
) -> Option<String> {
    let memory = p.memory.containers.get(id);
    if changed {
        Some("its configuration changed".into())
    } else if memory.is_some_and(|m| m.restart) {
        Some("a restart was asked for".into())
    } else if p.memory.verdict(id, container) == Some(Verdict::Unhealthy) {
        let reason = memory.and_then(|m| m.probed.as_ref()).and_then(|p| p.last_failure.clone());
        Some(format!("it is unhealthy: {}", reason.unwrap_or_default()))
    } else {
        None
    }
}

/// Whether a container that is down is to be started.
fn wants_start(p: &Planner<'_>, id: &ContainerName, c: &ContainerDesired, found: &ObservedContainer) -> bool {
    let memory = p.memory.containers.get(id);
    if !found.started || memory.is_some_and(|m| m.start || m.restart) {
        return true;
    }
    let ended_well = match (memory, &found.unit) {
        (Some(m), _) if m.last_exit.is_some() => m.ended_well(),
        (_, UnitState::Ended(exit)) => exit.is_success(),
        _ => true,
    };
    match c.restart {
        Restart::Always => true,
        Restart::OnFailure => !ended_well,
        Restart::Never => false,
    }
}

/// Plans everything up to the start of a container that is down, or will be after `after`.
fn start(
    p: &mut Planner<'_>,
    wanted: &InstanceDesired,
    id: &ContainerName,
    container: &ContainerDesired,
    found: &ObservedContainer,
    current: Option<&str>,
    mut after: Vec<String>,
) {
    let (needed, mut waits) = instance::needs(&wanted.name, &container.config);
    after.extend(needed);
    after.push(Action::Allocate(wanted.name.clone()).id());
    let mut before_start = vec![Action::ApplyFirewall.id()];
    let stale = found.layer.is_some() && current.is_some() && found.layer.as_deref() != current;
    if stale {
        let reason = "its configuration changed";
        after.push(p.push(Action::RemoveContainer(id.clone()), reason, after.clone()));
    }
    if !found.attached || stale {
        let mut before = vec![Action::SetupNetwork(wanted.name.clone()).id()];
        before.extend(after.iter().cloned());
        let reason = "it has no network";
        before_start.push(p.push(Action::AttachContainer(id.clone()), reason, before));
    }
    if current.is_none() || found.bundle.as_deref() != current || stale {
        let reason = if found.bundle.is_some() { "its configuration changed" } else { "there is none" };
        let action = Action::WriteBundle(id.clone());
        before_start.push(p.push_waiting(action, reason, after.clone(), waits.clone()));
    } else {
        hosts(p, wanted, id, found);
        before_start.push(Action::WriteHosts(id.clone()).id());
    }
    before_start.extend(after);
    require(p, wanted, &container.require, &mut before_start, &mut waits);
    let reason = if found.started { "it ended" } else { "not running" };
    p.push_waiting(Action::StartContainer(id.clone()), reason, before_start, waits);
}

/// Adds what is required and does not hold yet, or will not for a while: a container that is to be made anew.
pub(super) fn require(
    p: &Planner<'_>,
    wanted: &InstanceDesired,
    items: &[Item],
    after: &mut Vec<String>,
    waits: &mut Vec<String>,
) {
    for item in items {
        match item {
            Item::Container(name) => {
                let id = ContainerName::new(&wanted.name, name);
                after.extend([Action::StopContainer(id.clone()).id(), Action::StartContainer(id).id()]);
                if !holds(p, wanted, name) {
                    let probed = wanted.containers.get(name).is_some_and(|c| c.health.is_some());
                    let state = if probed { "be healthy" } else { "run" };
                    waits.push(format!("{}.{name} to {state}", wanted.name));
                }
            }
            Item::Step(name) => {
                if !wanted.steps.get(name).is_some_and(|step| steps::done(p, wanted, name, step)) {
                    waits.push(format!("step {}.{name} to succeed", wanted.name));
                }
            }
        }
    }
}

/// Whether a container is healthy, or runs where it has no probe, from its present configuration.
fn holds(p: &Planner<'_>, wanted: &InstanceDesired, name: &str) -> bool {
    let Some(container) = wanted.containers.get(name) else { return false };
    let id = ContainerName::new(&wanted.name, name);
    let running = matches!(p.observed.container(&id).unit, UnitState::Running { .. });
    let healthy = container.health.is_none() || p.memory.verdict(&id, container) == Some(Verdict::Healthy);
    running && healthy && container.config.ready().is_some()
}

/// Fingerprint of a container as it should be; `None` while something of it is not known.
pub(super) fn fingerprint(
    container: &ContainerDesired,
    digest: Option<&str>,
    record: &InstanceRecord,
) -> Option<String> {
    let config = container.config.ready()?;
    record.allocation.addresses.get(&config.name.container)?;
    Some(crate::fingerprint::container(config, digest?, &record.allocation))
}

fn hosts(p: &mut Planner<'_>, wanted: &InstanceDesired, id: &ContainerName, found: &ObservedContainer) {
    let Some(record) = p.observed.records.get(&wanted.name) else { return };
    let hosts = record.allocation.hosts_file(&id.container);
    let resolver = network::resolver(&p.observed.resolvers);
    let reason = if found.hosts.as_ref().is_some_and(|found| *found != hosts) {
        "its siblings changed"
    } else if found.resolver.as_ref().is_some_and(|found| *found != resolver) {
        "the name servers changed"
    } else {
        return;
    };
    p.push(Action::WriteHosts(id.clone()), reason, vec![]);
}
