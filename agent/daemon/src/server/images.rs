//! Images in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_api::types::{Image, Pruned};
use agent_containers::Digest;
use agent_core::{Action, fingerprint};
use anyhow::Context;
use axum::Json;
use axum::extract::State;

use super::error::Answer;
use crate::agent::{Agent, Live};
use crate::space;

/// Digests that instances are pinned to, or would go back to, and who uses each.
pub(crate) fn used(live: &Live) -> BTreeMap<String, BTreeSet<String>> {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for record in live.observed.records.values().filter(|record| record.in_force) {
        for (reference, pin) in &record.pins {
            let wanted = live.desired.instances.get(&record.name);
            let users = wanted.into_iter().flat_map(|wanted| {
                let of_reference = wanted.containers.iter().filter(|(_, c)| c.image == *reference);
                of_reference.map(|(name, _)| format!("{}.{name}", record.name))
            });
            let users: BTreeSet<String> = users.collect();
            for digest in [Some(&pin.digest), pin.previous.as_ref()].into_iter().flatten() {
                used.entry(digest.clone()).or_default().extend(users.iter().cloned());
            }
        }
    }
    used
}

pub(super) async fn list(State(agent): State<Arc<Agent>>) -> Answer<Json<Vec<Image>>> {
    Ok(Json(all(&agent)?))
}

/// All images.
pub(crate) fn all(agent: &Agent) -> anyhow::Result<Vec<Image>> {
    let images = agent.store.images().context("failed to read the image store")?;
    let names = agent.store.names().context("failed to read the image store")?;
    let used = used(&agent.live());
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

/// Removes what no instance is pinned to and what no fetch goes on with, unless something is being fetched, whose
/// layers may be shared.
fn remove_unused(agent: &Agent) -> Answer<Json<Pruned>> {
    let _alone = agent.store.alone();
    let (keep, fetches) = {
        let live = agent.live();
        if space::fetching(&live) {
            let failure = super::Failure::failed("an image is being fetched");
            return Err(failure.hint("try again when it is there"));
        }
        let keep: BTreeSet<Digest> = used(&live).keys().filter_map(|digest| digest.parse().ok()).collect();
        (keep, fetches(&live))
    };
    let pruned = agent.store.prune(&keep).context("failed to prune")?;
    let freed = pruned.bytes + agent.store.forget_downloads(&fetches).context("failed to prune")?;
    agent.wake.notify_one();
    Ok(Json(Pruned { images: pruned.images.iter().map(ToString::to_string).collect(), freed }))
}
