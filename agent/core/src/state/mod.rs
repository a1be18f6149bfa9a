//! The files that the agent keeps on data: their types, and how they are read and written as text.
//!
//! Each is JSON with `format = N` beside its fields. A reader tells a newer format from garbage, and no
//! error repeats what a file holds, since some hold secrets. Deliberately absent: paths and I/O.

mod generation;
mod instance;
mod volume;

pub use generation::{Accepted, Generation, Provider, newest_usable};
pub use instance::{Counters, InstanceRecord, Pin, SecretsRecord, StepRecord};
pub use volume::{VolumeId, VolumeRecord};

use serde::{Serialize, de::DeserializeOwned};

/// A file with a format of its own.
pub trait Format: Serialize + DeserializeOwned {
    /// What is written, and the newest that is read.
    const FORMAT: u32;
    /// What it is, for messages.
    const SUBJECT: &'static str;
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
}

/// Writes a file's text.
pub fn encode<T: Format>(value: &T) -> String {
    let mut json = serde_json::to_value(value).unwrap_or_default();
    if let Some(fields) = json.as_object_mut() {
        fields.insert("format".into(), T::FORMAT.into());
    }
    format!("{json:#}\n")
}

/// Reads a file's text.
pub fn decode<T: Format>(text: &str) -> Result<T, FormatError> {
    let garbage = |error: serde_json::Error| FormatError::Garbage {
        subject: T::SUBJECT,
        line: error.line(),
        column: error.column(),
    };
    let mut json: serde_json::Value = serde_json::from_str(text).map_err(garbage)?;
    let format = json.as_object_mut().and_then(|fields| fields.remove("format"));
    match format.and_then(|f| f.as_u64()) {
        Some(found) if found > u64::from(T::FORMAT) => {
            Err(FormatError::Newer { subject: T::SUBJECT, found, known: T::FORMAT })
        }
        Some(1..) => serde_json::from_value(json).map_err(garbage),
        _ => Err(FormatError::Garbage { subject: T::SUBJECT, line: 1, column: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
