//! Slots that rot: what is remembered of them, when they are read, and which of them is the good one.
//!
//! A slot with damage that could not be repaired is **marked**. While the slot that runs is marked, the boot loader
//! is to prefer the other one, if that holds a version that has proved itself and was found whole.

use std::collections::BTreeMap;

use image_layout::{Slot, Version};
use jiff::tz::TimeZone;
use recipes::shape::Window;
use serde::{Deserialize, Serialize};

use super::record::UpdateRecord;
use super::schedule::next_window;
use crate::state::Format;

/// `scrub.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrubRecord {
    /// The box was not stopped cleanly, and the slots have not been read since.
    pub due: bool,
    /// When the slots were last read, and what came of it.
    pub last: Option<LastScrub>,
    /// Slots that are marked.
    pub damaged: BTreeMap<Slot, Damage>,
}

impl Format for ScrubRecord {
    const SINCE: &'static [u32] = &[1];
    const SUBJECT: &'static str = "record of damage";
}

/// A look at the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastScrub {
    /// When, seconds since 1970.
    pub at: u64,
    /// Blocks that were damaged.
    pub damaged: u64,
    /// Those of them that were repaired.
    pub repaired: u64,
}

/// Damage that is known and could not be repaired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The version in the slot.
    pub version: Version,
    /// Since when it is known, seconds since 1970.
    pub since: u64,
    /// Blocks.
    pub blocks: u64,
    /// What is damaged, and why it is not repaired.
    pub reason: String,
    /// The other slot is marked good in place of this one.
    #[serde(default)]
    pub moved: bool,
}

/// A slot as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The slot.
    pub slot: Slot,
    /// The version in it.
    pub version: Version,
    /// Blocks that were damaged.
    pub damaged: u64,
    /// Those of them that are right now.
    pub repaired: u64,
    /// What is damaged still, and why.
    pub reason: String,
}

/// The slot that the boot loader has to be told of as good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Good {
    /// The slot that does not run.
    Other,
    /// The slot that runs, again.
    Running,
}

/// What lies in the slot that does not run, and whether it has proved itself; none when nothing is known of it,
/// or when it did not prove itself: that is not worth a word.
pub fn in_other(updates: &UpdateRecord, scrubs: &ScrubRecord, other: Slot) -> Option<(Version, bool)> {
    let staged = updates.staged.as_ref().filter(|staged| staged.slot == other);
    if staged.is_some_and(|staged| updates.failed.contains_key(&staged.version)) {
        return None;
    }
    let previous = updates.previous.as_ref().filter(|previous| previous.slot == other);
    let marked = scrubs.damaged.get(&other);
    staged
        .map(|staged| (staged.version.clone(), false))
        .or_else(|| previous.map(|previous| (previous.version.clone(), true)))
        .or_else(|| marked.map(|damage| (damage.version.clone(), false)))
}

/// Seconds until the slots are to be read; `delay` is how long after its opening a window is used.
pub fn scrub_due(
    record: &ScrubRecord,
    window: &Window,
    zone: &TimeZone,
    now: u64,
    delay: impl Fn(u64) -> u64,
) -> Option<u64> {
    if record.due {
        return Some(0);
    }
    let mut opening = next_window(window, zone, now)?;
    if record.last.is_some_and(|last| last.at >= opening.opens && last.at <= now) {
        opening = next_window(window, zone, opening.closes)?;
    }
    Some((opening.opens + delay(opening.opens)).saturating_sub(now))
}

impl ScrubRecord {
    /// Takes in how the slots were found; gives what is to be told, as kind and message.
    pub fn note(&mut self, seen: &[Seen], now: u64) -> Vec<(&'static str, String)> {
        let mut events = Vec::new();
        for Seen { slot, version, damaged, repaired, reason } in seen {
            let left = damaged - repaired;
            let name = format!("slot {slot} ({version})");
            if left > 0 {
                let before = self.damaged.get(slot);
                if before.is_none_or(|before| before.blocks != left || before.reason != *reason) {
                    let done =
                        if *repaired > 0 { format!("; {repaired} were repaired") } else { String::new() };
                    events.push(("slot-damaged", format!("{name}: {reason}{done}")));
                }
                let damage = Damage {
                    version: version.clone(),
                    since: before.map_or(now, |before| before.since),
                    blocks: left,
                    reason: reason.clone(),
                    moved: before.is_some_and(|before| before.moved),
                };
                self.damaged.insert(*slot, damage);
            } else if *repaired > 0 {
                events.push(("slot-repaired", format!("{name}: {repaired} damaged blocks were repaired")));
            } else if self.damaged.contains_key(slot) {
                events.push(("slot-repaired", format!("{name} is whole again")));
            }
        }
        events
    }

