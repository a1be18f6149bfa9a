//! What the agent asks `holdfast-update` for, and what it answers.

use image_layout::Version;
use image_layout::release::WrittenPart;
use serde::{Deserialize, Serialize};

use crate::error::UpdateError;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Version of this format.
    pub format: u32,
    /// What.
    #[serde(flatten)]
    pub verb: Verb,
    /// Where the repository is: `http` or `https`, without a slash at its end.
    pub url: String,
    /// The channel that the box follows.
    pub channel: String,
    /// The version that runs.
    pub installed: Version,
    /// `SOURCE_DATE_EPOCH` of the image that runs, seconds: it cannot be earlier.
    pub epoch: u64,
    /// TUF root metadata of the image that runs.
    pub root: String,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", content = "of", rename_all = "lowercase")]
pub enum Verb {
    /// Look which release the channel has.
    Check,
    /// Look, and write it to the slot that does not run if it is newer than what runs.
    Stage,
    /// Read these images from the slot that does not run, and compare. Nothing is fetched.
    Verify(Vec<WrittenPart>),
    /// Compare both slots, block by block, with what they should be.
    Scrub(Scrub),
}

/// A look at both slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrub {
    /// How the root that runs is opened, as on the kernel's command line.
    pub verity: String,
    /// The version that lies in the slot that does not run; none when that is not looked at.
    pub other: Option<Version>,
    /// Whether damaged blocks are replaced: from either slot, and where [`Request::url`] is given from the release.
    pub repair: bool,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateResult {
    /// Version of this format.
    pub format: u32,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The channel has this release; after [`Verb::Stage`] it is not newer than what runs.
    Found(Found),
    /// The release is whole in the slot that does not run.
    Staged(Staged),
    /// What was asked about is in the slot that does not run.
    Verified,
    /// Both slots were looked at.
    Scrubbed(Scrubbed),
    /// It could not be done.
    Error(UpdateError),
}

/// A release that a channel has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its version.
    pub version: Version,
    /// When the repository's metadata expires, seconds since 1970.
    pub expires: i64,
}

/// A release that was staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// What was found.
    #[serde(flatten)]
    pub found: Found,
    /// What lies in the slot.
    pub parts: Vec<WrittenPart>,
    /// Bytes that neither slot had, as they are stored, and those of the maps.
    pub needed: u64,
    /// Bytes of maps and blocks that were fetched in this run: more than needed for small gaps between blocks,
    /// for transfers that broke off, and where the server gives no ranges.
    pub fetched: u64,
}

/// What a look at both slots showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrubbed {
    /// The slot that runs.
    pub running: Condition,
    /// The other one, when it was looked at.
    pub other: Option<Condition>,
}

/// How a slot is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Blocks of the root and of its tree that were judged.
    pub checked: u64,
    /// Blocks that were not what they should be. A boot partition that cannot be compared block by block counts
    /// as one.
    pub damaged: u64,
    /// Those of them that are right now.
    pub repaired: u64,
    /// What is damaged still, and why.
    pub reason: Option<String>,
}

impl Condition {
    /// Whether nothing is damaged any more.
    pub fn whole(&self) -> bool {
        self.damaged == self.repaired
    }
}

/// How far a staging is; rewritten without being synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes to fetch in all.
    pub needed: u64,
    /// Bytes that were fetched; as [`Staged::fetched`], at last perhaps a little more than were needed.
    pub fetched: u64,
}

impl Request {
    /// The format that is written now.
    pub const FORMAT: u32 = 1;
    /// Its name in the folder.
    pub const FILE: &'static str = "request.json";
}

impl UpdateResult {
    /// The format that is written now.
    pub const FORMAT: u32 = 1;
    /// Its name in the folder.
    pub const FILE: &'static str = "result.json";
}

impl Progress {
    /// Its name in the folder.
    pub const FILE: &'static str = "progress.json";
}

impl Found {
    /// Whether it is newer than what runs.
    pub(crate) fn newer(&self, request: &Request) -> bool {
        self.version > request.installed
    }
}
