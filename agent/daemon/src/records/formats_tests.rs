//! Two versions that go on with one another's files, cut anywhere.

use std::cell::Cell;
use std::collections::BTreeSet;

use agent_core::state::{Fields, FormatError};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

/// The record as the older version has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Old {
    value: u32,
}

/// The same as the newer version has it: renamed, and with something that format 1 has no room for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct New {
    number: u32,
    extra: Option<u32>,
}

impl Format for Old {
    const SUBJECT: &'static str = "record";
    const SINCE: &'static [u32] = &[1];
}

impl Format for New {
    const SUBJECT: &'static str = "record";
    const SINCE: &'static [u32] = &[1, 2];

    fn raise(fields: &mut Fields, _from: u32) {
        let value = fields.remove("value").unwrap_or_default();
        fields.insert("number".into(), value);
    }

    fn lower(fields: &mut Fields, to: u32) -> Result<(), FormatError> {
        if fields.remove("extra").is_some_and(|extra| !extra.is_null()) {
            return Err(FormatError::NoRoom { subject: Self::SUBJECT, format: to });
        }
        let value = fields.remove("number").unwrap_or_default();
        fields.insert("value".into(), value);
        Ok(())
    }
}

/// A disk whose power goes after some steps.
#[derive(Debug)]
struct Cut(Cell<u32>);

impl Cut {
    fn step(&self, path: &Path) -> Result<(), FileError> {
        match self.0.get().checked_sub(1) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(FileError::NoName { path: path.to_owned() }),
        }
    }
}

impl Disk for Cut {
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        self.step(path)?;
        std::fs::write(path, bytes).unwrap();
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        self.step(path)?;
        if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
        Ok(())
    }
}

/// Steps that no power cut ends.
const ALL: u32 = u32::MAX;

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    Old,
    /// On trial, after the old one.
    Trial,
    /// In a good slot, with the old one in the other.
    New,
}

fn formats(runs: Runs, steps: u32) -> Formats<Cut> {
    let formats = Formats::new(Cut(Cell::new(steps)), if runs == Runs::Old { 1 } else { 2 });
    formats.set_level(if runs == Runs::New { 2 } else { 1 });
    formats.set_other((runs == Runs::New).then_some(1));
    formats
}

/// Starts as [`super::super::Records`] does.
fn start(runs: Runs, path: &Path, steps: u32) -> Result<Option<String>, RecordError> {
    let formats = formats(runs, steps);
    let said = match runs {
        Runs::Old => formats.adopt::<Old>(path)?,
        _ => formats.adopt::<New>(path)?,
    };
    match runs {
        Runs::Old => formats.migrate::<Old>(path)?,
        Runs::Trial => {}
        Runs::New => formats.migrate::<New>(path)?,
    }
    Ok(said)
}

/// What a version finds: nothing, something, or that the file is newer and that nothing was kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Nothing,
    Is(u32, Option<u32>),
    Newer,
}

fn seen(runs: Runs, path: &Path) -> Seen {
    let formats = formats(runs, 0);
    let read = match runs {
        Runs::Old => formats.read::<Old>(path).map(|read| read.map(|old| (old.value, None))),
        _ => formats.read::<New>(path).map(|read| read.map(|new| (new.number, new.extra))),
    };
    match read {
        Ok(None) => Seen::Nothing,
        Ok(Some((value, extra))) => Seen::Is(value, extra),
        Err(RecordError::Format { source: FormatError::Newer { .. }, .. }) => Seen::Newer,
        Err(error) => panic!("{error}"),
    }
}

fn put(runs: Runs, path: &Path, value: (u32, Option<u32>), steps: u32) -> Result<(), RecordError> {
    let formats = formats(runs, steps);
    match runs {
        Runs::Old => formats.write(path, &Old { value: value.0 }),
        _ => formats.write(path, &New { number: value.0, extra: value.1 }),
    }
}

fn names(path: &Path) -> BTreeSet<String> {
    let all = std::fs::read_dir(path.parent().unwrap()).unwrap();
    all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    (folder, path)
}

