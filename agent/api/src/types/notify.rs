//! Messages to the box's owner.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Messages to the box's owner. Times are RFC 3339 in UTC. Where they go is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotifyStatus {
    /// Whether there is an address; without one nothing is kept.
    pub enabled: bool,
    /// Conditions that stand, or cannot be told to be gone yet.
    pub standing: Vec<StandingCondition>,
    /// Messages to deliver, oldest first.
    pub waiting: Vec<WaitingMessage>,
    /// Messages that were dropped since one was delivered: there is room for 100.
    pub dropped: u64,
    /// The last attempt, tests apart.
    pub last: Option<NotifyAttempt>,
    /// When the next attempt is due.
    pub next: Option<String>,
}

/// A condition that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandingCondition {
    /// `degraded`, `box-degraded`, `update-blocked`, `metadata-expiring`, `data-filling`.
    pub kind: String,
    /// The instance, or the part of the box.
    pub subject: Option<String>,
    /// One sentence.
    pub message: String,
    /// When a message was made of it; absent: it has not stood for long enough.
    pub raised: Option<String>,
}

/// A message to deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitingMessage {
    /// As the server gets it.
    pub id: String,
    /// As of a condition, or `rolled-back`.
    pub kind: String,
    /// `raised`, `resolved` or `event`.
    pub state: String,
    /// The instance, or the part of the box.
    pub subject: Option<String>,
    /// One sentence.
    pub message: String,
    /// When it was noticed.
    pub time: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether the server would not have it.
    pub refused: bool,
}

/// An attempt at delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotifyAttempt {
    /// When.
    pub time: String,
    /// Whether the message was taken.
    pub delivered: bool,
    /// What the server answered, or why it did not.
    pub answer: String,
}

/// A test was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotifyTested {
    /// What the server answered.
    pub answer: String,
}
