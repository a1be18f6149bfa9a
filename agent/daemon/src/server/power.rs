//! Ending the box's run.

use std::sync::Arc;

use agent_api::types::Changed;
use anyhow::Context;
use axum::Json;
use axum::extract::State;

use super::error::Answer;
use crate::agent::Agent;

pub(super) async fn reboot(State(agent): State<Arc<Agent>>) -> Answer<Json<Changed>> {
    enqueue(&agent, "reboot.target", "rebooting").await
}

pub(super) async fn poweroff(State(agent): State<Arc<Agent>>) -> Answer<Json<Changed>> {
    enqueue(&agent, "poweroff.target", "powering off").await
}

async fn enqueue(agent: &Agent, target: &str, message: &str) -> Answer<Json<Changed>> {
    agent.events.add(message, None, format!("{message}, as an admin asked"));
    agent.systemd.enqueue(target).await.context("systemd refuses")?;
    Ok(Json(Changed { changed: true, message: message.into() }))
}
