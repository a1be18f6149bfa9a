//! Reading the box.

use std::sync::Arc;
use std::time::Duration;

use agent_api::types::{Container, Status, Version, WaitQuery, Waited};
use axum::Json;
use axum::extract::{Query, State};

use super::status;
use crate::agent::Agent;

pub(super) async fn status(State(agent): State<Arc<Agent>>) -> Json<Status> {
    Json(status::status(&agent).await)
}

pub(super) async fn containers(State(agent): State<Arc<Agent>>) -> Json<Vec<Container>> {
    Json(status::containers(&agent.live()))
}

/// Answers as soon as nothing is left to do, or when the time is over.
pub(super) async fn wait(State(agent): State<Arc<Agent>>, Query(query): Query<WaitQuery>) -> Json<Waited> {
    let mut rounds = agent.rounds.subscribe();
    let settled = async {
        while !agent.live().settled() {
            if rounds.changed().await.is_err() {
                return false;
            }
        }
        true
    };
    let settled = tokio::time::timeout(Duration::from_millis(query.timeout_ms), settled).await;
    let settled = settled.unwrap_or_else(|_| agent.live().settled());
    Json(Waited { settled, status: status::status(&agent).await })
}

pub(super) async fn version() -> Json<Version> {
    Json(Version { agent: env!("CARGO_PKG_VERSION").into(), image: status::image_version() })
}

pub(super) async fn openapi() -> Json<serde_json::Value> {
    Json(serde_json::to_value(agent_api::openapi()).unwrap_or_default())
}
