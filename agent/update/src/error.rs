//! Why there is no update, for people.

use std::fmt;

use agent_system::files::FileError;
use serde::{Deserialize, Serialize};

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateErrorKind {
    /// The server cannot be reached, or does not answer as one; trying again may help.
    Unreachable,
    /// The repository has no such channel or release.
    Missing,
    /// Metadata is not signed as it must be.
    Untrusted,
    /// Metadata has expired: the publisher has stopped, or someone holds newer metadata back.
    Expired,
    /// Metadata or a release is older than what the box has seen or runs.
    Older,
    /// Files of the repository do not belong together, or are not what the metadata says.
    Damaged,
    /// An image does not fit its partition.
    TooBig,
    /// A partition of the slot cannot be read or written, or does not hold what it should.
    Slot,
    /// The box itself: its folder, its request.
    Local,
}

/// The most characters of a message.
const LONGEST: usize = 1000;

/// Why there is no update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateError {
    /// What kind of trouble it is.
    pub kind: UpdateErrorKind,
    /// What happened.
    pub message: String,
}

impl UpdateError {
    /// What a server said may be part of a message: it is neither endless nor able to move a terminal.
    pub(crate) fn new(kind: UpdateErrorKind, message: impl Into<String>) -> UpdateError {
        let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        UpdateError { kind, message: message.into().chars().take(LONGEST).map(visible).collect() }
    }

    pub(crate) fn local(message: impl Into<String>) -> UpdateError {
        UpdateError::new(UpdateErrorKind::Local, message)
    }

    pub(crate) fn damaged(message: impl Into<String>) -> UpdateError {
        UpdateError::new(UpdateErrorKind::Damaged, message)
    }

    pub(crate) fn slot(message: impl Into<String>) -> UpdateError {
        UpdateError::new(UpdateErrorKind::Slot, message)
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UpdateError {}

impl From<FileError> for UpdateError {
    fn from(error: FileError) -> UpdateError {
        UpdateError::local(chain(&error))
    }
}

/// An error with its causes, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}
