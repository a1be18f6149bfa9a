//! Updates of the box.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where updates stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateState {
    /// No source is set: nothing is updated.
    Off,
    /// The source has not been asked yet.
    Unknown,
    /// The box runs what its channel has.
    Current,
    /// The channel has something newer.
    Available,
    /// It is being staged.
    Staging,
    /// It is staged: the box can restart into it.
    Staged,
    /// The version that runs has to prove itself.
    OnTrial,
    /// The last attempt came to nothing.
    Blocked,
}

/// Updates of the box. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpdateStatus {
    /// Where they stand.
    pub state: UpdateState,
    /// The version that runs.
    pub running: String,
    /// Where releases come from; absent: nowhere.
    pub url: Option<String>,
    /// The channel that the box follows.
    pub channel: Option<String>,
    /// `auto`, `stage` or `manual`.
    pub policy: Option<String>,
    /// When the box acts by itself, and in which time zone.
    pub window: Option<String>,
    /// When it does next.
    pub next: Option<String>,
    /// The newer version that the channel has.
    pub available: Option<String>,
    /// When the channel was last looked at.
    pub checked: Option<String>,
    /// When the publisher's metadata expires.
    pub expires: Option<String>,
    /// Why the last attempt came to nothing.
    pub problem: Option<String>,
    /// What the version on trial lacks.
    pub lacking: Vec<String>,
    /// What lies in the other slot, ready.
    pub staged: Option<StagedUpdate>,
    /// How far the staging is that is under way.
    pub progress: Option<UpdateProgress>,
    /// How the last switch ended.
    pub last: Option<LastUpdate>,
    /// Versions that did not prove themselves.
    pub failed: Vec<FailedUpdate>,
    /// The version that `rollback` goes back to.
    pub previous: Option<String>,
    /// When the slots were last compared with what they should be, and what came of it.
    pub scrub: Option<Scrub>,
    /// Slots with damage that could not be repaired.
    pub damaged: Vec<DamagedSlot>,
}

/// A comparison of the slots with what they should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Scrub {
    /// When.
    pub at: String,
    /// Blocks that were damaged.
    pub damaged: u64,
    /// Those of them that were repaired.
    pub repaired: u64,
}

/// A slot with damage that could not be repaired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DamagedSlot {
    /// `a` or `b`.
    pub slot: String,
    /// The version in it.
    pub version: String,
    /// Blocks.
    pub blocks: u64,
    /// Since when it is known.
    pub since: String,
    /// What is damaged, and why it is not repaired.
    pub reason: String,
}

/// A release in the other slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StagedUpdate {
    /// Its version.
    pub version: String,
    /// When it was staged.
    pub at: String,
    /// Bytes that were fetched.
    pub fetched: u64,
    /// Bytes that neither slot had.
    pub needed: u64,
}

/// How far a staging is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpdateProgress {
    /// Bytes that were fetched.
    pub fetched: u64,
    /// Bytes to fetch in all.
    pub needed: u64,
}

/// How a switch ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastUpdate {
    /// The version that was switched to.
    pub version: String,
    /// The version before it.
    pub from: String,
    /// Whether it stayed; else the box went back.
    pub kept: bool,
    /// Why the box went back.
    pub reason: Option<String>,
    /// When.
    pub at: String,
}

/// A version that did not prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailedUpdate {
    /// Its version.
    pub version: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the box went back, the last time.
    pub reason: String,
    /// Whether it is left until an admin applies it.
    pub held: bool,
}
