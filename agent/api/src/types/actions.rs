//! Plans, applying, events.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Health, Status};

/// What the agent would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// In an order in which they can be done; empty when nothing is to be done.
    pub actions: Vec<Action>,
    /// Instances that would be stopped and removed.
    pub removes: Vec<String>,
}

/// One action of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Action {
    /// Unique in its plan.
    pub id: String,
    /// What: `start container site.web`.
    pub action: String,
    /// Why: `not running`.
    pub reason: String,
    /// Ids of the actions that come before it.
    pub after: Vec<String>,
}

/// How to apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ApplyQuery {
    /// Instances that are no longer listed may be removed.
    #[serde(default)]
    pub remove: bool,
    /// All keys that may log in now may be removed.
    #[serde(default)]
    pub force: bool,
    /// Name of the document for its errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// A document was accepted and is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Number of the generation that is now in force.
    pub generation: u64,
    /// Whether it differs from the one before.
    pub changed: bool,
    /// Instances that are removed.
    pub removed: Vec<String>,
    /// What will be done.
    pub plan: Plan,
    /// What is to be known of it, one sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// How long to wait for the box to settle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Milliseconds; 0 answers at once.
    #[serde(default)]
    pub timeout_ms: u64,
}

/// How the box stood when the wait ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Waited {
    /// Whether nothing was left to do.
    pub settled: bool,
    /// The state then.
    pub status: Status,
}

/// What to read of the events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only those with a higher number.
    #[serde(default)]
    pub after: u64,
    /// Stay and send what comes.
    #[serde(default)]
    pub follow: bool,
}

/// Something that happened. Sent as JSON lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Increases by one, over reboots.
    pub number: u64,
    /// RFC 3339 in UTC.
    pub time: String,
    /// `degraded`, `healthy`, `applied`, `rejected`, `data-repaired`, ….
    pub kind: String,
    /// The instance or container it is about.
    pub subject: Option<String>,
    /// One sentence.
    pub message: String,
}

/// An action that only says whether it changed anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// False when it was already so.
    pub changed: bool,
    /// What was done, one sentence.
    pub message: String,
}

/// Tags were resolved again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pulled {
    /// One for each image of the instance.
    pub images: Vec<PulledImage>,
    /// State of the instance afterwards.
    pub health: Health,
    /// Whether the new image was not healthy and the old one runs again.
    pub rolled_back: bool,
}

/// An image whose tag was resolved again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PulledImage {
    /// As the recipe has it.
    pub reference: String,
    /// Digest before.
    pub old: Option<String>,
    /// Digest now.
    pub new: String,
}
