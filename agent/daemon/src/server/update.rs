//! Updates: what is known of them, and what an admin asks for.

use std::sync::Arc;

use agent_api::types::{Changed, UpdateStatus};
use axum::Json;
use axum::extract::State;

use super::error::{Answer, Failure};
use super::to_the_end;
use crate::agent::Agent;
use crate::update;

pub(super) async fn state(State(agent): State<Arc<Agent>>) -> Json<UpdateStatus> {
    Json(update::status(&agent))
}

pub(super) async fn check(State(agent): State<Arc<Agent>>) -> Answer<Json<UpdateStatus>> {
    possible(&agent)?;
    to_the_end(async move {
        noted(&agent, update::check(&agent).await)?;
        Ok(Json(update::status(&agent)))
    })
    .await
}

pub(super) async fn stage(State(agent): State<Arc<Agent>>) -> Answer<Json<UpdateStatus>> {
    possible(&agent)?;
    to_the_end(async move {
        noted(&agent, update::stage(&agent).await)?;
        Ok(Json(update::status(&agent)))
    })
    .await
}

pub(super) async fn scrub(State(agent): State<Arc<Agent>>) -> Answer<Json<UpdateStatus>> {
    possible(&agent)?;
    to_the_end(async move {
        update::scrub(&agent).await?;
        Ok(Json(update::status(&agent)))
    })
    .await
}

pub(super) async fn apply(State(agent): State<Arc<Agent>>) -> Answer<Json<Changed>> {
    possible(&agent)?;
    to_the_end(async move {
        let version = noted(&agent, update::apply(&agent, 0).await)?;
        Ok(Json(match version {
            Some(version) => Changed { changed: true, message: format!("the box restarts into {version}") },
            None => {
                Changed { changed: false, message: "the channel has nothing newer than what runs".into() }
            }
        }))
    })
    .await
}

pub(super) async fn rollback(State(agent): State<Arc<Agent>>) -> Answer<Json<Changed>> {
    possible(&agent)?;
    to_the_end(async move {
        let version = update::rollback(&agent).await?;
        Ok(Json(Changed { changed: true, message: format!("the box restarts into {version}") }))
    })
    .await
}

/// What is done has to be remembered, and one thing is done at a time.
fn possible(agent: &Agent) -> Answer<()> {
    if let Some(doing) = agent.updates.doing() {
        return Err(Failure::failed(format!("the box is {doing} already"))
            .hint("`holdfast update` says how far it is"));
    }
    super::data::needed(agent)
}

/// Keeps the reason for `update status`, and answers with it.
fn noted<T>(agent: &Agent, done: anyhow::Result<T>) -> Answer<T> {
    done.map_err(|error| {
        let reason = format!("{error:#}");
        update::note_problem(agent, &reason);
        let failure = Failure::failed(&reason);
        match update::hint(&error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}
