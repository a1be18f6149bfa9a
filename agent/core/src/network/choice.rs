//! Which of several network settings are in force: the document's, those that the owner confirmed by hand, or
//! those that are being tried.
//!
//! Invariant: without a trial nothing is in force that was not in force before and found good, or confirmed,
//! or came with the provider's document. A trial is never kept on data, so what it tries ends with a power cut.

use serde::{Deserialize, Serialize};

use super::NetworkSettings;
use crate::healing::Millis;
use crate::state::Format;

/// How long settings are tried, in milliseconds.
pub const TRIAL: Millis = 120_000;

/// What is kept on data of the owner's choices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Confirmed by hand: they stand above the document's until they are dropped.
    pub confirmed: Option<NetworkSettings>,
    /// A change by `apply` that nobody has confirmed.
    pub unconfirmed: Option<Unconfirmed>,
}

/// Settings of an accepted document that are not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// What the document says. Another document is not concerned.
    pub given: NetworkSettings,
    /// What was in force before, and is.
    pub instead: NetworkSettings,
}

/// Settings that are being tried. Kept for this boot alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkTrial {
    /// What is tried; none: what the document says, with what was confirmed by hand dropped.
    pub settings: Option<NetworkSettings>,
    /// Uptime at which it began: a connection that was made later shows that it leads to the box.
    pub since: Millis,
}

impl NetworkTrial {
    /// Uptime at which what was before comes back.
    pub fn until(&self) -> Millis {
        self.since + TRIAL
    }
}

/// Whose settings are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The document's.
    Document,
    /// Those confirmed by hand.
    Confirmed,
    /// Those before a change that nobody confirmed.
    Before,
    /// Those that are being tried.
    Tried,
}

/// What is in force where the document says `document`, and whose it is.
pub fn in_force<'a>(
    record: &'a NetworkRecord,
    trial: Option<&'a NetworkTrial>,
    document: &'a NetworkSettings,
) -> (&'a NetworkSettings, Whose) {
    if let Some(trial) = trial {
        return (trial.settings.as_ref().unwrap_or(document), Whose::Tried);
    }
    if let Some(confirmed) = &record.confirmed {
        return (confirmed, Whose::Confirmed);
    }
    match record.unconfirmed.as_ref().filter(|unconfirmed| unconfirmed.given == *document) {
        Some(unconfirmed) => (&unconfirmed.instead, Whose::Before),
        None => (document, Whose::Document),
    }
}

/// The record once a trial is confirmed.
pub fn confirmed(trial: &NetworkTrial) -> NetworkRecord {
    NetworkRecord { confirmed: trial.settings.clone(), unconfirmed: None }
}

impl Format for NetworkTrial {
    const SUBJECT: &'static str = "trial of network settings";
    const SINCE: &'static [u32] = &[1];
}

impl Format for NetworkRecord {
    const SUBJECT: &'static str = "record of the network's settings";
    const SPARE: bool = true;
    const SINCE: &'static [u32] = &[1];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{decode, encode};

    fn settings(server: &str) -> NetworkSettings {
        NetworkSettings { interfaces: vec![], dns: vec![server.parse().unwrap()] }
    }

    #[test]
    fn what_is_tried_comes_first_and_then_what_was_confirmed() {
        let (document, old, by_hand) = (settings("192.0.2.1"), settings("192.0.2.2"), settings("192.0.2.3"));
        let mut record = NetworkRecord::default();
        let check =
            |record: &NetworkRecord, trial: Option<&NetworkTrial>, expect: (&NetworkSettings, Whose)| {
                assert_eq!(in_force(record, trial, &document), expect, "{record:?} {trial:?}");
            };
        check(&record, None, (&document, Whose::Document));

        record.unconfirmed = Some(Unconfirmed { given: document.clone(), instead: old.clone() });
        let of_document = NetworkTrial { settings: None, since: 5 };
        check(&record, Some(&of_document), (&document, Whose::Tried));
        check(&record, None, (&old, Whose::Before));
        check(&confirmed(&of_document), None, (&document, Whose::Document));
        // Another document came meanwhile, of which nothing is known to be bad.
        record.unconfirmed = Some(Unconfirmed { given: by_hand.clone(), instead: old });
        check(&record, None, (&document, Whose::Document));

        let trial = NetworkTrial { settings: Some(by_hand.clone()), since: 5 };
        check(&record, Some(&trial), (&by_hand, Whose::Tried));
        let record = confirmed(&trial);
        check(&record, None, (&by_hand, Whose::Confirmed));
        check(&record, Some(&of_document), (&document, Whose::Tried));
        assert_eq!(trial.until(), 120_005);
        assert_eq!(decode::<NetworkRecord>(&encode(&record)).unwrap(), record);
    }
}
