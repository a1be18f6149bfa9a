//! Which of several network settings are in force: the document's, those that the owner confirmed by hand, or
//! those that are being tried.
//!
//! Invariant: without a trial nothing is in force that was not in force before and found good, or confirmed,
//! or came with the provider's document. A trial is never kept on data, so what it tries ends with a power cut.
//! What nobody confirmed stays so while other documents come and go, since the box may come back to any of them.

use std::iter;

use serde::{Deserialize, Serialize};

use super::NetworkSettings;
use crate::healing::Millis;
use crate::state::Format;

/// How long settings are tried, in milliseconds.
pub const TRIAL: Millis = 120_000;
/// So many settings that nobody confirmed are kept beside the newest: about as many as documents are.
const EARLIER: usize = 20;

/// What is kept on data of the owner's choices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Confirmed by hand: they stand above the document's until they are dropped.
    pub confirmed: Option<NetworkSettings>,
    /// Changes by `apply` that nobody has confirmed.
    pub unconfirmed: Option<Unconfirmed>,
}

/// Settings of documents that are not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// What the newest of them says. A document that says something else than any is not concerned.
    pub given: NetworkSettings,
    /// What the others say; of the document that `given` was to replace first, then the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<NetworkSettings>,
    /// What was in force before, and is.
    pub instead: NetworkSettings,
}

impl Unconfirmed {
    fn all(&self) -> impl Iterator<Item = &NetworkSettings> {
        iter::once(&self.given).chain(&self.earlier)
    }

    /// What is left once `good` is confirmed, which is in force instead of all others; none when it was the only one.
    fn without(&self, good: &NetworkSettings) -> Option<Unconfirmed> {
        let mut left = self.all().filter(|given| *given != good).cloned();
        let given = left.next()?;
        Some(Unconfirmed { given, earlier: left.collect(), instead: good.clone() })
    }
}

/// A second change of the network is not made while a first is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a change of the network is being tried")]
pub struct BeingTried;

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
    match record.unconfirmed.as_ref().filter(|unconfirmed| unconfirmed.all().any(|given| given == document)) {
        Some(unconfirmed) => (&unconfirmed.instead, Whose::Before),
        None => (document, Whose::Document),
    }
}

/// The record under which a document that says `given` may replace the one that says `document`; none where nothing
/// is to be tried. By it nothing changes whichever of the two the box then has. A trial is left alone by a document
/// that changes nothing, and what is tried never counts as what was before.
pub fn hold_back(
    record: &NetworkRecord,
    trial: Option<&NetworkTrial>,
    document: &NetworkSettings,
    given: &NetworkSettings,
) -> Result<Option<NetworkRecord>, BeingTried> {
    if trial.is_some() {
        return if given == document { Ok(None) } else { Err(BeingTried) };
    }
    let (now, _) = in_force(record, None, document);
    if record.confirmed.is_some() || now == given {
        return Ok(None);
    }
    let known = record.unconfirmed.iter().flat_map(Unconfirmed::all);
    let mut earlier: Vec<NetworkSettings> = known.filter(|one| *one != given).cloned().collect();
    // That of the document is never the one too many: it stays the box's when the new one cannot be kept.
    earlier.sort_by_key(|one| one != document);
    earlier.truncate(EARLIER);
    let unconfirmed = Some(Unconfirmed { given: given.clone(), earlier, instead: now.clone() });
    Ok(Some(NetworkRecord { confirmed: None, unconfirmed }))
}