#[test]
fn a_version_on_trial_writes_what_the_one_before_reads_and_migrates_once_it_is_good() {
    let (_folder, path) = folder();
    put(Runs::Old, &path, (1, None), ALL).unwrap();
    let old = std::fs::read_to_string(&path).unwrap();
    start(Runs::Trial, &path, ALL).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), old);
    put(Runs::Trial, &path, (2, None), ALL).unwrap();
    assert_eq!(seen(Runs::Old, &path), Seen::Is(2, None));
    let refused = put(Runs::Trial, &path, (2, Some(5)), ALL).unwrap_err().to_string();
    assert!(refused.contains("a.json"), "{refused}");

    let before = std::fs::read_to_string(&path).unwrap();
    start(Runs::New, &path, ALL).unwrap();
    assert_eq!(names(&path), ["a.json", "a.json.format-1"].map(str::to_owned).into());
    assert_eq!(std::fs::read_to_string(copy(&path, 1)).unwrap(), before);
    let now = std::fs::read_to_string(&path).unwrap();
    assert!(now.contains("\"format\": 2") && now.contains("\"number\": 2"), "{now}");
    // Once more changes nothing.
    start(Runs::New, &path, 0).unwrap();
    formats(Runs::New, ALL).remove(&path).unwrap();
    assert_eq!(names(&path), BTreeSet::new());
}

#[test]
fn an_older_version_goes_on_with_what_was_kept_and_says_so_once() {
    let (_folder, path) = folder();
    put(Runs::Old, &path, (1, None), ALL).unwrap();
    start(Runs::New, &path, ALL).unwrap();
    put(Runs::New, &path, (2, None), ALL).unwrap();
    put(Runs::New, &path, (3, Some(9)), ALL).unwrap();
    let said = start(Runs::Old, &path, ALL).unwrap().unwrap();
    assert!(said.contains("a.json` in format 2") && said.contains("in format 1 is used"), "{said}");
    assert_eq!(start(Runs::Old, &path, ALL).unwrap(), None);
    assert_eq!(seen(Runs::Old, &path), Seen::Is(2, None));

    // Nothing was written meanwhile: the newer one has its own again.
    start(Runs::New, &path, ALL).unwrap();
    assert_eq!(seen(Runs::New, &path), Seen::Is(3, Some(9)));
    // Something was, if only the same.
    start(Runs::Old, &path, ALL).unwrap();
    put(Runs::Old, &path, (4, None), ALL).unwrap();
    put(Runs::Old, &path, (2, None), ALL).unwrap();
    start(Runs::New, &path, ALL).unwrap();
    assert_eq!(seen(Runs::New, &path), Seen::Is(2, None));
    assert_eq!(names(&path), ["a.json", "a.json.format-1"].map(str::to_owned).into());
}

#[test]
fn what_is_newer_and_was_not_kept_stays_beside() {
    let (_folder, path) = folder();
    let newer = r#"{"format": 7, "unknown": true}"#;
    std::fs::write(&path, newer).unwrap();
    assert_eq!(start(Runs::Old, &path, ALL).unwrap(), None);
    assert_eq!(seen(Runs::Old, &path), Seen::Newer);
    put(Runs::Old, &path, (1, None), ALL).unwrap();
    assert_eq!(std::fs::read_to_string(copy(&path, 7)).unwrap(), newer);
    // Rot is no copy, and nothing is taken away from who may still tell what it was.
    std::fs::write(&path, "\0\0\0").unwrap();
    start(Runs::New, &path, 0).unwrap();
    std::fs::write(copy(&path, 1), "torn").unwrap();
    std::fs::write(&path, newer).unwrap();
    assert_eq!(start(Runs::Old, &path, ALL).unwrap(), None);
}

#[test]
fn a_migration_that_is_cut_at_any_step_is_run_again_and_either_version_can_run_in_between() {
    for steps in 0..6 {
        for between in [Runs::Old, Runs::Trial, Runs::New] {
            let (_folder, path) = folder();
            put(Runs::Old, &path, (1, None), ALL).unwrap();
            let done = start(Runs::New, &path, steps).is_ok();
            assert_eq!(done, steps >= 2, "the steps are a copy and the file");
            start(between, &path, ALL).unwrap();
            assert_eq!(seen(between, &path), Seen::Is(1, None), "{steps} {between:?}");
            start(Runs::New, &path, ALL).unwrap();
            assert_eq!(seen(Runs::New, &path), Seen::Is(1, None));
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(state::format_of(&text), Some(2));
            assert!(names(&path).contains("a.json.format-1"));
        }
    }
}

/// As a version after the newer one has it: nothing else, but another format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Third(New);

impl Format for Third {
    const SUBJECT: &'static str = "record";
    const SINCE: &'static [u32] = &[1, 2, 3];

    fn raise(fields: &mut Fields, from: u32) {
        if from == 1 {
            New::raise(fields, from);
        }
    }

    fn lower(fields: &mut Fields, to: u32) -> Result<(), FormatError> {
        if to == 1 { New::lower(fields, to) } else { Ok(()) }
    }
}

