//! Why an image could not be had, for the agent to act on and for people to read.

use std::error::Error;
use std::{fmt, io};

use agent_core::text::{self, cut};
use serde::{Deserialize, Deserializer, Serialize};

use crate::layer::LayerError;

/// Letters of foreign text in a message.
const TOLD: usize = 200;

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FetchErrorKind {
    /// The request makes no sense: a defect of the agent, or another version.
    Request,
    /// The registry does not answer, or answers with errors of its own.
    Unreachable,
    /// The registry's certificate is not accepted.
    Certificate,
    /// The registry wants other credentials.
    Unauthorized,
    /// The registry has no such image.
    NotFound,
    /// The image is not made for this machine.
    Platform,
    /// The manifest or configuration makes no sense.
    BadImage,
    /// Content is not what its digest says.
    DigestMismatch,
    /// The image is larger than is accepted.
    Limit,
    /// A layer is damaged or hostile.
    BadLayer,
    /// The disk is full.
    DiskFull,
    /// Something of this box failed.
    Local,
}

impl FetchErrorKind {
    /// Whether the same request may succeed later with nothing changed on the box or in the image.
    pub fn is_transient(self) -> bool {
        matches!(self, FetchErrorKind::Unreachable)
    }

    /// Whether the next attempt can use what this one downloaded: the registry failed, or no longer knows
    /// us, while the image is what it was.
    pub(super) fn keeps_downloads(self) -> bool {
        matches!(
            self,
            FetchErrorKind::Unreachable | FetchErrorKind::Certificate | FetchErrorKind::Unauthorized
        )
    }
}

/// Why an image could not be had. Its texts are short, whatever a registry or a fetch puts into them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchError {
    /// For programs.
    pub kind: FetchErrorKind,
    /// For people: what happened.
    #[serde(deserialize_with = "short")]
    pub message: String,
    /// For people: what may help.
    #[serde(default, deserialize_with = "short_or_none", skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(cut(String::deserialize(deserializer)?, text::ERROR))
}

fn short_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|hint| cut(hint, text::ERROR)))
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for FetchError {}

impl FetchError {
    pub(super) fn new(kind: FetchErrorKind, message: impl Into<String>) -> FetchError {
        FetchError { kind, message: cut(message, text::ERROR), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> FetchError {
        self.hint = Some(cut(hint, text::ERROR));
        self
    }

    /// Something of the box's own failed.
    pub(super) fn local(error: &(dyn Error + 'static)) -> FetchError {
        FetchError::new(kind_of(error, FetchErrorKind::Local), chain(error)).with_disk_hint()
    }

    /// A file operation of our own failed.
    pub(super) fn io(what: &str, error: &io::Error) -> FetchError {
        let kind = kind_of(error, FetchErrorKind::Local);
        FetchError::new(kind, format!("{what}: {error}")).with_disk_hint()
    }

    /// A layer, named by `place`, was not accepted.
    pub(super) fn layer(place: &str, error: &LayerError) -> FetchError {
        let kind = match error {
            LayerError::Limit { .. } | LayerError::Bomb { .. } => FetchErrorKind::Limit,
            LayerError::DiffId { .. } => FetchErrorKind::DigestMismatch,
            LayerError::Write(_) => kind_of(error, FetchErrorKind::Local),
            _ => kind_of(error, FetchErrorKind::BadLayer),
        };
        FetchError::new(kind, format!("{place}: {}", chain(error))).with_disk_hint()
    }

    pub(super) fn with_disk_hint(self) -> FetchError {
        match self.kind {
            FetchErrorKind::DiskFull => self.hint("`holdfast images prune` removes images that nothing uses"),
            _ => self,
        }
    }
}

/// `DiskFull` when that is at the bottom of it.
fn kind_of(error: &(dyn Error + 'static), otherwise: FetchErrorKind) -> FetchErrorKind {
    if is_full(error) { FetchErrorKind::DiskFull } else { otherwise }
}

/// Whether a full disk is at the bottom of an error.
pub(crate) fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        at = error.source();
    }
    false
}

/// Foreign text as it may stand in a message: short, and in letters that can be seen.
pub(super) fn told(text: &str) -> String {
    let seen = |letter: char| if letter.is_control() { '?' } else { letter };
    match text.char_indices().nth(TOLD) {
        None => text.chars().map(seen).collect(),
        Some((end, _)) => text[..end].chars().map(seen).chain(['…']).collect(),
    }
}

/// An error and what caused it, on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(error) = at {
        text.push_str(": ");
        text.push_str(&error.to_string());
        at = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_are_short_when_an_error_is_made_and_when_it_is_read() {
        let long = "é".repeat(1 << 20);
        let made = FetchError::new(FetchErrorKind::BadImage, long.as_str()).hint(long.as_str());
        let read = serde_json::json!({ "kind": "bad-image", "message": long, "hint": long });
        let read: FetchError = serde_json::from_value(read).unwrap();
        assert_eq!(read, made);
        let hint = made.hint.unwrap();
        assert!(made.message.len() < 1100 && hint.len() < 1100 && hint.ends_with("é…"), "{hint}");
    }
}