/// The record once a trial is confirmed where the document says `document`.
pub fn confirmed(record: &NetworkRecord, trial: &NetworkTrial, document: &NetworkSettings) -> NetworkRecord {
    let (good, _) = in_force(record, Some(trial), document);
    let unconfirmed = record.unconfirmed.as_ref().and_then(|unconfirmed| unconfirmed.without(good));
    NetworkRecord { confirmed: trial.settings.clone(), unconfirmed }
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

    fn unconfirmed(
        given: &NetworkSettings,
        earlier: &[NetworkSettings],
        instead: &NetworkSettings,
    ) -> Unconfirmed {
        Unconfirmed { given: given.clone(), earlier: earlier.to_vec(), instead: instead.clone() }
    }

    /// The record once a document that says `given` is to replace one that says `document`.
    fn applied(record: &NetworkRecord, document: &NetworkSettings, given: &NetworkSettings) -> NetworkRecord {
        hold_back(record, None, document, given).unwrap().unwrap()
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

        record.unconfirmed = Some(unconfirmed(&document, &[], &old));
        let of_document = NetworkTrial { settings: None, since: 5 };
        check(&record, Some(&of_document), (&document, Whose::Tried));
        check(&record, None, (&old, Whose::Before));
        check(&confirmed(&record, &of_document, &document), None, (&document, Whose::Document));
        // Another document came meanwhile, of which nothing is known to be bad.
        record.unconfirmed = Some(unconfirmed(&by_hand, &[], &old));
        check(&record, None, (&document, Whose::Document));

        let trial = NetworkTrial { settings: Some(by_hand.clone()), since: 5 };
        check(&record, Some(&trial), (&by_hand, Whose::Tried));
        let record = confirmed(&record, &trial, &document);
        check(&record, None, (&by_hand, Whose::Confirmed));
        check(&record, Some(&of_document), (&document, Whose::Tried));
        assert_eq!(trial.until(), 120_005);
        assert_eq!(decode::<NetworkRecord>(&encode(&record)).unwrap(), record);
    }

    #[test]
    fn a_trial_is_left_alone_by_a_document_that_changes_nothing_and_refuses_one_that_does() {
        let [document, old, by_hand] = [1, 2, 3].map(|n| settings(&format!("192.0.2.{n}")));
        for unconfirmed in [None, Some(unconfirmed(&document, &[], &old))] {
            let record = NetworkRecord { confirmed: None, unconfirmed };
            for settings in [None, Some(by_hand.clone())] {
                let trial = NetworkTrial { settings, since: 5 };
                let check = |given: &NetworkSettings, expect: Result<Option<NetworkRecord>, BeingTried>| {
                    let held = hold_back(&record, Some(&trial), &document, given);
                    assert_eq!(held, expect, "{record:?} {trial:?} {given:?}");
                };
                check(&document, Ok(None));
                check(&old, Err(BeingTried));
                check(&by_hand, Err(BeingTried));
            }
        }
    }

    #[test]
    fn what_nobody_confirmed_stays_out_of_force_whichever_document_comes_back() {
        let [a, b, c, by_hand] = [1, 2, 3, 4].map(|n| settings(&format!("192.0.2.{n}")));
        // What is in force where the document is a, b and c.
        let check = |record: &NetworkRecord, expect: [&NetworkSettings; 3]| {
            assert_eq!([&a, &b, &c].map(|document| in_force(record, None, document).0), expect, "{record:?}");
        };
        let of_document = NetworkTrial { settings: None, since: 5 };

        let second = applied(&NetworkRecord::default(), &a, &b);
        check(&second, [&a, &a, &c]);
        assert_eq!(hold_back(&second, None, &b, &a), Ok(None), "what is in force needs no trial");
        assert_eq!(applied(&second, &b, &b), second, "it may be tried again");
        // A power cut may leave the second document or the third.
        let third = applied(&second, &b, &c);
        check(&third, [&a, &a, &a]);
        let good = confirmed(&third, &of_document, &c);
        check(&good, [&a, &c, &c]);
        // The second is tried again, and found good this time.
        let again = applied(&good, &c, &b);
        check(&again, [&a, &c, &c]);
        assert_eq!(confirmed(&again, &of_document, &b), NetworkRecord::default());

        // What is confirmed by hand stands above all of them, and finds none of them good.
        let trial = NetworkTrial { settings: Some(by_hand.clone()), since: 5 };
        let above = confirmed(&third, &trial, &c);
        check(&above, [&by_hand, &by_hand, &by_hand]);
        assert_eq!(hold_back(&above, None, &c, &a), Ok(None));
        assert_eq!(confirmed(&above, &of_document, &c), good);
    }

    #[test]
    fn documents_that_cannot_be_kept_do_not_push_out_what_the_one_in_force_says() {
        let (good, document) = (settings("192.0.2.1"), settings("192.0.2.2"));
        let mut record = applied(&NetworkRecord::default(), &good, &document);
        for n in 1..=2 * EARLIER {
            record = applied(&record, &document, &settings(&format!("198.51.100.{n}")));
            assert_eq!(in_force(&record, None, &document), (&good, Whose::Before), "{record:?}");
        }
        assert_eq!(record.unconfirmed.unwrap().earlier.len(), EARLIER);
    }

    #[test]
    fn a_record_of_the_version_before_is_read_and_reads_what_is_written() {
        let [a, b, c] = [1, 2, 3].map(|n| settings(&format!("192.0.2.{n}")));
        let second = applied(&NetworkRecord::default(), &a, &b);
        let before = r#"{"format": 1, "confirmed": null, "unconfirmed": {
            "given": {"interfaces": [], "dns": ["192.0.2.2"]}, "instead": {"interfaces": [], "dns": ["192.0.2.1"]}}}"#;
        assert_eq!(decode::<NetworkRecord>(before).as_ref(), Ok(&second));

        #[derive(Deserialize)]
        struct Before {
            unconfirmed: BeforeUnconfirmed,
        }
        #[derive(Deserialize)]
        struct BeforeUnconfirmed {
            given: NetworkSettings,
            instead: NetworkSettings,
        }
        let third = applied(&second, &b, &c);
        let text = encode(&third);
        assert_eq!(decode::<NetworkRecord>(&text), Ok(third));
        let read: Before = serde_json::from_str(&text).unwrap();
        assert_eq!((read.unconfirmed.given, read.unconfirmed.instead), (c, a));
    }
}