#[test]
fn a_version_may_be_left_out() {
    let (_folder, path) = folder();
    put(Runs::Old, &path, (1, None), ALL).unwrap();
    let third = Formats::new(Cut(Cell::new(ALL)), 3);
    third.set_level(3);
    third.set_other(Some(1));
    let value = |number, extra| Third(New { number, extra });
    third.migrate::<Third>(&path).unwrap();
    third.write(&path, &value(2, None)).unwrap();
    assert_eq!(names(&path), ["a.json", "a.json.format-1"].map(str::to_owned).into());
    // The one between finds the oldest format only, and its own from then on.
    assert!(start(Runs::New, &path, ALL).unwrap().is_some());
    assert_eq!(seen(Runs::New, &path), Seen::Is(2, None));
    put(Runs::New, &path, (3, Some(1)), ALL).unwrap();
    third.set_other(Some(2));
    third.migrate::<Third>(&path).unwrap();
    assert_eq!(third.read(&path).unwrap(), Some(value(3, Some(1))));
    third.write(&path, &value(4, Some(2))).unwrap();
    // Either copy is what that format has room for.
    assert_eq!(seen(Runs::New, &copy(&path, 2)), Seen::Is(4, Some(2)));
    assert_eq!(seen(Runs::Old, &copy(&path, 1)), Seen::Is(2, None));
}

/// Something that happens to the box.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Another version, or the same, starts.
    Start(Runs),
    Write(u32, Option<u32>),
    Remove,
}

fn step() -> impl Strategy<Value = (Step, u32)> {
    let runs = prop_oneof![Just(Runs::Old), Just(Runs::Trial), Just(Runs::New)];
    let step = prop_oneof![
        3 => runs.prop_map(Step::Start),
        3 => (0..3u32, proptest::option::weighted(0.3, 0..2u32)).prop_map(|(v, extra)| Step::Write(v, extra)),
        1 => Just(Step::Remove),
    ];
    (step, prop_oneof![3 => Just(ALL), 2 => 0..6u32])
}

/// What each version may find.
struct Model {
    old: BTreeSet<Seen>,
    new: BTreeSet<Seen>,
}

impl Model {
    fn of(&mut self, runs: Runs) -> &mut BTreeSet<Seen> {
        if runs == Runs::Old { &mut self.old } else { &mut self.new }
    }

    /// What was acknowledged is what both find; of what was cut, each finds all or nothing.
    fn put(&mut self, value: Seen, acknowledged: bool) {
        let room = !matches!(value, Seen::Is(_, Some(_)));
        if acknowledged {
            self.new.clear();
            if room {
                self.old.clear();
            }
        }
        self.new.insert(value);
        if room {
            self.old.insert(value);
        } else if self.old.contains(&Seen::Nothing) {
            // Nothing was there before that an older version could go on with.
            self.old.insert(Seen::Newer);
        }
    }
}

fn run(steps: &[(Step, u32)]) {
    let (_folder, path) = folder();
    let nothing = BTreeSet::from([Seen::Nothing]);
    let mut model = Model { old: nothing.clone(), new: nothing };
    let mut runs = Runs::Old;
    for (number, (step, cut)) in steps.iter().enumerate() {
        let done = match *step {
            Step::Start(next) => {
                runs = next;
                start(next, &path, *cut).is_ok()
            }
            Step::Write(value, extra) => {
                let extra = extra.filter(|_| runs == Runs::New);
                let done = put(runs, &path, (value, extra), *cut).is_ok();
                model.put(Seen::Is(value, extra), done);
                done
            }
            Step::Remove => {
                let done = formats(runs, *cut).remove(&path).is_ok();
                model.put(Seen::Nothing, done);
                done
            }
        };
        if !done {
            // The box starts again, and may be cut in that.
            let _ = start(runs, &path, *cut);
            start(runs, &path, ALL).unwrap();
        }
        if let (Step::Start(_), true) | (_, false) = (step, done) {
            let found = seen(runs, &path);
            if runs == Runs::Trial {
                // It goes on with what the one before had, or with its own that this one did not come to.
                let may = &model.old | &model.new;
                assert!(may.contains(&found), "step {number}: found {found:?}, not of {may:?}");
                continue;
            }
            let may = model.of(runs);
            assert!(may.contains(&found), "step {number}: {runs:?} found {found:?}, not of {may:?}");
            // What was found once is not taken back.
            *may = BTreeSet::from([found]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn nothing_acknowledged_is_lost_whichever_version_runs(steps in prop::collection::vec(step(), 1..25)) {
        run(&steps);
    }
}
