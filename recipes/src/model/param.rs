//! What an owner may set: declarations and values.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use serde::{Deserialize, Serialize};

use crate::Secret;
use crate::diagnostic::Anchor;
use crate::shape;

/// A parameter of a recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// What people are shown.
    pub description: Option<String>,
    /// Its type, with what narrows it.
    pub kind: ParamKind,
    /// Its value when the owner gives none; required when this is absent and no generator is given.
    pub default: Option<ParamValue>,
    /// Where it is written.
    pub at: Anchor,
}

/// The type of a parameter, with what narrows it.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamKind {
    /// Text, perhaps of a pattern.
    String {
        /// Must be found in the value.
        pattern: Option<Pattern>,
    },
    /// A whole number.
    Integer {
        /// Least value.
        min: Option<i64>,
        /// Greatest value.
        max: Option<i64>,
    },
    /// `true` or `false`.
    Boolean,
    /// A host name.
    Hostname,
    /// A port number.
    Port {
        /// Least value.
        min: Option<u16>,
        /// Greatest value.
        max: Option<u16>,
    },
    /// One of some texts.
    Enum {
        /// Those texts.
        values: Vec<String>,
    },
    /// Bytes.
    Size {
        /// Least value.
        min: Option<u64>,
        /// Greatest value.
        max: Option<u64>,
    },
    /// A time span.
    Duration {
        /// Least value.
        min: Option<Duration>,
        /// Greatest value.
        max: Option<Duration>,
    },
    /// Text that is never shown.
    Secret {
        /// How it is made when the owner gives none.
        generate: Option<Generator>,
    },
}

impl ParamKind {
    /// The word of the language for it.
    pub fn word(&self) -> &'static str {
        match self {
            ParamKind::String { .. } => "string",
            ParamKind::Integer { .. } => "integer",
            ParamKind::Boolean => "boolean",
            ParamKind::Hostname => "hostname",
            ParamKind::Port { .. } => "port",
            ParamKind::Enum { .. } => "enum",
            ParamKind::Size { .. } => "size",
            ParamKind::Duration { .. } => "duration",
            ParamKind::Secret { .. } => "secret",
        }
    }

    /// Whether values of it are never shown.
    pub fn is_secret(&self) -> bool {
        matches!(self, ParamKind::Secret { .. })
    }
}

/// A value that fits its parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParamValue {
    /// Of `string`, `hostname` and `enum`.
    Text(String),
    /// Of `integer`.
    Integer(i64),
    /// Of `boolean`.
    Boolean(bool),
    /// Of `port`.
    Port(u16),
    /// Of `size`, in bytes.
    Size(u64),
    /// Of `duration`.
    Duration(Duration),
    /// Of `secret`.
    Secret(Secret),
}

impl ParamValue {
    /// What a template puts in its place: sizes as bytes, time spans in the language's own form.
    /// `None` for a secret.
    pub fn text(&self) -> Option<String> {
        Some(match self {
            ParamValue::Text(text) => text.clone(),
            ParamValue::Integer(n) => n.to_string(),
            ParamValue::Boolean(b) => b.to_string(),
            ParamValue::Port(n) => n.to_string(),
            ParamValue::Size(n) => n.to_string(),
            ParamValue::Duration(d) => shape::duration_text(*d),
            ParamValue::Secret(_) => return None,
        })
    }
}

/// A regular expression that was checked to compile within bounds.
#[derive(Clone)]
pub struct Pattern(regex::Regex);

impl Pattern {
    pub(crate) fn new(regex: regex::Regex) -> Pattern {
        Pattern(regex)
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it is found in the text.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.as_str() == other.as_str()
    }
}

/// How a secret is made. Randomness is an argument: this crate has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// `hex:N`: N random bytes as 2 N hexadecimal digits.
    Hex(u16),
    /// `base64:N`: N random bytes in base64 with padding.
    Base64(u16),
    /// `password:N`: N letters, digits, `-` and `_`: nothing that a URL or a shell would take for syntax.
    Password(u16),
    /// `uuid`: a random UUID (RFC 9562, version 4).
    Uuid,
}

/// 64 characters, so that a random byte chooses one without bias.
const PASSWORD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Generator {
    /// Bytes of randomness that [`Generator::make`] wants.
    pub fn random_bytes(&self) -> usize {
        match self {
            Generator::Hex(n) | Generator::Base64(n) | Generator::Password(n) => usize::from(*n),
            Generator::Uuid => 16,
        }
    }

    /// The secret made of these random bytes, or `None` when there are not exactly [`Self::random_bytes`].
    pub fn make(&self, random: &[u8]) -> Option<Secret> {
        if random.len() != self.random_bytes() {
            return None;
        }
        Some(Secret::new(match self {
            Generator::Hex(_) => hex(random),
            Generator::Base64(_) => base64::engine::general_purpose::STANDARD.encode(random),
            Generator::Password(_) => {
                random.iter().map(|b| char::from(PASSWORD[usize::from(b & 63)])).collect()
            }
            Generator::Uuid => {
                let mut bytes = random.to_vec();
                bytes[6] = bytes[6] & 0x0f | 0x40;
                bytes[8] = bytes[8] & 0x3f | 0x80;
                let h = hex(&bytes);
                format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
            }
        }))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Generator::Hex(n) => write!(f, "hex:{n}"),
            Generator::Base64(n) => write!(f, "base64:{n}"),
            Generator::Password(n) => write!(f, "password:{n}"),
            Generator::Uuid => f.write_str("uuid"),
        }
    }
}
