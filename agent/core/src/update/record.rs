//! `update.json`: what is remembered of updates from boot to boot.

use std::collections::{BTreeMap, BTreeSet};

use image_layout::release::WrittenPart;
use image_layout::{Slot, Version};
use serde::{Deserialize, Serialize};

use super::start::Running;
use crate::state::{Format, LEVEL};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateRecord {
    /// When the last window opened in which all was done that was due, seconds since 1970.
    pub window: u64,
    /// The last look at the channel that was answered.
    pub checked: Option<Checked>,
    /// Why the last attempt at anything came to nothing; none when it did come to something.
    pub problem: Option<Problem>,
    /// What lies whole in the slot that does not run.
    pub staged: Option<StagedRelease>,
    /// The version that has to prove itself.
    pub trial: Option<Trial>,
    /// How the last trial ended.
    pub last: Option<LastUpdate>,
    /// Versions that did not prove themselves.
    pub failed: BTreeMap<Version, FailedVersion>,
    /// What the other slot holds and has proved itself there.
    pub previous: Option<Previous>,
}

impl Format for UpdateRecord {
    const SUBJECT: &'static str = "record of updates";
    const SINCE: &'static [u32] = &[1];
}

/// A look at the channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The version that the channel has.
    pub version: Version,
    /// When, seconds since 1970.
    pub at: u64,
    /// When the first of the repository's metadata expires, seconds since 1970.
    pub expires: i64,
}

/// Why something came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// When, seconds since 1970.
    pub at: u64,
    /// For people.
    pub reason: String,
}

/// A release in the slot that does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedRelease {
    /// Its version.
    pub version: Version,
    /// Where it is.
    pub slot: Slot,
    /// What its partitions hold.
    pub parts: Vec<WrittenPart>,
    /// When, seconds since 1970.
    pub at: u64,
    /// Bytes that neither slot had.
    pub needed: u64,
    /// Bytes that were fetched.
    pub fetched: u64,
}

/// A version that has to prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The version.
    pub version: Version,
    /// The version that it takes the place of.
    pub from: Version,
    /// The level of the state that the version before reads, which it wrote itself.
    #[serde(default = "first")]
    pub level: u32,
    /// Its slot.
    pub slot: Slot,
    /// When it was switched to, seconds since 1970.
    pub at: u64,
    /// The random text of the slot state at that moment.
    pub boot: String,
    /// When the window began that it belongs to, seconds since 1970; 0 when it was asked for by hand.
    pub window: u64,
    /// What it has to reach again.
    pub baseline: Baseline,
    /// How far it came.
    #[serde(default)]
    pub progress: TrialProgress,
}

/// What worked before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Instances that were healthy, each with the seconds within which it must be again.
    pub instances: BTreeMap<String, u64>,
    /// Gateways that answered, as text.
    pub gateways: BTreeSet<String>,
    /// `HOST:PORT` of the update source and of registries that took a connection.
    pub endpoints: BTreeSet<String>,
}

/// How far a version on trial came, as it wrote itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrialProgress {
    /// How often its agent was started.
    pub starts: u32,
    /// What it lacked when it was last looked at.
    pub lacking: Vec<String>,
    /// Why it gave up.
    pub reason: Option<String>,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It proved itself.
    Good,
    /// The box went back by itself.
    WentBack,
}

/// A trial that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUpdate {
    /// The version that was on trial.
    pub version: Version,
    /// The version before it.
    pub from: Version,
    /// How it ended.
    pub ending: Ending,
    /// Why the box went back.
    pub reason: Option<String>,
    /// When, seconds since 1970.
    pub at: u64,
}

/// A version that did not prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedVersion {
    /// How often.
    pub attempts: u32,
    /// Why, the last time.
    pub reason: String,
    /// The window of the last attempt, as in [`Trial::window`].
    pub window: u64,
    /// An admin went back from it: it is not tried again by itself.
    #[serde(default)]
    pub held: bool,
}

/// What the other slot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its version.
    pub version: Version,
    /// The level of the state that it reads.
    #[serde(default = "first")]
    pub level: u32,
    /// The slot.
    pub slot: Slot,
}

fn first() -> u32 {
    1
}

impl UpdateRecord {
    /// The trial ended well.
    pub fn proved(&mut self, now: u64) {
        let Some(trial) = self.trial.take() else { return };
        self.failed.retain(|version, _| *version > trial.version);
        let (version, slot) = (trial.from.clone(), trial.slot.other());
        self.previous = Some(Previous { version, level: trial.level, slot });
        self.staged = None;
        self.problem = None;
        self.last = Some(LastUpdate {
            version: trial.version,
            from: trial.from,
            ending: Ending::Good,
            reason: None,
            at: now,
        });
    }

    /// The version before runs without a trial: the slot with the last that proved itself used up its tries.
    /// Gives that version.
    pub fn gave_way(&mut self, running: &Running) -> Option<Version> {
        let before = self.previous.as_ref().is_some_and(|previous| previous.slot == running.slot);
        let last = self.last.as_ref().filter(|last| last.ending == Ending::Good)?;
        if !before || self.trial.is_some() || last.version == running.version {
            return None;
        }
        let version = last.version.clone();
        self.previous = Some(Previous { version: version.clone(), level: LEVEL, slot: running.slot.other() });
        Some(version)
    }

    /// The box went back from the version on trial. What lies in its slot stays staged.
    pub fn went_back(&mut self, reason: &str, now: u64) {
        let Some(trial) = self.trial.take() else { return };
        let attempts = self.failed.get(&trial.version).map_or(0, |failed| failed.attempts);
        let failed = FailedVersion {
            attempts: attempts + 1,
            reason: reason.to_owned(),
            window: trial.window,
            held: false,
        };
        self.failed.insert(trial.version.clone(), failed);
        self.last = Some(LastUpdate {
            version: trial.version,
            from: trial.from,
            ending: Ending::WentBack,
            reason: Some(reason.to_owned()),
            at: now,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_gave_way_is_the_previous_one() {
        let running = |version: &str, slot| Running { version: version.parse().unwrap(), slot };
        let previous = Previous { version: "1".parse().unwrap(), level: 1, slot: Slot::A };
        let last = LastUpdate {
            version: "2".parse().unwrap(),
            from: "1".parse().unwrap(),
            ending: Ending::Good,
            reason: None,
            at: 5,
        };
        let before = UpdateRecord { previous: Some(previous), last: Some(last), ..UpdateRecord::default() };
        let check = |record: &UpdateRecord, running: &Running, expect: Option<&str>| {
            let mut record = record.clone();
            let lost = record.gave_way(running).map(|version| version.to_string());
            assert_eq!(lost.as_deref(), expect, "{record:?}");
            record
        };
        check(&before, &running("2", Slot::B), None);
        let after = check(&before, &running("1", Slot::A), Some("2"));
        let previous = after.previous.clone().unwrap();
        assert_eq!((previous.version.to_string().as_str(), previous.slot), ("2", Slot::B));
        check(&after, &running("1", Slot::A), None);
        // And the other way round, after a rollback by hand.
        check(&after, &running("2", Slot::B), None);
        let mut back = before;
        back.last.as_mut().unwrap().ending = Ending::WentBack;
        check(&back, &running("1", Slot::A), None);
    }
}
