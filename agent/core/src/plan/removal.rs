//! What is no longer listed. Where the list itself was lost, that is not known of anything.

use std::collections::BTreeSet;

use super::Planner;
use crate::action::Action;
use crate::container::ContainerName;
use crate::desired::InstanceDesired;
use crate::fingerprint;
use crate::observed::UnitState;

pub(super) fn plan(p: &mut Planner<'_>) {
    if p.desired.lost {
        return;
    }
    let stray: Vec<(&ContainerName, UnitState)> = p
        .observed
        .containers
        .iter()
        .filter(|(name, _)| !listed(p.desired.instances.get(&name.instance), &name.container))
        .map(|(name, found)| (name, found.unit.clone()))
        .collect();
    for (name, unit) in stray {
        let reason = match p.desired.instances.contains_key(&name.instance) {
            true => "its recipe no longer has it",
            false => "its instance is no longer listed",
        };
        let mut after = Vec::new();
        if !unit.is_down() {
            after.push(p.push(Action::StopContainer(name.clone()), reason, vec![]));
        }
        p.push(Action::RemoveContainer(name.clone()), reason, after);
    }
    instances(p);
    downloads(p);
}

fn listed(instance: Option<&InstanceDesired>, name: &str) -> bool {
    instance.is_some_and(|i| i.containers.contains_key(name) || i.steps.contains_key(name))
}

fn instances(p: &mut Planner<'_>) {
    let observed = p.observed;
    let gone: BTreeSet<&String> = observed
        .records
        .values()
        .filter(|record| record.in_force || observed.bridges.contains(&record.allocation.index))
        .map(|record| &record.name)
        .filter(|name| !p.desired.instances.contains_key(*name))
        .collect();
    for name in gone {
        let containers = observed.containers.keys().filter(|c| c.instance == *name);
        let after = containers.map(|c| Action::RemoveContainer(c.clone()).id()).collect();
        p.push(Action::RemoveInstance(name.clone()), "it is no longer listed", after);
    }
}

/// What was downloaded of images that nothing wants any more.
fn downloads(p: &mut Planner<'_>) {
    let wanted = p.desired.instances.values().flat_map(InstanceDesired::references);
    let wanted: BTreeSet<String> = wanted.map(fingerprint::fetch).collect();
    let observed = p.observed;
    for id in observed.downloads.difference(&wanted) {
        p.push(Action::RemoveDownload(id.clone()), "no image that is wanted needs it", vec![]);
    }
}
