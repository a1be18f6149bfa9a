//! A message as it is sent. Its shape is part of what the box promises: see `recipes/README.md`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::Message;
use super::topic::{Kind, State};

/// The JSON that is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// Version of this shape.
    pub format: u32,
    /// The same over retries, and never another message's.
    pub id: String,
    /// Who says it.
    #[serde(rename = "box")]
    pub from: Origin,
    /// What kind of thing happened.
    pub kind: Kind,
    /// Whether it began, ended, or just happened.
    pub state: State,
    /// The instance, or the part of the box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// One sentence.
    pub message: String,
    /// When it was noticed, RFC 3339 in UTC.
    pub time: String,
    /// Messages that were dropped since one was last delivered.
    pub dropped: u64,
}

/// The box that sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Its host name.
    pub hostname: String,
    /// Version of its image.
    pub version: String,
}

impl Body {
    /// The version that is sent now.
    pub const FORMAT: u32 = 1;

    /// What is sent of a message.
    pub fn new(message: &Message, from: Origin, dropped: u64) -> Body {
        Body {
            format: Body::FORMAT,
            id: message.id.clone(),
            from,
            kind: message.topic.kind,
            state: message.state,
            subject: message.topic.subject.clone(),
            message: message.text.clone(),
            time: Timestamp::from_second(message.at as i64).unwrap_or_default().to_string(),
            dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::topic::Topic;
    use super::*;

    const README: &str = include_str!("../../../../recipes/README.md");

    #[test]
    fn the_sample_for_people_is_what_is_sent() {
        let (_, rest) = README.split_once("```json\n").expect("a sample");
        let (sample, _) = rest.split_once("```").expect("an end of the sample");
        let parsed: Body = serde_json::from_str(sample).unwrap();
        let message = Message {
            id: parsed.id.clone(),
            topic: Topic { kind: parsed.kind, subject: parsed.subject.clone() },
            state: parsed.state,
            text: parsed.message.clone(),
            at: parsed.time.parse::<Timestamp>().unwrap().as_second() as u64,
            attempts: 0,
            refused: false,
        };
        let sent = Body::new(&message, parsed.from, parsed.dropped);
        let sample: serde_json::Value = serde_json::from_str(sample).unwrap();
        assert_eq!(serde_json::to_value(sent).unwrap(), sample);
    }

    #[test]
    fn every_word_is_explained() {
        use Kind::*;
        for kind in
            [Degraded, BoxDegraded, UpdateBlocked, MetadataExpiring, DataFilling, RolledBack, Kind::Test]
        {
            assert!(README.contains(&format!("| `{}` |", kind.as_str())), "{kind:?}");
        }
        for state in [State::Raised, State::Resolved, State::Event, State::Test] {
            assert!(README.contains(&format!("`{}`", state.as_str())), "{state:?}");
        }
    }
}
