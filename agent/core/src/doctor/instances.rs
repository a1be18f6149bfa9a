//! Instances: containers that do not do, steps that failed, work that cannot go on.

use super::{Facts, Finding, Severity, size};
use crate::action::Action;
use crate::container::ContainerName;
use crate::desired::{ContainerDesired, InstanceDesired, Rendered, StepPlace};
use crate::memory::Failure;
use crate::observed::Exit;
use crate::standing::{self, Standing};

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        facts.memory.failures.values().filter_map(|failure| of_failure(facts, failure)).collect();
    for wanted in facts.desired.instances.values() {
        for (name, container) in &wanted.containers {
            found.extend(of_container(facts, wanted, name, container));
        }
    }
    found
}

/// An action that failed, but those of images, and a start, which is its container's matter.
fn of_failure(facts: &Facts<'_>, failure: &Failure) -> Option<Finding> {
    let (action, error) = (&failure.action, &failure.error);
    let message = format!("{action}: {error}");
    let subject = action.instance().map_or_else(|| action.subject(), str::to_owned);
    let finding = |code| Finding::new(code, Severity::Degraded, subject.clone(), message.clone());
    let found = match action {
        Action::FetchImage { .. } | Action::AdoptImage { .. } | Action::StartContainer(_) => return None,
        Action::RunStep { instance, step } => {
            let wanted = facts.desired.instances.get(instance).and_then(|wanted| wanted.steps.get(step))?;
            // It is repeated before it counts.
            if failure.healing.failures <= wanted.retries {
                return None;
            }
            let said = match &wanted.place {
                StepPlace::In(_) => {
                    finding("step-failed").run("holdfast logs", "has what it wrote to its stderr")
                }
                StepPlace::OneOff { .. } => finding("step-failed")
                    .run("holdfast report --logs --output report.tar.gz", "has what it wrote to its stderr"),
            };
            return Some(said.run("holdfast apply", "runs it again now"));
        }
        Action::CreateVolume { .. } | Action::ResizeVolume { .. } => {
            finding("volume-failed").run("holdfast volumes", "lists what there is")
        }
        _ => finding("action-failed").run("holdfast logs", "says what led to it"),
    };
    Some(found.run("holdfast apply", "tries again now"))
}

fn of_container(
    facts: &Facts<'_>,
    wanted: &InstanceDesired,
    name: &str,
    container: &ContainerDesired,
) -> Option<Finding> {
    let id = ContainerName::new(&wanted.name, name);
    if let Rendered::Failed(reason) = &container.config {
        let message = format!("{id} cannot be made: {reason}");
        return Some(
            Finding::new("container-impossible", Severity::Degraded, id.to_string(), message)
                .run("holdfast apply FILE", "with a recipe whose templates give what is needed"),
        );
    }
    let memory = facts.memory.containers.get(&id);
    let starved = memory
        .is_some_and(|memory| memory.last_exit == Some(Exit::OutOfMemory) && memory.healing.failures > 0);
    let standing = standing::container(wanted, name, facts.observed, facts.memory);
    let start = facts.memory.failures.get(&Action::StartContainer(id.clone()).id());
    let degraded = matches!(standing, Standing::Degraded(_)) || start.is_some();
    let logs = |finding: Finding| finding.run(format!("holdfast logs -n 50 {id}"), "shows what it said last");
    let finding = |code, message: String| Finding::new(code, Severity::Degraded, id.to_string(), message);
    match (standing, start) {
        (_, Some(failure)) => {
            let message = format!("{id} cannot be started: {}", failure.error);
            Some(logs(finding("container-start-failed", message)).run("holdfast apply", "tries again now"))
        }
        (standing, None) if starved => {
            let severity = if degraded { Severity::Degraded } else { Severity::Notice };
            Some(starving(&id, container, &standing, severity))
        }
        (Standing::Degraded(text), None) if memory.is_some_and(|memory| memory.unhealthy) => {
            let finding = logs(finding("container-unhealthy", text));
            Some(finding.act(format!(
                "if it does answer, `[recipe.containers.{name}.health]` asks for the wrong thing"
            )))
        }
        (Standing::Degraded(text), None) if memory.is_some_and(|memory| memory.healing.degraded()) => {
            Some(logs(finding("container-failing", text)).act("it is still tried, at most once a minute"))
        }
        (Standing::Degraded(text), None) => {
            let finding = logs(finding("container-ended", text));
            Some(finding.run(format!("holdfast restart {id}"), "starts it again"))
        }
        (_, None) => waits(facts, &id),
    }
}

fn starving(
    id: &ContainerName,
    container: &ContainerDesired,
    standing: &Standing,
    severity: Severity,
) -> Finding {
    let limit = container.config.ready().and_then(|config| config.memory);
    let how = match (standing, limit) {
        (Standing::Degraded(text), _) => text.clone(),
        (_, Some(limit)) => format!("{id} was killed when it took more than its {}", size(limit)),
        (_, None) => format!("{id} was killed for want of memory"),
    };
    let finding = Finding::new("container-out-of-memory", severity, id.to_string(), how);
    match limit {
        Some(limit) => {
            let megabytes = (2 * limit).div_ceil(1 << 20);
            let lines = format!("[recipe.containers.{}]\nmemory = \"{megabytes}M\"", id.container);
            finding.write(lines, "gives it more")
        }
        None => finding
            .act("it has no limit, so the box had no more: give the box more memory, or others a limit"),
    }
}

/// A start that waits for something which does not come by itself.
fn waits(facts: &Facts<'_>, id: &ContainerName) -> Option<Finding> {
    let start = Action::StartContainer(id.clone()).id();
    let planned = facts.plan.actions.iter().find(|planned| planned.action.id() == start)?;
    if planned.waits.is_empty() {
        return None;
    }
    let message = format!("{id} has not been started: it waits for {}", planned.waits.join(", "));
    Some(
        Finding::new("container-waits", Severity::Notice, id.to_string(), message)
            .run("holdfast plan", "shows what comes before it"),
    )
}
