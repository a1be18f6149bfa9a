//! `notify.json`: what someone was told, and what is still to be told.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::topic::{State, Topic};
use crate::state::Format;

/// The most messages that wait.
pub const MOST_WAITING: usize = 100;
/// Characters of a message's text.
const TEXT: usize = 1000;

/// All of it. There is one only while there is an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyRecord {
    /// Random; the ids of its messages begin with it.
    pub series: String,
    /// Number of the next message.
    pub next: u64,
    /// When the box went back last, as it was told or before anyone was told; seconds since 1970.
    pub went_back: u64,
    /// Conditions that were told of.
    pub told: Vec<Told>,
    /// Messages to deliver, oldest first.
    pub waiting: Vec<Message>,
    /// Messages that were dropped since one was delivered.
    pub dropped: u64,
    /// Attempts in a row that did not reach a server that answers as one.
    pub failures: u32,
    /// The last attempt.
    pub last: Option<Attempt>,
}

impl Format for NotifyRecord {
    const SINCE: &'static [u32] = &[1];
    const SUBJECT: &'static str = "record of messages";
}

/// A condition that was told of. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which.
    #[serde(flatten)]
    pub topic: Topic,
    /// As it was said.
    pub text: String,
    /// When it was raised.
    pub raised: u64,
    /// Whether it has not been resolved since.
    pub stands: bool,
}

/// A message to deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same over retries.
    pub id: String,
    /// What it is about.
    #[serde(flatten)]
    pub topic: Topic,
    /// Whether that began, ended, or just happened.
    pub state: State,
    /// One sentence.
    pub text: String,
    /// When it was noticed, seconds since 1970.
    pub at: u64,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: u32,
    /// Whether the server would not have it.
    #[serde(default)]
    pub refused: bool,
}

/// An attempt at delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When, seconds since 1970.
    pub at: u64,
    /// Whether the message was taken.
    pub delivered: bool,
    /// What the server answered, or why it did not.
    pub answer: String,
}

impl NotifyRecord {
    /// One with nothing in it. `series` is random; `went_back` is when the box last went back from an update,
    /// which is old news, or 0.
    pub fn begin(series: impl Into<String>, went_back: u64) -> NotifyRecord {
        NotifyRecord {
            series: series.into(),
            next: 1,
            went_back,
            told: Vec::new(),
            waiting: Vec::new(),
            dropped: 0,
            failures: 0,
            last: None,
        }
    }

    /// Adds a message, and drops the oldest where there is no room; not the one that is being sent.
    pub(super) fn push(&mut self, topic: Topic, state: State, text: &str, at: u64, sending: Option<&str>) {
        while self.waiting.len() >= MOST_WAITING {
            let free = self.waiting.iter().position(|message| Some(message.id.as_str()) != sending);
            self.waiting.remove(free.unwrap_or(0));
            self.dropped += 1;
        }
        let id = format!("{}-{}", self.series, self.next);
        self.next += 1;
        let text = text.chars().take(TEXT).collect();
        self.waiting.push(Message { id, topic, state, text, at, attempts: 0, refused: false });
    }

    /// What is known of a topic.
    pub fn known(&self, topic: &Topic) -> Option<&Told> {
        self.told.iter().find(|told| told.topic == *topic)
    }

    /// Topics that were raised and not resolved.
    pub(super) fn standing(&self) -> BTreeSet<Topic> {
        self.told.iter().filter(|told| told.stands).map(|told| told.topic.clone()).collect()
    }

    /// Messages that no earlier one of their topic has to go before.
    pub(super) fn first_of_topics(&self) -> impl Iterator<Item = &Message> {
        let mut first: BTreeMap<&Topic, &str> = BTreeMap::new();
        self.waiting
            .iter()
            .filter(move |message| *first.entry(&message.topic).or_insert(&message.id) == message.id)
    }
}
