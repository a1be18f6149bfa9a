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
        match notify::test(&agent).await {
            Ok(answer) => Ok(Json(NotifyTested { answer })),
            Err(reason) => {
                let failure = Failure::failed(&reason);
                Err(match notify::hint(&reason) {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                })
            }
        }
    })
    .await
}
