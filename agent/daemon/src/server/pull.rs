//! `pull`: tags resolved again, and the containers that they mean replaced, or put back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent_api::types::{Pulled, PulledImage};
use agent_core::{Action, ContainerName};
use anyhow::Context;
use axum::Json;
use axum::extract::{Path, State};

use super::error::{Answer, Failure};
use super::{status, to_the_end};
use crate::agent::Agent;
use crate::execute;

/// A new image has to prove itself within this time, or is taken as failed.
const PROOF: Duration = Duration::from_secs(300);

pub(super) async fn pull(State(agent): State<Arc<Agent>>, Path(name): Path<String>) -> Answer<Json<Pulled>> {
    to_the_end(pull_all(agent, name)).await
}

/// A reference whose image is being had: the loop leaves it alone meanwhile, and nothing is pruned.
struct Fetching<'a> {
    agent: &'a Agent,
    action: Action,
}

impl<'a> Fetching<'a> {
    /// Waits until nobody else is at it.
    async fn of(agent: &'a Agent, reference: &str) -> Fetching<'a> {
        let action = Action::FetchImage { reference: reference.to_owned(), digest: None, embedded: false };
        let mut rounds = agent.rounds.subscribe();
        loop {
            let free = {
                let mut live = agent.live();
                let running = &mut live.memory.running;
                let free = running.values().all(|other| other.subject() != action.subject());
                if free {
                    running.insert(action.id(), action.clone());
                }
                free
            };
            // Every end of an action brings a round; the sender lives as long as the agent.
            if free || rounds.changed().await.is_err() {
                return Fetching { agent, action };
            }
        }
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        let mut live = self.agent.live();
        live.memory.running.remove(&self.action.id());
        live.ended += 1;
        drop(live);
        self.agent.wake.notify_one();
    }
}

async fn pull_all(agent: Arc<Agent>, name: String) -> Answer<Json<Pulled>> {
    let wanted = agent.live().desired.instances.get(&name).cloned();
    let wanted = wanted.ok_or_else(|| {
        Failure::not_found(format!("there is no instance `{name}`")).hint("see `holdfast ps`")
    })?;
    let mut images = Vec::new();
    let mut changed = BTreeMap::new();
    let mut fetching = Vec::new();
    for reference in wanted.references() {
        fetching.push(Fetching::of(&agent, reference).await);
        let before = pinned(&agent, &name, reference)?;
        execute::fetch(&agent, reference, None, false).await?;
        execute::adopt(&agent, reference).await?;
        let names = agent.store.names().context("failed to read the image store")?;
        let new = names.get(reference).map(|found| found.image.to_string()).unwrap_or_default();
        if before.as_ref() != Some(&new) {
            changed.insert(reference.to_owned(), new.clone());
        }
        images.push(PulledImage { reference: reference.to_owned(), old: before, new });
    }
    record(&agent, &name, &changed)?;
    drop(fetching);
    let rolled_back = if changed.is_empty() { false } else { replace(&agent, &name, &changed).await? };
    let health = status::instance_health(&agent.live(), &name);
    Ok(Json(Pulled { images, health, rolled_back }))
}

fn pinned(agent: &Agent, instance: &str, reference: &str) -> Answer<Option<String>> {
    let record = agent.records.instance(instance).context("failed to read the instance's record")?;
    Ok(record.and_then(|record| record.pins.get(reference).map(|pin| pin.digest.clone())))
}

/// Records the new digests, which have to prove themselves.
fn record(agent: &Agent, name: &str, new: &BTreeMap<String, String>) -> Answer<()> {
    if new.is_empty() {
        return Ok(());
    }
    let changed = agent.records.change_instance(name, |record| {
        for (reference, digest) in new {
            if let Some(pin) = record.pins.get_mut(reference) {
                let before = std::mem::replace(&mut pin.digest, digest.clone());
                pin.previous.get_or_insert(before);
            }
        }
    });
    changed.context("failed to record the new digests")?;
    let mut live = agent.live();
    let wanted = live.desired.clone();
    let containers = wanted.instances.get(name).into_iter().flat_map(|wanted| &wanted.containers);
    for (container, _) in containers.filter(|(_, c)| new.contains_key(&c.image)) {
        if let Some(memory) = live.memory.containers.get_mut(&ContainerName::new(name, container)) {
            memory.healing = Default::default();
        }
    }
    Ok(())
}

/// Waits until the new digests are kept or given up; says which.
async fn replace(agent: &Arc<Agent>, name: &str, new: &BTreeMap<String, String>) -> Answer<bool> {
    let proved = tokio::time::timeout(PROOF, proof(agent, name)).await;
    if proved.is_err() {
        let reverted = agent.records.change_instance(name, |record| {
            for pin in record.pins.values_mut() {
                if let Some(previous) = pin.previous.take() {
                    pin.digest = previous;
                }
            }
        });
        reverted.context("failed to go back")?;
        agent.wake.notify_one();
    }
    settle(agent).await;
    let now = agent.records.instance(name).context("failed to read the instance's record")?;
    let kept = now.is_some_and(|record| {
        new.iter().all(|(reference, digest)| record.pins.get(reference).is_some_and(|p| p.digest == *digest))
    });
    Ok(!kept)
}

/// Waits until no digest of the instance has to prove itself any more.
async fn proof(agent: &Agent, name: &str) {
    let mut rounds = agent.rounds.subscribe();
    loop {
        let record = agent.records.instance(name).ok().flatten();
        if record.is_none_or(|record| record.pins.values().all(|pin| pin.previous.is_none())) {
            return;
        }
        if rounds.changed().await.is_err() {
            return;
        }
    }
}

/// Gives what runs now a moment to come up.
async fn settle(agent: &Agent) {
    let mut rounds = agent.rounds.subscribe();
    let settled = async {
        while !agent.live().settled() {
            if rounds.changed().await.is_err() {
                return;
            }
        }
    };
    // What has not settled by then is told as it stands.
    let _ = tokio::time::timeout(Duration::from_secs(60), settled).await;
}
