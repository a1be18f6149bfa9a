//! Which targets belong to which release and channel.

use image_layout::release::{Channel, FORMAT, MAX_DOCUMENT, channel_target, release_target};
use image_layout::version::Version;
use serde::de::DeserializeOwned;

/// What a name or a document is not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogueError {
    /// A word cannot name a channel.
    #[error("`{0}` cannot name a channel: {1}")]
    Channel(String, String),
    /// A target is no such document.
    #[error("the target `{name}` is no {what}")]
    Syntax {
        /// The target.
        name: String,
        /// What it should be.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// A document is of a newer format, or too large.
    #[error("the target `{0}` has a format that is not known here")]
    Format(String),
}

/// Checks a channel's name, as `channel` in user-data is.
pub(crate) fn channel_name(text: &str) -> Result<String, CatalogueError> {
    recipes::shape::name(text).map_err(|error| CatalogueError::Channel(text.to_owned(), error.message))
}

/// The channel whose document a target is.
pub(crate) fn channel_of(target: &str) -> Option<&str> {
    target.strip_prefix("channel-")?.strip_suffix(".json").filter(|name| channel_name(name).is_ok())
}

/// The release whose document a target is.
pub(crate) fn release_of(target: &str) -> Option<Version> {
    let version: Version = target.strip_prefix("holdfast-")?.strip_suffix(".json")?.parse().ok()?;
    (release_target(&version) == target).then_some(version)
}

/// A target of a release that is not its document.
pub(crate) fn part_target(version: &Version, what: &str) -> String {
    format!("holdfast-{version}-{what}")
}

/// Whether a target belongs to a release.
pub(crate) fn belongs(target: &str, version: &Version) -> bool {
    target == release_target(version) || target.starts_with(&part_target(version, ""))
}

/// A channel's document as a target.
pub(crate) fn channel(name: &str, version: &Version) -> Result<(String, Vec<u8>), serde_json::Error> {
    Ok((channel_target(name), document(&Channel { format: FORMAT, version: version.clone() })?))
}

/// The text of a document.
pub(crate) fn document<T: serde::Serialize>(document: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = serde_json::to_vec_pretty(document)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads a document: its format before the rest.
pub(crate) fn parse<T: DeserializeOwned>(
    name: &str,
    what: &'static str,
    text: &[u8],
) -> Result<T, CatalogueError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    let syntax = |source| CatalogueError::Syntax { name: name.to_owned(), what, source };
    let Format { format } = serde_json::from_slice(text).map_err(syntax)?;
    if format != FORMAT || text.len() as u64 > MAX_DOCUMENT {
        return Err(CatalogueError::Format(name.to_owned()));
    }
    serde_json::from_slice(text).map_err(syntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_say_what_they_belong_to() {
        let (one, two): (Version, Version) = ("1.2".parse().unwrap(), "1.2.3".parse().unwrap());
        assert_eq!(channel_of("channel-beta-2.json"), Some("beta-2"));
        assert_eq!(channel_of("channel-.json"), None);
        assert_eq!(release_of("holdfast-1.2.json"), Some(one.clone()));
        for other in ["holdfast-1.2-root.map", "holdfast-01.json", "channel-stable.json", "holdfast-.json"] {
            assert_eq!(release_of(other), None, "{other}");
        }
        assert!(belongs("holdfast-1.2.json", &one) && belongs(&part_target(&one, "root.map"), &one));
        assert!(!belongs("holdfast-1.2.3.json", &one) && !belongs(&part_target(&two, "root.map"), &one));
        for bad in ["", "Stable", "1st", "a.b", "a/b", "beta-", &"x".repeat(32)] {
            assert!(channel_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_newer_document_is_not_half_read() {
        let error = |text: &str| parse::<Channel>("c", "channel", text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            error(r#"{"format": 2, "release": "x"}"#),
            "the target `c` has a format that is not known here"
        );
        assert_eq!(error(r#"{"format": 1}"#), "the target `c` is no channel");
    }
}
