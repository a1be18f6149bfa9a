//! The level of the state that is written, so that the version before can read it until another is good.

use super::record::UpdateRecord;

/// The level at which this version, whose newest is `newest`, has to write.
///
/// `record` is none when there is one that cannot be read; `good` says whether the slot that runs is marked
/// good, and is none when nobody can tell. A box that is neither known to be on trial nor known not to be
/// writes what every version reads.
pub fn writing_level(record: Option<&UpdateRecord>, good: Option<bool>, newest: u32) -> u32 {
    match (record, good) {
        (Some(UpdateRecord { trial: Some(trial), .. }), _) => trial.level.min(newest),
        (_, Some(false)) | (None, None) => 1,
        (Some(_), _) | (None, Some(true)) => newest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::{Baseline, Trial, TrialProgress};
    use image_layout::Slot;

    #[test]
    fn what_is_on_trial_or_may_be_writes_what_the_version_before_reads() {
        let trial = |level| Trial {
            version: "2".parse().unwrap(),
            from: "1".parse().unwrap(),
            level,
            slot: Slot::B,
            at: 0,
            boot: String::new(),
            window: 0,
            baseline: Baseline::default(),
            progress: TrialProgress::default(),
        };
        let usual = UpdateRecord::default();
        let on = |level| UpdateRecord { trial: Some(trial(level)), ..UpdateRecord::default() };
        for (record, good, level) in [
            (Some(&on(3)), Some(false), 3),
            (Some(&on(4)), Some(true), 4),
            // An older version on trial, as after an admin went back.
            (Some(&on(9)), None, 5),
            (Some(&usual), Some(true), 5),
            (Some(&usual), None, 5),
            // What was tried may have been forgotten.
            (Some(&usual), Some(false), 1),
            (None, Some(true), 5),
            (None, Some(false), 1),
            (None, None, 1),
        ] {
            assert_eq!(writing_level(record, good, 5), level, "{record:?} {good:?}");
        }
    }
}
