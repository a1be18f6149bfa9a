//! Slots that rot: found, repaired from the other slot and from the release, or left with a reason.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::support::images::{BLOCK, image, noise};
use crate::support::machine::{INSTALLED, Machine, patience};
use crate::support::publisher::Publisher;
use crate::support::server::{Answer, Server};
use crate::support::verity::Slot;
use agent_update::{Condition, Device, Outcome, Scrub, Scrubbed, Slots, UpdateError, UpdateErrorKind, Verb};
use image_layout::release::Part;

const NOWHERE: &str = "";

/// Blocks of data: three levels of tree would need more than a test should have, two need 129.
const DATA: u64 = 1500;

fn installed() -> Slot {
    Slot::new(&image((1..DATA).chain([0])), 7, &image(3001..3060))
}

/// The next version: some blocks of the data are the same, elsewhere, and the salt is another.
fn next() -> Slot {
    Slot::new(&image((9000..9100).chain(1..800)), 9, &image(3001..3050))
}

/// A box that runs `running` and holds `other` in the slot that does not run.
struct Boxed {
    machine: Machine,
    running: Slot,
    other: Option<Slot>,
}

impl Boxed {
    fn new(publisher: &Publisher, running: Slot, other: Option<Slot>) -> Boxed {
        let machine = Machine::new(publisher);
        machine.fill("running-boot", &running.boot);
        machine.fill("running-root", &running.root);
        if let Some(other) = &other {
            machine.fill("target-boot", &other.boot);
            machine.fill("target-root", &other.root);
        }
        Boxed { machine, running, other }
    }

    fn rot(&self, name: &str, block: usize) {
        self.machine.flip(name, block * BLOCK + 17);
    }

    /// Everything that both slots hold.
    fn all(&self) -> Vec<Vec<u8>> {
        let names = ["running-boot", "running-root", "target-boot", "target-root"];
        names.map(|name| fs::read(self.machine.partition(name)).unwrap()).to_vec()
    }

    fn slots(&self, writable: bool) -> Slots {
        let open = |slot: &str, part: Part| {
            let name = format!("{slot}-{}", part.as_str());
            let path: PathBuf = self.machine.partition(&name);
            let file = OpenOptions::new().read(true).write(writable).open(path).unwrap();
            (part, Device::new(file, name).unwrap())
        };
        let both = |slot: &str| vec![open(slot, Part::Boot), open(slot, Part::Root)];
        Slots { target: both("target"), running: both("running") }
    }