    /// What is to be told to the boot loader, once nothing more is tried; slots that are whole lose their marks, and
    /// so does the other one where it was not looked at: what did not prove itself is not worth a word.
    /// `proved` says whether what lies in the other slot has proved itself.
    pub fn conclude(&mut self, running: Slot, seen: &[Seen], proved: bool) -> Option<Good> {
        let mut back = false;
        if seen.iter().all(|seen| seen.slot == running) {
            self.damaged.remove(&running.other());
        }
        for seen in seen.iter().filter(|seen| seen.damaged == seen.repaired) {
            let damage = self.damaged.remove(&seen.slot);
            back |= seen.slot == running && damage.is_some_and(|damage| damage.moved);
        }
        let other = seen.iter().find(|seen| seen.slot == running.other());
        let usable = proved && other.is_some_and(|other| other.damaged == other.repaired);
        match self.damaged.get_mut(&running) {
            None => back.then_some(Good::Running),
            Some(damage) if usable && !damage.moved => {
                damage.moved = true;
                Some(Good::Other)
            }
            Some(_) => None,
        }
    }

    /// What is wrong, a line for each slot.
    pub fn problems(&self) -> Vec<String> {
        let line = |(slot, damage): (&Slot, &Damage)| {
            format!("slot {slot} ({}) is damaged: {}", damage.version, damage.reason)
        };
        self.damaged.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::{FailedVersion, Previous, StagedRelease};

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn seen(slot: Slot, damaged: u64, repaired: u64) -> Seen {
        let reason = if damaged > repaired { "no block" } else { "" };
        Seen { slot, version: version("1"), damaged, repaired, reason: reason.to_owned() }
    }

    fn told(events: &[(&'static str, String)]) -> Vec<String> {
        events.iter().map(|(kind, message)| format!("{kind}: {message}")).collect()
    }

    #[test]
    fn damage_is_told_once_and_the_mark_goes_with_it() {
        let mut record = ScrubRecord::default();
        assert!(record.note(&[seen(Slot::A, 0, 0)], 5).is_empty());
        let damaged = record.note(&[seen(Slot::A, 3, 0)], 10);
        assert_eq!(told(&damaged), ["slot-damaged: slot a (1): no block"]);
        assert!(record.note(&[seen(Slot::A, 3, 0)], 20).is_empty());
        assert_eq!((record.damaged[&Slot::A].since, record.damaged[&Slot::A].blocks), (10, 3));
        let some = record.note(&[seen(Slot::A, 3, 1)], 20);
        assert_eq!(told(&some), ["slot-damaged: slot a (1): no block; 1 were repaired"]);
        assert_eq!(record.problems(), ["slot a (1) is damaged: no block"]);
        let repaired = [seen(Slot::A, 2, 2)];
        assert_eq!(
            told(&record.note(&repaired, 30)),
            ["slot-repaired: slot a (1): 2 damaged blocks were repaired"]
        );
        assert_eq!(record.conclude(Slot::A, &repaired, true), None);
        assert!(record.damaged.is_empty());
        record.note(&[seen(Slot::B, 1, 0)], 40);
        assert_eq!(
            told(&record.note(&[seen(Slot::B, 0, 0)], 50)),
            ["slot-repaired: slot b (1) is whole again"]
        );
    }

    #[test]
    fn only_a_slot_that_has_proved_itself_and_is_whole_takes_the_place() {
        let check = |other: Option<Seen>, proved, expect| {
            let mut record = ScrubRecord::default();
            let all: Vec<Seen> = [seen(Slot::A, 1, 0)].into_iter().chain(other).collect();
            record.note(&all, 1);
            assert_eq!(record.conclude(Slot::A, &all, proved), expect, "{all:?} {proved}");
            record
        };
        check(None, false, None);
        check(None, true, None);
        check(Some(seen(Slot::B, 0, 0)), false, None);
        check(Some(seen(Slot::B, 1, 0)), true, None);
        check(Some(seen(Slot::B, 1, 1)), true, Some(Good::Other));
        let mut record = check(Some(seen(Slot::B, 0, 0)), true, Some(Good::Other));
        // Once, and back when it is repaired.
        let again = [seen(Slot::A, 1, 0), seen(Slot::B, 0, 0)];
        record.note(&again, 2);
        assert_eq!(record.conclude(Slot::A, &again, true), None);
        let mut of_other = record.clone();
        let repaired = [seen(Slot::A, 1, 1), seen(Slot::B, 0, 0)];
        assert_eq!(record.conclude(Slot::A, &repaired, true), Some(Good::Running));
        // What lies there has failed meanwhile.
        let mut failed = record.clone();
        failed.note(&[seen(Slot::B, 1, 0)], 3);
        failed.conclude(Slot::A, &[seen(Slot::A, 0, 0)], false);
        assert!(failed.damaged.is_empty());
        // The box went over to the other slot meanwhile: there it stays.
        assert_eq!(of_other.conclude(Slot::B, &repaired, false), None);
        assert!(of_other.damaged.is_empty());
    }

    #[test]
    fn what_is_known_of_the_other_slot() {
        let (mut updates, mut scrubs) = (UpdateRecord::default(), ScrubRecord::default());
        let check = |updates: &UpdateRecord, scrubs: &ScrubRecord, expect: Option<(&str, bool)>| {
            let known = in_other(updates, scrubs, Slot::B);
            assert_eq!(known, expect.map(|(text, proved)| (version(text), proved)));
        };
        check(&updates, &scrubs, None);
        scrubs.note(&[seen(Slot::A, 1, 0)], 1);
        check(&updates, &scrubs, None);
        scrubs.note(&[seen(Slot::B, 1, 0)], 1);
        check(&updates, &scrubs, Some(("1", false)));
        updates.previous = Some(Previous { version: version("2"), slot: Slot::A, level: 1 });
        check(&updates, &scrubs, Some(("1", false)));
        updates.previous = Some(Previous { version: version("2"), slot: Slot::B, level: 1 });
        check(&updates, &scrubs, Some(("2", true)));
        let staged = StagedRelease {
            version: version("3"),
            slot: Slot::B,
            parts: vec![],
            at: 0,
            needed: 0,
            fetched: 0,
        };
        updates.staged = Some(staged);
        check(&updates, &scrubs, Some(("3", false)));
        let failed = FailedVersion { attempts: 1, reason: String::new(), window: 0, held: false };
        updates.failed.insert(version("3"), failed);
        check(&updates, &scrubs, None);
    }

    #[test]
    fn slots_are_read_in_each_window_and_after_an_unclean_stop() {
        const DAY: u64 = 86_400;
        let window = Window::parse("03:00-05:00").unwrap();
        let at = |hours: u64| 20_000 * DAY + hours * 3600;
        let check = |last: Option<u64>, due: bool, now: u64, expect: u64| {
            let last = last.map(|at| LastScrub { at, damaged: 0, repaired: 0 });
            let record = ScrubRecord { due, last, ..ScrubRecord::default() };
            let wait = scrub_due(&record, &window, &TimeZone::UTC, now, |_| 60);
            assert_eq!(wait, Some(expect), "{record:?} at {now}");
        };
        check(None, false, at(2), 3660);
        check(None, false, at(3), 60);
        check(None, false, at(4), 0);
        check(Some(at(4)), false, at(4), 23 * 3600 + 60);
        check(Some(at(2)), false, at(4), 0);
        check(Some(at(12)), false, at(13), 14 * 3600 + 60);
        check(Some(at(12)), true, at(13), 0);
        // A clock that was set back.
        check(Some(at(24 * 9)), false, at(4), 0);
    }
}
