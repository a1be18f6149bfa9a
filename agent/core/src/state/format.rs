//! Formats of a file: what is written at which level of the state, and how one becomes another.
//!
//! A version reads every format from 1 to its newest and holds only the newest in memory. It writes older
//! ones too, since a version on trial writes what the one before it reads.

use serde::{Serialize, de::DeserializeOwned};

/// A file's fields, without `format`.
pub type Fields = serde_json::Map<String, serde_json::Value>;

/// A file with formats of its own.
pub trait Format: Serialize + DeserializeOwned {
    /// What it is, for messages.
    const SUBJECT: &'static str;
    /// The level of the state at which each of its formats came, that of format 1 first, rising.
    const SINCE: &'static [u32];
    /// Whether a second copy of it is kept, since nothing else says the same.
    const SPARE: bool = false;
    /// The newest format: what its fields serialize to.
    const FORMAT: u32 = Self::SINCE.len() as u32;

    /// The format that it has at a level.
    fn at(level: u32) -> u32 {
        Self::SINCE.iter().filter(|since| **since <= level).count().max(1) as u32
    }

    /// Makes fields of format `from` into those of the next; nothing is to be done where what is new has a
    /// default.
    fn raise(_fields: &mut Fields, _from: u32) {}

    /// Makes fields of the format after `to` into those of `to`. What `to` has no room for is refused,
    /// unless its loss undoes nothing that was acknowledged.
    fn lower(_fields: &mut Fields, to: u32) -> Result<(), FormatError> {
        Err(FormatError::NoRoom { subject: Self::SUBJECT, format: to })
    }
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A newer version wrote it.
    #[error("the {subject} has format {found}, and this version reads up to {known}")]
    Newer {
        /// What the file is.
        subject: &'static str,
        /// Its format.
        found: u64,
        /// The newest known.
        known: u32,
    },
    /// It is torn or was never ours.
    #[error("the {subject} cannot be read (line {line}, column {column})")]
    Garbage {
        /// What the file is.
        subject: &'static str,
        /// Where reading failed.
        line: usize,
        /// Where reading failed.
        column: usize,
    },
    /// An older format has no room for it.
    #[error("the {subject} has something that format {format} has no room for")]
    NoRoom {
        /// What the file is.
        subject: &'static str,
        /// The older format.
        format: u32,
    },
}

/// Writes a file's text in the newest format.
pub fn encode<T: Format>(value: &T) -> String {
    text(fields(value), T::FORMAT)
}

/// Writes a file's text in `format`, from 1 to the newest.
pub fn encode_as<T: Format>(value: &T, format: u32) -> Result<String, FormatError> {
    let mut fields = fields(value);
    (format..T::FORMAT).rev().try_for_each(|to| T::lower(&mut fields, to))?;
    Ok(text(fields, format))
}

fn fields<T: Format>(value: &T) -> Fields {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => Fields::new(),
    }
}

fn text(mut fields: Fields, format: u32) -> String {
    fields.insert("format".into(), format.into());
    format!("{:#}\n", serde_json::Value::Object(fields))
}

/// The format that a text says it has; none when it is torn or was never ours.
pub fn format_of(text: &str) -> Option<u64> {
    let fields: Fields = serde_json::from_str(text).ok()?;
    fields.get("format")?.as_u64().filter(|format| *format > 0)
}

