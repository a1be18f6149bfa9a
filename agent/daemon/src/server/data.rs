//! The data partition: looked at, and made anew where its owner says so.

use std::sync::Arc;

use agent_api::types::{Changed, Data, DataChecked, DataFormat};
use agent_system::data;
use anyhow::Context;
use axum::Json;
use axum::extract::State;

use super::error::{Answer, Failure};
use crate::agent::Agent;

pub(super) async fn state(State(agent): State<Arc<Agent>>) -> Json<Data> {
    Json(agent.boot.data())
}

/// Checks and repairs. Only a box that does not use its data can.
pub(super) async fn check(State(agent): State<Arc<Agent>>) -> Answer<Json<DataChecked>> {
    unused(&agent)?;
    let checked = tokio::task::spawn_blocking(|| data::check(&data::device()?)).await;
    let checked = checked.context("the check broke off")?.context("the check failed")?;
    let what = if checked.usable { "data can be used; reboot to use it" } else { "data cannot be repaired" };
    agent.events.add("data-checked", None, what);
    Ok(Json(DataChecked { usable: checked.usable, output: checked.output }))
}

/// Makes the file system anew. Everything on it is lost, so it has to be said.
pub(super) async fn format(
    State(agent): State<Arc<Agent>>,
    Json(asked): Json<DataFormat>,
) -> Answer<Json<Changed>> {
    if !asked.destroy {
        return Err(Failure::not_allowed("formatting destroys all data").hint("`--destroy` allows it"));
    }
    unused(&agent)?;
    let formatted = tokio::task::spawn_blocking(|| data::format(&data::device()?)).await;
    formatted.context("formatting broke off")?.context("formatting failed")?;
    let message = "data was made anew; reboot to use it";
    agent.events.add("data-formatted", None, message);
    Ok(Json(Changed { changed: true, message: message.into() }))
}

fn unused(agent: &Agent) -> Answer<()> {
    if agent.boot.data_available() {
        return Err(Failure::not_allowed("data is in use")
            .hint("it can be checked or made anew only when the box could not mount it"));
    }
    Ok(())
}

/// Refuses what would have to be kept where nothing can be.
pub(super) fn needed(agent: &Agent) -> Answer<()> {
    if agent.boot.data_available() {
        return Ok(());
    }
    Err(Failure::not_allowed("data is unavailable, so nothing can be kept")
        .hint("see `holdfast data`; then `holdfast data check` or `holdfast data format --destroy`"))
}