    fn run(&self, url: &str, other: Option<&str>, repair: bool) -> Result<Scrubbed, UpdateError> {
        let verity = self.running.verity.to_string();
        let scrub = Scrub { verity, other: other.map(|version| version.parse().unwrap()), repair };
        self.machine.ask(url, Verb::Scrub(scrub));
        let shared = self.machine.shared();
        let outcome = agent_update::run(&shared, &self.slots(repair), patience(), &mut |_| {}).unwrap();
        assert_eq!(self.machine.result(), outcome);
        match outcome {
            Outcome::Scrubbed(scrubbed) => Ok(scrubbed),
            Outcome::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// A run that only looks: it can write nothing, and does not.
    fn look(&self, other: Option<&str>) -> Scrubbed {
        let before = self.all();
        let found = self.run(NOWHERE, other, false).unwrap();
        assert!(self.all() == before);
        found
    }

    fn repair(&self, url: &str, other: Option<&str>) -> Scrubbed {
        self.run(url, other, true).unwrap()
    }

    /// Both slots are what they were.
    fn whole(&self) -> bool {
        let holds = |slot: &str, of: &Slot| {
            self.machine.holds(&format!("{slot}-boot"), of.boot.len()) == of.boot
                && self.machine.holds(&format!("{slot}-root"), of.root.len()) == of.root
        };
        holds("running", &self.running) && self.other.as_ref().is_none_or(|other| holds("target", other))
    }
}

/// Damaged, repaired, and whether something is said of it.
fn counts(condition: &Condition) -> (u64, u64, bool) {
    (condition.damaged, condition.repaired, condition.reason.is_some())
}

fn published(slot: &Slot) -> Publisher {
    Publisher::of(INSTALLED, &slot.boot, &slot.root)
}

#[test]
fn a_slot_that_is_whole_stays_as_it_is() {
    let publisher = Publisher::new();
    for blocks in [1, 2, 128, 129, DATA] {
        let slot = Slot::new(&image(1..blocks + 1), 3, &noise(1));
        let checked = (slot.root.len() / BLOCK) as u64;
        let boxed = Boxed::new(&publisher, slot, Some(next()));
        let found = boxed.look(Some("0.2.0"));
        assert_eq!(found.running, Condition { checked, ..Condition::default() });
        assert_eq!(found.other.unwrap().damaged, 0);
        let before = boxed.all();
        assert_eq!(boxed.repair(NOWHERE, Some("0.2.0")).running.damaged, 0);
        assert!(boxed.all() == before);
    }
}

#[test]
fn every_kind_of_damage_is_found_and_repaired_from_the_same_version() {
    let publisher = Publisher::new();
    let slot = installed();
    let (above, top) = (slot.levels[0], slot.levels[1]);
    let cases: &[(&str, &[usize])] = &[
        ("the first block", &[0]),
        ("one of the data", &[777]),
        ("the last one, of zeroes", &[DATA as usize - 1]),
        ("one of the level above", &[above + 3]),
        ("the top", &[top]),
        ("the whole tree", &(top..slot.root.len() / BLOCK).collect::<Vec<_>>()),
        ("data and what is above it", &[300, 301, above + 2]),
        ("data, above, top", &[300, above + 2, top]),
        ("several", &[1, 5, 900, above, above + 11]),
    ];
    for (case, damaged) in cases {
        let boxed = Boxed::new(&publisher, slot.clone(), Some(slot.clone()));
        damaged.iter().for_each(|block| boxed.rot("running-root", *block));
        let found = boxed.look(None);
        assert!(found.running.damaged > 0 && !found.running.whole(), "{case}: {found:?}");
        assert!(found.running.reason.is_some() && found.other.is_none(), "{case}: {found:?}");
        let count = damaged.len() as u64;
        let repaired = boxed.repair(NOWHERE, None).running;
        assert_eq!(counts(&repaired), (count, count, false), "{case}: {repaired:?}");
        assert!(boxed.whole(), "{case}");
        assert_eq!(counts(&boxed.look(None).running), (0, 0, false), "{case}");
    }
}

#[test]
fn a_tree_needs_nothing_but_its_data() {
    let publisher = Publisher::new();
    let slot = installed();
    for level in &slot.levels {
        let boxed = Boxed::new(&publisher, slot.clone(), None);
        boxed.rot("running-root", *level);
        assert_eq!(counts(&boxed.repair(NOWHERE, None).running), (1, 1, false));
        assert!(boxed.whole());
    }
}

#[test]
fn another_version_with_another_salt_has_some_of_the_blocks() {
    let publisher = Publisher::new();
    let boxed = Boxed::new(&publisher, installed(), Some(next()));
    boxed.rot("running-root", 10);
    boxed.rot("running-root", 700);
    assert_eq!(counts(&boxed.repair(NOWHERE, Some("0.2.0")).running), (2, 2, false));
    assert!(boxed.whole());
    // This one it has not.
    boxed.rot("running-root", 1200);
    boxed.rot("running-root", 20);
    let before = boxed.all();
    let found = boxed.repair(NOWHERE, Some("0.2.0")).running;
    assert_eq!((found.damaged, found.repaired), (2, 1));
    let expect = "1 of 1513 blocks of the root are damaged; the other slot does not have them, and no update \
                  source can be asked";
    assert_eq!(found.reason.as_deref(), Some(expect));
    boxed.rot("running-root", 1200);
    assert!(boxed.whole() && boxed.all() != before);
}

#[test]
fn each_slot_heals_the_other() {
    let publisher = Publisher::new();
    let slot = installed();
    let boxed = Boxed::new(&publisher, slot.clone(), Some(slot));
    boxed.rot("running-root", 10);
    boxed.rot("target-root", 11);
    boxed.rot("target-root", boxed.running.levels[1]);
    boxed.rot("target-boot", 40);
    let found = boxed.look(Some(INSTALLED));
    assert_eq!((found.running.damaged, found.running.whole()), (1, false));
    assert!(!found.other.unwrap().whole());
    let found = boxed.repair(NOWHERE, Some(INSTALLED));
    assert_eq!(counts(&found.running), (1, 1, false));
    assert_eq!(counts(found.other.as_ref().unwrap()), (3, 3, false), "{found:?}");
    assert!(boxed.whole());
}

#[test]
fn what_neither_slot_has_comes_from_the_release() {
    let slot = installed();
    let publisher = published(&slot);
    let server = Server::honest(publisher.path());
    for other in [None, Some(slot.clone())] {
        let boxed = Boxed::new(&publisher, slot.clone(), other.clone());
        let damaged = [12, 13, DATA as usize - 1, 640, slot.levels[0] + 5];
        for name in ["running-root", "target-root"] {
            damaged.iter().for_each(|block| boxed.rot(name, *block));
        }
        let known = other.is_some().then_some(INSTALLED);
        let found = boxed.repair(&server.url, known);
        assert_eq!(counts(&found.running), (5, 5, false), "{found:?}");
        assert!(found.other.is_none_or(|other| counts(&other) == (5, 5, false)));
        assert!(boxed.whole());
    }
    // No more is fetched than what is missing.
    let boxed = Boxed::new(&publisher, slot, None);
    boxed.rot("running-root", 12);
    let server = Server::honest(publisher.path());
    boxed.repair(&server.url, None);
    assert_eq!(server.requests(".blocks").len(), 1);
    boxed.look(None);
    assert!(boxed.whole());
}

#[test]
fn a_boot_partition_is_repaired_from_its_twin_or_the_release() {
    let slot = installed();
    let publisher = published(&slot);
    let server = Server::honest(publisher.path());
    for (other, url, block) in [
        (Some(slot.clone()), NOWHERE, 30),
        (Some(slot.clone()), NOWHERE, 0),
        (None, server.url.as_str(), 30),
        (None, server.url.as_str(), 0),
        (Some(next()), server.url.as_str(), 70),
    ] {
        let boxed = Boxed::new(&publisher, slot.clone(), other);
        boxed.machine.flip("running-boot", block * BLOCK + 13);
        boxed.rot("running-root", 5);
        let found = boxed.look(None).running;
        assert_eq!(found.damaged, 2, "{found:?}");
        let found = boxed.repair(url, None).running;
        assert_eq!(counts(&found), (2, 2, false), "{found:?}");
        assert!(boxed.whole());
    }
    // Another version's is of no use.
    let boxed = Boxed::new(&publisher, slot, Some(next()));
    boxed.rot("running-boot", 70);
    let before = boxed.all();
    let found = boxed.repair(NOWHERE, None).running;
    assert_eq!(counts(&found), (1, 0, true));
    let reason = found.reason.unwrap();
    assert!(reason.ends_with("not what `sums` says; no update source can be asked"), "{reason}");
    assert!(boxed.all() == before);
}

#[test]
fn a_file_system_that_is_damaged_anywhere_is_survived() {
    let slot = installed();
    let publisher = Publisher::new();
    let boxed = Boxed::new(&publisher, slot.clone(), Some(slot));
    // Boot sector, tables and root folder, a byte at a time.
    for at in (0..64).step_by(3).chain((512..8 * BLOCK).step_by(997)) {
        boxed.machine.flip("running-boot", at);
        boxed.look(None);
        let repaired = boxed.repair(NOWHERE, None).running;
        assert!(repaired.whole(), "{at}: {repaired:?}");
        if repaired.damaged == 0 {
            // It is nothing that a boot loader reads.
            boxed.machine.flip("running-boot", at);
        }
        assert!(boxed.whole(), "{at}");
    }
}

#[test]
fn the_release_of_another_build_repairs_nothing() {
    let slot = installed();
    let other_build = Slot::new(&image((1..DATA - 1).chain([4001, 0])), 7, &image(3001..3060));
    let publisher = published(&other_build);
    let server = Server::honest(publisher.path());
    let boxed = Boxed::new(&publisher, slot, None);
    boxed.rot("running-root", DATA as usize - 2);
    boxed.rot("running-boot", 30);
    let before = boxed.all();
    let found = boxed.repair(&server.url, None).running;
    assert_eq!(counts(&found), (2, 0, true));
    let reason = found.reason.unwrap();
    assert!(reason.contains("release 0.1.0 is of another build than what is here"), "{reason}");
    assert!(reason.contains("the root is not that of release 0.1.0"), "{reason}");
    assert!(boxed.all() == before);
}

#[test]
fn a_repair_that_is_impossible_says_why() {
    let slot = installed();
    let publisher = published(&slot);
    let honest = Server::honest(publisher.path());
    let boxed = Boxed::new(&publisher, slot.clone(), None);
    boxed.rot("running-root", 300);
    boxed.rot("running-root", slot.levels[0] + 2);
    let before = boxed.all();
    let found = boxed.repair(NOWHERE, None).running;
    assert_eq!(counts(&found), (1, 0, true));
    let expect = "1 of 1385 blocks of the root are damaged, and 128 cannot be judged; the other slot does \
                  not have them, and no update source can be asked";
    assert_eq!(found.reason.as_deref(), Some(expect));
    let gone = Publisher::of("0.3.0", &slot.boot, &slot.root);
    let left_behind = Boxed::new(&gone, slot, None);
    left_behind.rot("running-root", 300);
    let server = Server::honest(gone.path());
    let reason = left_behind.repair(&server.url, None).running.reason.unwrap();
    assert!(reason.ends_with("the repository has no `holdfast-0.1.0.json`"), "{reason}");
    assert!(boxed.all() == before);
    assert_eq!(counts(&boxed.repair(&honest.url, None).running), (2, 2, false));
    assert!(boxed.whole());
}

#[test]
fn a_repair_that_was_cut_goes_on() {
    let slot = installed();
    let publisher = published(&slot);
    let boxed = Boxed::new(&publisher, slot, None);
    // Far apart, so that each comes in a request of its own.
    let damaged: Vec<usize> = (0..10).map(|n| n * 140 + 2).collect();
    damaged.iter().for_each(|block| boxed.rot("running-root", *block));
    let server = Server::start(publisher.path(), |request| {
        let cut = request.path.ends_with(".blocks") && request.before >= 4;
        if cut { Answer::Status(503) } else { Answer::Honest }
    });
    let found = boxed.repair(&server.url, None).running;
    assert_eq!((found.damaged, found.repaired, found.reason.is_some()), (10, 4, true), "{found:?}");
    let found = boxed.look(None).running;
    assert_eq!(found.damaged, 6);
    let server = Server::honest(publisher.path());
    assert_eq!(counts(&boxed.repair(&server.url, None).running), (6, 6, false));
    assert!(boxed.whole());
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let publisher = Publisher::new();
    let slot = installed();
    let mut boxed = Boxed::new(&publisher, slot, None);
    let verity = boxed.running.verity.clone();
    boxed.running.verity.root_hash = "x".to_owned();
    let error = boxed.run(NOWHERE, None, false).unwrap_err();
    assert_eq!(error.kind, UpdateErrorKind::Local);
    boxed.running.verity = verity;
    boxed.running.verity.data_blocks = 5000;
    let error = boxed.run(NOWHERE, None, false).unwrap_err();
    assert_eq!(error.message, "running-root has 2048 blocks, and its root needs 5041");
    boxed.running.verity.data_blocks = u64::MAX;
    assert_eq!(boxed.run(NOWHERE, None, false).unwrap_err().kind, UpdateErrorKind::Local);
    // Nothing in the other slot: it cannot be judged, and that is said.
    boxed.running.verity.data_blocks = DATA;
    let other = boxed.run(NOWHERE, Some("0.2.0"), false).unwrap().other.unwrap();
    assert_eq!((other.damaged, other.checked), (1, 0));
    assert!(other.reason.unwrap().starts_with("the boot partition cannot be read: "));
    let file = OpenOptions::new().write(true).open(boxed.machine.partition("running-root")).unwrap();
    file.write_all_at(&noise(3), 0).unwrap();
    assert_eq!(boxed.look(None).running.damaged, 1);
}
