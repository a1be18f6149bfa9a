//! Steps: ordered work that runs once, after a change, or at each boot.

use recipes::model::When;

use super::{Planner, containers, images, instance};
use crate::action::Action;
use crate::container::ContainerName;
use crate::desired::{InstanceDesired, Rendered, StepDesired, StepPlace};
use crate::state::{InstanceRecord, StepRecord};

pub(super) fn plan(p: &mut Planner<'_>, wanted: &InstanceDesired, name: &str, step: &StepDesired) {
    let image = match &step.place {
        StepPlace::OneOff { image, .. } => Some(images::plan(p, &wanted.name, image)),
        StepPlace::In(_) => None,
    };
    if done(p, wanted, name, step) {
        return;
    }
    let (mut after, mut waits) = match &step.place {
        StepPlace::OneOff { config, .. } => instance::needs(&wanted.name, config),
        StepPlace::In(_) => instance::needs(&wanted.name, &step.run),
    };
    after.push(Action::Allocate(wanted.name.clone()).id());
    if let Some(image) = image {
        after.extend(image.after);
        after.push(Action::SetupNetwork(wanted.name.clone()).id());
        after.push(Action::ApplyFirewall.id());
        let id = ContainerName::new(&wanted.name, name);
        if !p.observed.container(&id).attached {
            let before = after.clone();
            after.push(p.push(Action::AttachContainer(id), "it has no network", before));
        }
    }
    containers::require(p, wanted, &step.require, &mut after, &mut waits);
    let reason = reason(p, wanted, name, step);
    let action = Action::RunStep { instance: wanted.name.clone(), step: name.to_owned() };
    p.push_waiting(action, reason, after, waits);
}

fn reason(p: &Planner<'_>, wanted: &InstanceDesired, name: &str, step: &StepDesired) -> String {
    let record = p.observed.records.get(&wanted.name).and_then(|record| record.steps.get(name));
    match (record, step.when) {
        (None, _) => "it has not run yet".into(),
        (Some(record), _) if !record.succeeded => format!("it ended with {}", record.code),
        (_, When::Boot) => "it has not run since the boot".into(),
        _ => "image, parameters or files changed".into(),
    }
}

/// Whether a step has succeeded as often as it should.
pub(super) fn done(p: &Planner<'_>, wanted: &InstanceDesired, name: &str, step: &StepDesired) -> bool {
    let Some(record) = p.observed.records.get(&wanted.name) else { return false };
    is_done(wanted, name, step, record, &p.observed.boot)
}

/// Whether a step has succeeded as often as it should, by what is recorded.
pub fn is_done(
    wanted: &InstanceDesired,
    name: &str,
    step: &StepDesired,
    record: &InstanceRecord,
    boot: &str,
) -> bool {
    let Some(last) = record.steps.get(name).filter(|last| last.succeeded) else { return false };
    match step.when {
        When::Once => true,
        When::Boot => last.boot.as_deref() == Some(boot),
        When::Change => same(last, fingerprint(wanted, step, record)),
    }
}

/// Whether nothing changed, or nothing can be told yet.
fn same(last: &StepRecord, current: Option<String>) -> bool {
    current.is_none() || last.fingerprint == current
}

/// Fingerprint of what a step with `when = "change"` follows: image, parameters, files. `None` while
/// something of it is not known.
pub fn fingerprint(wanted: &InstanceDesired, step: &StepDesired, record: &InstanceRecord) -> Option<String> {
    let (image, config) = match &step.place {
        StepPlace::OneOff { image, config } => (image, config),
        StepPlace::In(container) => {
            let container = wanted.containers.get(container)?;
            (&container.image, &container.config)
        }
    };
    let digest = &record.pins.get(image)?.digest;
    let Rendered::Ready(config) = config else { return None };
    Some(crate::fingerprint::fingerprint(&(digest, &wanted.params, &config.files)))
}
