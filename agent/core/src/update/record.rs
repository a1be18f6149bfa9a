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
    /// The generation of the document that was in force; 0 for none, and where it is not on record.
    #[serde(default)]
    pub generation: u64,
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
        // Its own attempts stay counted: it may still turn out not to start each time.
        self.failed.retain(|version, _| *version >= trial.version);
        if let Some(own) = self.failed.get_mut(&trial.version) {
            own.held = false;
        }
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

    /// The version that had proved itself and was left without a trial, when it is the one before that runs.
    pub fn gave_way(&self, running: &Running) -> Option<Version> {
        let before = self.previous.as_ref().is_some_and(|previous| previous.slot == running.slot);
        let last = self.last.as_ref().filter(|last| last.ending == Ending::Good)?;
        let left = before && self.trial.is_none() && last.version != running.version;
        left.then(|| last.version.clone())
    }

    /// The box left `version` without a trial, for this reason. It counts as an attempt.
    pub fn left(&mut self, version: Version, running: &Running, reason: &str, now: u64) {
        self.fail(&version, reason, 0);
        self.previous = Some(Previous { version: version.clone(), level: LEVEL, slot: running.slot.other() });
        self.last = Some(LastUpdate {
            version,
            from: running.version.clone(),
            ending: Ending::WentBack,
            reason: Some(reason.to_owned()),
            at: now,
        });
    }

    /// Counts an attempt that failed.
    fn fail(&mut self, version: &Version, reason: &str, window: u64) {
        let attempts = self.failed.get(version).map_or(0, |failed| failed.attempts) + 1;
        let failed = FailedVersion { attempts, reason: reason.to_owned(), window, held: false };
        self.failed.insert(version.clone(), failed);
    }

    /// The box went back from the version on trial. What lies in its slot stays staged.
    pub fn went_back(&mut self, reason: &str, now: u64) {
        let Some(trial) = self.trial.take() else { return };
        self.fail(&trial.version, reason, trial.window);
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
        let lost = |record: &UpdateRecord, running: &Running| record.gave_way(running).map(|v| v.to_string());
        assert_eq!(lost(&before, &running("2", Slot::B)), None);
        assert_eq!(lost(&before, &running("1", Slot::A)).as_deref(), Some("2"));
        let mut after = before.clone();
        after.left("2".parse().unwrap(), &running("1", Slot::A), "it rots", 9);
        let (previous, last) = (after.previous.clone().unwrap(), after.last.clone().unwrap());
        assert_eq!((previous.version.to_string().as_str(), previous.slot), ("2", Slot::B));
        assert_eq!((last.ending, last.reason.as_deref(), last.at), (Ending::WentBack, Some("it rots"), 9));
        assert_eq!(after.failed[&last.version].attempts, 1);
        for slot in [Slot::A, Slot::B] {
            assert_eq!(lost(&after, &running("1", slot)), None);
        }
        // Once more on trial, and good: it is not forgotten that it did not start.
        after.trial = Some(Trial {
            version: last.version.clone(),
            from: last.from,
            level: 1,
            slot: Slot::B,
            at: 10,
            boot: String::new(),
            window: 0,
            baseline: Baseline::default(),
            progress: TrialProgress::default(),
        });
        after.proved(11);
        assert_eq!(after.failed[&last.version].attempts, 1);
        assert_eq!(lost(&after, &running("1", Slot::A)).as_deref(), Some("2"));
    }
}
