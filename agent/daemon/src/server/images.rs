//! Images in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_api::types::{Image, Pruned};
use agent_containers::Digest;
use agent_core::desired::{InstanceDesired, StepPlace};
use agent_core::{Action, ContainerName, fingerprint};
use anyhow::Context;
use axum::Json;
use axum::extract::State;

use super::error::Answer;
use crate::agent::{Agent, Live};
use crate::{execute, space};

/// Digests that are used, and who uses each: what writable layers were made from, whether their containers run or
/// not, and what the references that the document in force names are pinned to, or would go back to.
///
/// An instance keeps all that it is pinned to while it is not known for sure what that names or what its layers
/// were made from, and while the version that runs is on trial: the one before may have other recipes. Pins themselves stay, so that a reference that is named again means what it meant.
pub(crate) fn used(
    live: &Live,
    made_from: &BTreeMap<ContainerName, Option<String>>,
    on_trial: bool,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (container, digest) in made_from {
        if let Some(digest) = digest {
            used.entry(digest.clone()).or_default().insert(container.to_string());
        }
    }
    for record in live.observed.records.values().filter(|record| record.in_force) {
        let unknown = made_from.iter().any(|(c, digest)| c.instance == record.name && digest.is_none());
        let all = unknown || on_trial || live.planned != live.generation || !live.unusable.is_empty();
        let wanted = live.desired.instances.get(&record.name);
        for (reference, pin) in &record.pins {
            let users = match wanted {
                Some(wanted) if wanted.references().contains(reference.as_str()) => users(wanted, reference),
                Some(_) if !all => continue,
                _ => BTreeSet::from([record.name.clone()]),
            };
            for digest in [Some(&pin.digest), pin.previous.as_ref()].into_iter().flatten() {
                used.entry(digest.clone()).or_default().extend(users.iter().cloned());
            }
        }
    }
    used
}

/// The containers and one-off steps of an instance that are made from a reference.
fn users(wanted: &InstanceDesired, reference: &str) -> BTreeSet<String> {
    let containers = wanted.containers.iter().filter(|(_, container)| container.image == reference);
    let steps = wanted.steps.iter().filter(|(_, step)| match &step.place {
        StepPlace::OneOff { image, .. } => image == reference,
        StepPlace::In(_) => false,
    });
    let names = containers.map(|(name, _)| name).chain(steps.map(|(name, _)| name));
    names.map(|name| format!("{}.{name}", wanted.name)).collect()
}

pub(super) async fn list(State(agent): State<Arc<Agent>>) -> Answer<Json<Vec<Image>>> {
    Ok(Json(all(&agent)?))
}

/// All images.
pub(crate) fn all(agent: &Agent) -> anyhow::Result<Vec<Image>> {
    let images = agent.store.images().context("failed to read the image store")?;
    let names = agent.store.names().context("failed to read the image store")?;
    let made_from = execute::made_from(agent)?;
    let used = used(&agent.live(), &made_from, agent.updates.on_trial());
    let wire = |image: &agent_containers::ImageRecord| {
        let digest = image.digest.to_string();
        let references = names.iter().filter(|(_, name)| name.image == image.digest);
        Image {
            references: references.map(|(reference, _)| reference.clone()).collect(),
            size: image.bytes(),
            used_by: used.get(&digest).into_iter().flatten().cloned().collect(),
            digest,
        }
    };
    Ok(images.iter().map(wire).collect())
}

/// The fetches that are still to be made.
fn fetches(live: &Live) -> BTreeSet<String> {
    let references = live.plan.actions.iter().filter_map(|planned| match &planned.action {
        Action::FetchImage { reference, .. } => Some(reference),
        _ => None,
    });
    references.map(|reference| fingerprint::fetch(reference)).collect()
}

pub(super) async fn prune(State(agent): State<Arc<Agent>>) -> Answer<Json<Pruned>> {
    // It takes as long as the images are large.
    tokio::task::spawn_blocking(move || remove_unused(&agent)).await.context("pruning broke off")?
}

/// Removes what nothing uses and what no fetch goes on with, unless something is being fetched, whose layers may be
/// shared.
fn remove_unused(agent: &Agent) -> Answer<Json<Pruned>> {
    let _alone = agent.store.alone();
    if *agent.rounds.borrow() == 0 {
        let failure = super::Failure::failed("it is not known yet which images are used");
        return Err(failure.hint("try again in a moment"));
    }
    let made_from = execute::made_from(agent)?;
    let (keep, fetches) = {
        let live = agent.live();
        if space::fetching(&live) {
            let failure = super::Failure::failed("an image is being fetched");
            return Err(failure.hint("try again when it is there"));
        }
        let used = used(&live, &made_from, agent.updates.on_trial());
        let keep: BTreeSet<Digest> = used.keys().filter_map(|digest| digest.parse().ok()).collect();
        (keep, fetches(&live))
    };
    let pruned = agent.store.prune(&keep).context("failed to prune")?;
    let freed = pruned.bytes + agent.store.forget_downloads(&fetches).context("failed to prune")?;
    agent.wake.notify_one();
    Ok(Json(Pruned { images: pruned.images.iter().map(ToString::to_string).collect(), freed }))
}
