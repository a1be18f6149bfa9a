//! What a starting agent makes of a trial that is on record.

use image_layout::{Slot, Version};

use super::record::{Trial, UpdateRecord};

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The version.
    pub version: Version,
    /// The slot.
    pub slot: Slot,
}

/// What the boot loader saw and did before this boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootTrace {
    /// The slot that it was to try first.
    pub first: Option<Slot>,
    /// The slot that is marked good.
    pub good: Option<Slot>,
    /// The random text of the slot state that it saw.
    pub boot: String,
    /// Slots that it passed over in this boot because of what their files are.
    pub passed_over: Vec<Slot>,
}

/// What is to be done at the agent's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// Nothing: no trial is on record.
    Usual,
    /// This is the version on trial, and it has to prove itself.
    OnTrial,
    /// It had proved itself, and the record did not come to say so.
    Proved,
    /// The switch was cut before the boot loader was told: nothing came of it.
    NeverSwitched,
    /// The slot on trial runs and holds another version: the box has to go back, for this reason.
    Wrong(String),
    /// So it is once more: the box has nothing better, and stays with what runs.
    Stuck(String),
    /// The box went back, for this reason.
    WentBack(String),
}

/// Tells which it is.
pub fn start(record: &UpdateRecord, running: &Running, trace: &BootTrace) -> Started {
    let Some(trial) = &record.trial else { return Started::Usual };
    if running.slot == trial.slot && running.version == trial.version {
        return if trace.good == Some(trial.slot) { Started::Proved } else { Started::OnTrial };
    }
    if running.slot == trial.slot {
        let reason = format!("slot {} holds {} in place of it", trial.slot, running.version);
        return if trial.progress.starts == 0 { Started::Wrong(reason) } else { Started::Stuck(reason) };
    }
    if trace.first.is_some_and(|first| first != trial.slot)
        && trial.progress.starts == 0
        && trace.passed_over.is_empty()
    {
        return Started::NeverSwitched;
    }
    Started::WentBack(reason(trial, trace))
}

/// Why the other slot runs, as far as it can be told from here.
fn reason(trial: &Trial, trace: &BootTrace) -> String {
    let version = &trial.version;
    if let Some(reason) = &trial.progress.reason {
        return reason.clone();
    }
    if trial.progress.starts > 0 {
        let lacking = match trial.progress.lacking.as_slice() {
            [] => String::new(),
            lacking => format!("; it lacked: {}", lacking.join("; ")),
        };
        return format!("{version} was restarted before it had proved itself{lacking}");
    }
    if trace.passed_over.contains(&trial.slot) {
        return format!("the boot loader found the files of {version} damaged");
    }
    if trace.boot == trial.boot {
        return format!("{version} did not get as far as its initrd");
    }
    format!("the agent of {version} was never up: its initrd ran")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::{Baseline, TrialProgress};

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn record(progress: TrialProgress) -> UpdateRecord {
        let trial = Trial {
            version: version("2"),
            from: version("1"),
            level: 1,
            slot: Slot::B,
            at: 10,
            boot: "x".into(),
            window: 0,
            baseline: Baseline::default(),
            progress,
        };
        UpdateRecord { trial: Some(trial), ..UpdateRecord::default() }
    }

    fn trace(first: Slot, good: Slot, boot: &str) -> BootTrace {
        BootTrace { first: Some(first), good: Some(good), boot: boot.into(), passed_over: vec![] }
    }

    fn check(progress: TrialProgress, running: (&str, Slot), trace: &BootTrace, expect: Started) {
        let running = Running { version: version(running.0), slot: running.1 };
        assert_eq!(start(&record(progress), &running, trace), expect, "{trace:?}");
    }

    #[test]
    fn each_slot_knows_what_came_of_a_trial() {
        let none = TrialProgress::default;
        let usual = start(
            &UpdateRecord::default(),
            &Running { version: version("1"), slot: Slot::A },
            &trace(Slot::A, Slot::A, ""),
        );
        assert_eq!(usual, Started::Usual);
        check(none(), ("2", Slot::B), &trace(Slot::B, Slot::A, "y"), Started::OnTrial);
        check(none(), ("2", Slot::B), &trace(Slot::B, Slot::B, "y"), Started::Proved);
        let stateless = BootTrace { first: None, good: None, ..trace(Slot::B, Slot::B, "") };
        check(none(), ("2", Slot::B), &stateless, Started::OnTrial);
        check(none(), ("1", Slot::A), &trace(Slot::A, Slot::A, "x"), Started::NeverSwitched);
        let back = |reason: &str| Started::WentBack(reason.to_owned());
        check(
            none(),
            ("1", Slot::A),
            &trace(Slot::B, Slot::A, "x"),
            back("2 did not get as far as its initrd"),
        );
        check(
            none(),
            ("1", Slot::A),
            &trace(Slot::B, Slot::A, "y"),
            back("the agent of 2 was never up: its initrd ran"),
        );
        let passed = BootTrace { passed_over: vec![Slot::B], ..trace(Slot::B, Slot::A, "x") };
        check(none(), ("1", Slot::A), &passed, back("the boot loader found the files of 2 damaged"));
        let started = |reason: Option<&str>, lacking: &[&str]| TrialProgress {
            starts: 1,
            reason: reason.map(str::to_owned),
            lacking: lacking.iter().map(|l| (*l).to_owned()).collect(),
        };
        check(
            started(Some("no network"), &[]),
            ("1", Slot::A),
            &trace(Slot::B, Slot::A, "y"),
            back("no network"),
        );
        check(
            started(None, &["a is settling"]),
            ("1", Slot::A),
            &trace(Slot::B, Slot::A, "y"),
            back("2 was restarted before it had proved itself; it lacked: a is settling"),
        );
        let holds = || "slot b holds 3 in place of it".to_owned();
        let at = trace(Slot::B, Slot::A, "y");
        check(none(), ("3", Slot::B), &at, Started::Wrong(holds()));
        check(started(None, &[]), ("3", Slot::B), &at, Started::Stuck(holds()));
    }
}
