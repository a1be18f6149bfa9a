//! Messages to the box's owner: what is known of them, and a test.

use std::sync::Arc;

use agent_api::types::{NotifyStatus, NotifyTested};
use axum::Json;
use axum::extract::State;

use super::error::{Answer, Failure};
use super::to_the_end;
use crate::agent::Agent;
use crate::notify;

pub(super) async fn state(State(agent): State<Arc<Agent>>) -> Json<NotifyStatus> {
    Json(notify::status(&agent))
}

pub(super) async fn test(State(agent): State<Arc<Agent>>) -> Answer<Json<NotifyTested>> {
    to_the_end(async move {
        let told = notify::test(&agent).await;
        let answer = told.map_err(|untold| Failure::failed(untold.to_string()).hint(untold.hint()))?;
        Ok(Json(NotifyTested { answer }))
    })
    .await
}
