//! What user-data says about updates of the box.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::shape::{BaseUrl, Window};

/// The longest random delay within the window when the box does not say.
pub const DEFAULT_UPDATE_JITTER: Duration = Duration::from_secs(1800);
/// The channel when the box does not say.
pub const DEFAULT_UPDATE_CHANNEL: &str = "stable";

/// `[box.update]`: where releases come from, and what the box does with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Where releases are published.
    pub url: BaseUrl,
    /// How much the box does by itself.
    pub policy: UpdatePolicy,
    /// When it may restart into a release by itself, every day in the box's time zone.
    pub window: Window,
    /// The most that the box waits, a random time, after the window opens: shorter than the window, whole seconds.
    pub jitter: Duration,
    /// Name of the channel that it follows.
    pub channel: String,
    /// Instances whose health does not count when a release is judged; each is one of the document.
    pub ignore: Vec<String>,
}

impl Update {
    /// The jitter of a window where none is given: half an hour, or half the window when that is shorter.
    pub fn default_jitter(window: &Window) -> Duration {
        DEFAULT_UPDATE_JITTER.min(window.length() / 2)
    }
}

/// `policy` of [`Update`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdatePolicy {
    /// A release is fetched, and the box restarts into it within the window.
    #[default]
    Auto,
    /// A release is fetched and stands ready; the restart is a person's.
    Stage,
    /// Nothing is fetched until a person says so.
    Manual,
}

impl UpdatePolicy {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            UpdatePolicy::Auto => "auto",
            UpdatePolicy::Stage => "stage",
            UpdatePolicy::Manual => "manual",
        }
    }
}
