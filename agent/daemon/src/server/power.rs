//! Ending the box's run.

use std::sync::Arc;

use agent_api::types::Changed;
use anyhow::Context;
use axum::Json;
use axum::extract::State;

use super::error::Answer;
use crate::agent::Agent;

pub(super) async fn reboot(State(agent): State<Arc<Agent>>) -> Answer<Json<Changed>> {
    enqueue(&agent, "reboot.target", "rebooting", "an admin").await?;
    Ok(Json(Changed { changed: true, message: "rebooting".into() }))
}

pub(super) async fn poweroff(State(agent): State<Arc<Agent>>) -> Answer<Json<Changed>> {
    enqueue(&agent, "poweroff.target", "powering off", "an admin").await?;
    Ok(Json(Changed { changed: true, message: "powering off".into() }))
}

/// The box restarts by itself.
pub(crate) async fn restart(agent: &Agent, why: &str) -> anyhow::Result<()> {
    agent.events.add("power", None, format!("rebooting: {why}"));
    agent.systemd.enqueue("reboot.target").await.context("systemd refuses")
}

/// The power button was pressed.
pub(crate) async fn power_button(agent: &Agent) {
    if let Err(error) = enqueue(agent, "poweroff.target", "powering off", "the power button").await {
        tracing::error!("the power button has no effect: {error:#}");
    }
}

async fn enqueue(agent: &Agent, target: &str, what: &str, who: &str) -> anyhow::Result<()> {
    agent.events.add("power", None, format!("{what}, as {who} asked"));
    agent.systemd.enqueue(target).await.context("systemd refuses")
}
