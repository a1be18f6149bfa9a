//! Accepted documents.

use std::fmt;

use recipes::Secret;
use serde::{Deserialize, Serialize};

use super::{Format, FormatError, decode};

/// A user-data document that was accepted. May hold passwords: kept 0600.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Increases by one.
    pub number: u64,
    /// Seconds since 1970.
    pub accepted_at: u64,
    /// Version of the agent that accepted it.
    pub accepted_by: String,
    /// Where it came from.
    pub source: Accepted,
    /// The document itself.
    pub document: Secret,
}

/// Where an accepted document came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Accepted {
    /// `nocloud`, `config-drive`, `fw-cfg`, `smbios`, `apply`.
    pub channel: String,
    /// Name of the file or of the channel, for messages.
    pub file: String,
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.channel)
    }
}

/// The provider's instance identity at which its user-data was last taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// As the channel gives it; absent where it gives none.
    pub instance_id: Option<String>,
    /// Whether a document was accepted under it, the provider's or a later one. Until then the provider's
    /// is looked at again at each start, without the box becoming another one each time.
    #[serde(default = "yes")]
    pub taken: bool,
}

fn yes() -> bool {
    true
}

impl Provider {
    /// Whether the box has become another one: what is offered under no identity says nothing.
    pub fn moved(known: Option<&Provider>, offered: Option<&str>) -> bool {
        known.is_some_and(|known| offered.is_some() && known.instance_id.as_deref() != offered)
    }

    /// Whether the provider's document is to be looked at; `new` says that none was ever accepted.
    pub fn wants(known: Option<&Provider>, offered: Option<&str>, new: bool) -> bool {
        new || Provider::moved(known, offered) || known.is_some_and(|known| !known.taken)
    }
}

impl Format for Generation {
    const SUBJECT: &'static str = "accepted document";
    const SINCE: &'static [u32] = &[1];
    const SPARE: bool = true;
}

impl Format for Provider {
    const SUBJECT: &'static str = "record of the provider's identity";
    const SINCE: &'static [u32] = &[1];
}

/// The newest generation that this version can use, and what is to be said about each newer one.
///
/// `files` holds a number and a text each, in any order; `usable` tells whether a document's own
/// language is understood.
pub fn newest_usable(
    mut files: Vec<(u64, String)>,
    usable: impl Fn(&Generation) -> Result<(), String>,
) -> (Option<Generation>, Vec<String>) {
    files.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let mut complaints = Vec::new();
    for (number, text) in files {
        let read = decode::<Generation>(&text).map_err(|e: FormatError| e.to_string());
        match read.and_then(|g| usable(&g).map(|()| g)) {
            Ok(generation) => return (Some(generation), complaints),
            Err(reason) => complaints.push(format!("generation {number} is not used: {reason}")),
        }
    }
    (None, complaints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::encode;

    fn generation(number: u64, document: &str) -> Generation {
        Generation {
            number,
            accepted_at: 1,
            accepted_by: "0.1.0".into(),
            source: Accepted { channel: "apply".into(), file: "box.toml".into() },
            document: Secret::new(document),
        }
    }

    /// Expects the number used, and the numbers complained about.
    fn check(files: Vec<(u64, String)>, used: Option<u64>, complaints: &[u64]) {
        let usable = |g: &Generation| match g.document.expose() {
            "future" => Err("needs Holdfast 9".to_owned()),
            _ => Ok(()),
        };
        let (found, said) = newest_usable(files, usable);
        assert_eq!(found.map(|g| g.number), used);
        assert_eq!(said.len(), complaints.len(), "{said:?}");
        for (text, number) in said.iter().zip(complaints) {
            assert!(text.starts_with(&format!("generation {number} ")), "{text}");
        }
    }

    #[test]
    fn an_identity_is_new_once_and_its_document_is_looked_at_until_one_is_accepted() {
        let known = |id: &str, taken| Provider { instance_id: Some(id.into()), taken };
        let check = |known: Option<Provider>, offered: Option<&str>, new, moved, wants| {
            assert_eq!(Provider::moved(known.as_ref(), offered), moved, "{known:?} {offered:?}");
            assert_eq!(Provider::wants(known.as_ref(), offered, new), wants, "{known:?} {offered:?}");
        };
        check(None, Some("i-1"), true, false, true);
        check(None, Some("i-1"), false, false, false);
        check(Some(known("i-1", true)), Some("i-1"), false, false, false);
        check(Some(known("i-1", true)), Some("i-2"), false, true, true);
        check(Some(known("i-2", false)), Some("i-2"), false, false, true);
        check(Some(known("i-1", true)), None, false, false, false);
        let old: Provider = decode(r#"{"format": 1, "instance_id": "i-1"}"#).unwrap();
        assert_eq!(old, known("i-1", true));
    }

    #[test]
    fn uses_the_newest_it_can() {
        let text = |n, document| (n, encode(&generation(n, document)));
        let newer = |n| (n, r#"{"format": 2}"#.to_owned());
        let torn = |n| (n, encode(&generation(n, "x"))[..30].to_owned());
        check(vec![], None, &[]);
        check(vec![text(1, "a"), text(10, "b"), text(9, "c")], Some(10), &[]);
        check(vec![text(1, "a"), newer(2)], Some(1), &[2]);
        check(vec![torn(3), text(1, "a"), newer(2)], Some(1), &[3, 2]);
        check(vec![text(1, "a"), text(2, "future")], Some(1), &[2]);
        check(vec![(5, "\0\0\0".into())], None, &[5]);
    }
}
