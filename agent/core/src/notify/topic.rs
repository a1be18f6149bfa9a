//! What a message is about.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::note::LASTS;
use crate::healing::Millis;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An instance does not work.
    Degraded,
    /// Something else that the box's health counts does not.
    BoxDegraded,
    /// The last attempt at an update came to nothing.
    UpdateBlocked,
    /// The publisher's metadata is about to expire.
    MetadataExpiring,
    /// The data file system is nearly full.
    DataFilling,
    /// The box went back from an update.
    RolledBack,
    /// An admin asked for a message.
    Test,
}

/// Whether something began, ended, or just happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A condition stands.
    Raised,
    /// It is gone.
    Resolved,
    /// Something happened, once.
    Event,
    /// Nothing: an admin asked for a message.
    Test,
}

/// What a message is about. Of one topic one condition stands at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Topic {
    /// The kind.
    pub kind: Kind,
    /// The instance, or the part of the box; none when it is the box as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl Topic {
    /// One of the box as a whole.
    pub fn of(kind: Kind) -> Topic {
        Topic { kind, subject: None }
    }

    /// One of an instance or a part.
    pub fn about(kind: Kind, subject: impl Into<String>) -> Topic {
        Topic { kind, subject: Some(subject.into()) }
    }

    /// How long it has to stand before anyone is woken.
    pub(super) fn lasts(&self) -> Millis {
        match self.kind {
            Kind::Degraded | Kind::BoxDegraded => LASTS,
            _ => 0,
        }
    }
}

impl Kind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Degraded => "degraded",
            Kind::BoxDegraded => "box-degraded",
            Kind::UpdateBlocked => "update-blocked",
            Kind::MetadataExpiring => "metadata-expiring",
            Kind::DataFilling => "data-filling",
            Kind::RolledBack => "rolled-back",
            Kind::Test => "test",
        }
    }
}

impl State {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Raised => "raised",
            State::Resolved => "resolved",
            State::Event => "event",
            State::Test => "test",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        self.subject.iter().try_for_each(|subject| write!(f, " {subject}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_json() {
        use Kind::*;
        for kind in
            [Degraded, BoxDegraded, UpdateBlocked, MetadataExpiring, DataFilling, RolledBack, Kind::Test]
        {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for state in [State::Raised, State::Resolved, State::Event, State::Test] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
