//! An instance: its ids, volumes, secrets and network, then its containers and steps.

use super::{Planner, containers, images, steps};
use crate::action::Action;
use crate::desired::{InstanceDesired, Missing, Rendered};

pub(super) fn plan(p: &mut Planner<'_>, wanted: &InstanceDesired) {
    allocation(p, wanted);
    volumes(p, wanted);
    secrets(p, wanted);
    network(p, wanted);
    images::settle(p, wanted);
    for (name, container) in &wanted.containers {
        containers::plan(p, wanted, name, container);
    }
    for (name, step) in &wanted.steps {
        steps::plan(p, wanted, name, step);
    }
}

fn allocation(p: &mut Planner<'_>, wanted: &InstanceDesired) {
    let reason = match p.observed.records.get(&wanted.name) {
        None => "it is new".to_owned(),
        Some(record) if !record.in_force => "it is back".to_owned(),
        Some(record) => {
            let missing =
                wanted.addressed().into_iter().find(|n| !record.allocation.addresses.contains_key(n));
            let Some(name) = missing else { return };
            format!("{name} has no address")
        }
    };
    p.push(Action::Allocate(wanted.name.clone()), reason, vec![]);
}

fn volumes(p: &mut Planner<'_>, wanted: &InstanceDesired) {
    for (volume, size) in &wanted.volumes {
        let (instance, volume) = (wanted.name.clone(), volume.clone());
        match p.observed.volume(&instance, &volume) {
            None => drop(p.push(Action::CreateVolume { instance, volume }, "there is none", vec![])),
            Some(record) if record.size != *size => {
                p.push(Action::ResizeVolume { instance, volume }, "its size changed", vec![]);
            }
            Some(_) => {}
        }
    }
}

fn secrets(p: &mut Planner<'_>, wanted: &InstanceDesired) {
    let kept = p.observed.secrets.get(&wanted.name);
    for secret in wanted.secrets.keys().filter(|s| !kept.is_some_and(|kept| kept.contains(*s))) {
        let action = Action::GenerateSecret { instance: wanted.name.clone(), secret: secret.clone() };
        p.push(action, "there is none", vec![]);
    }
}

fn network(p: &mut Planner<'_>, wanted: &InstanceDesired) {
    let record = p.observed.records.get(&wanted.name);
    if record.is_some_and(|record| p.observed.bridges.contains(&record.allocation.index)) {
        return;
    }
    let after = vec![Action::Allocate(wanted.name.clone()).id()];
    p.push(Action::SetupNetwork(wanted.name.clone()), "its bridge is missing", after);
}

/// What comes before something is written from templates: actions of this plan, and what is waited for.
pub(super) fn needs<T>(instance: &str, rendered: &Rendered<T>) -> (Vec<String>, Vec<String>) {
    let (mut after, mut waits) = (Vec::new(), Vec::new());
    match rendered {
        Rendered::Ready(_) => {}
        Rendered::Failed(reason) => waits.push(format!("a change of user-data: {reason}")),
        Rendered::Waiting(missing) => {
            let instance = instance.to_owned();
            for missing in missing {
                match missing.clone() {
                    Missing::Volume(volume) => {
                        after.push(Action::CreateVolume { instance: instance.clone(), volume }.id());
                    }
                    Missing::Secret(secret) => {
                        after.push(Action::GenerateSecret { instance: instance.clone(), secret }.id());
                    }
                    Missing::Output(_) => waits.push(missing.to_string()),
                }
            }
        }
    }
    (after, waits)
}