/// Reads a file's text in any format up to the newest.
pub fn decode<T: Format>(text: &str) -> Result<T, FormatError> {
    let garbage = |error: serde_json::Error| FormatError::Garbage {
        subject: T::SUBJECT,
        line: error.line(),
        column: error.column(),
    };
    let mut fields: Fields = serde_json::from_str(text).map_err(garbage)?;
    match fields.remove("format").and_then(|format| format.as_u64()) {
        Some(found) if found > u64::from(T::FORMAT) => {
            Err(FormatError::Newer { subject: T::SUBJECT, found, known: T::FORMAT })
        }
        Some(found @ 1..) => {
            (found as u32..T::FORMAT).for_each(|from| T::raise(&mut fields, from));
            serde_json::from_value(serde_json::Value::Object(fields)).map_err(garbage)
        }
        _ => Err(FormatError::Garbage { subject: T::SUBJECT, line: 1, column: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Counters, SecretsRecord};
    use serde::Deserialize;

    /// A name, which format 2 split in two, and format 3 gave a colour that the older have no room for.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Split {
        first: String,
        last: String,
        #[serde(default)]
        colour: Option<u32>,
    }

    impl Format for Split {
        const SUBJECT: &'static str = "name";
        const SINCE: &'static [u32] = &[1, 3, 4];

        fn raise(fields: &mut Fields, from: u32) {
            let name = fields.remove("name");
            let name = name.as_ref().and_then(|name| name.as_str()?.split_once(' '));
            if let (1, Some((first, last))) = (from, name) {
                fields.extend([("first".into(), first.into()), ("last".into(), last.into())]);
            }
        }

        fn lower(fields: &mut Fields, to: u32) -> Result<(), FormatError> {
            if to == 2 {
                return match fields.remove("colour") {
                    None | Some(serde_json::Value::Null) => Ok(()),
                    Some(_) => Err(FormatError::NoRoom { subject: Self::SUBJECT, format: to }),
                };
            }
            let part = |part: Option<serde_json::Value>| part.and_then(|p| Some(p.as_str()?.to_owned()));
            let parts = (part(fields.remove("first")), part(fields.remove("last")));
            let name = format!("{} {}", parts.0.unwrap_or_default(), parts.1.unwrap_or_default());
            fields.insert("name".into(), name.into());
            Ok(())
        }
    }

    #[test]
    fn older_formats_are_read_and_written() {
        let levels = [0, 1, 2, 3, 4, 5].map(Split::at);
        assert_eq!((levels, Split::FORMAT), ([1, 1, 1, 2, 3, 3], 3));
        let ada = Split { first: "Ada".into(), last: "L".into(), colour: None };
        for (format, has) in [(1, "\"name\": \"Ada L\""), (2, "\"last\": \"L\""), (3, "\"colour\": null")] {
            let text = encode_as(&ada, format).unwrap();
            assert!(text.contains(has), "{text}");
            assert_eq!(format_of(&text), Some(u64::from(format)));
            assert_eq!(decode::<Split>(&text), Ok(ada.clone()));
        }
        let red = Split { colour: Some(1), ..ada };
        assert_eq!(decode::<Split>(&encode(&red)), Ok(red.clone()));
        let refused = Err(FormatError::NoRoom { subject: "name", format: 2 });
        assert_eq!((encode_as(&red, 2), encode_as(&red, 1)), (refused.clone(), refused));
        assert_eq!(["", "[1]", "{\"format\": 0}", "{}"].map(format_of), [None; 4]);
    }

    #[test]
    fn reads_what_it_writes() {
        let counters = Counters { next_index: 4, ula: Some("fd12:3456:789a::".parse().unwrap()) };
        let text = encode(&counters);
        assert!(text.contains("\"format\": 1"), "{text}");
        assert_eq!(decode::<Counters>(&text), Ok(counters));
    }

    #[test]
    fn tells_newer_from_garbage() {
        let check = |text: &str, newer: bool| {
            let error = decode::<Counters>(text).unwrap_err();
            assert_eq!(matches!(error, FormatError::Newer { .. }), newer, "{text}: {error}");
        };
        check(r#"{"format": 2, "unknown": true}"#, true);
        check(r#"{"format": 1"#, false);
        check(r#"{"format": 0, "next_index": 1, "ula": null}"#, false);
        check(r#"{"format": 1, "next_index": "four"}"#, false);
        check(r#"{"next_index": 1, "ula": null}"#, false);
        check(r#"[1]"#, false);
        check("\0\0\0\0", false);
        check("", false);
    }

    #[test]
    fn errors_do_not_repeat_content() {
        let error = decode::<SecretsRecord>(r#"{"format":1,"values":"hunter2"}"#).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
