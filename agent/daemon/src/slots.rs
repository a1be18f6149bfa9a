//! The slot that runs, told to the boot loader as good.

use std::collections::BTreeMap;

use agent_api::types::Slots;
use agent_core::update::BootTrace;
use agent_system::slots::{self, SlotStore};
use anyhow::Context;
use image_layout::slots::{TRIES_GOOD, TRIES_NEW};
use image_layout::{Slot, SlotState, kernel};

use crate::agent::Agent;

/// The state of the slots, where it can be read.
pub(crate) fn status(agent: &Agent) -> Option<Slots> {
    let state = newest(&SlotStore::booted().ok()?)?;
    Some(Slots {
        running: agent.boot.report.as_ref().map(|report| report.slot.clone()).unwrap_or_default(),
        next: state.slot.to_string(),
        good: state.good.to_string(),
        tries: BTreeMap::from([Slot::A, Slot::B].map(|slot| (slot.to_string(), state.tries(slot)))),
    })
}

fn newest(store: &SlotStore) -> Option<SlotState> {
    store.read().ok()?.into_iter().find_map(Result::ok)
}

/// At the first answer on the socket: another random text, and a good slot that can be `trusted` gets its tries
/// back.
pub(crate) fn answered(running: Option<Slot>, trusted: bool) -> anyhow::Result<()> {
    change(|state| state_when_answering(state, running.filter(|_| trusted)))
}

/// Nothing speaks against the slot that runs any more: a good one gets its tries back.
pub(crate) fn trusted(running: Option<Slot>) -> anyhow::Result<()> {
    change(|state| with_tries(state, running))
}

/// Once the box is healthy: the slot that runs is the good one.
pub(crate) fn healthy(running: Option<Slot>) -> anyhow::Result<()> {
    let Some(running) = running else { return Ok(()) };
    change(|state| state_when_healthy(state, running))
}

/// What the boot loader saw and did before this boot, as far as it can be told.
pub(crate) fn trace() -> BootTrace {
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let argument = |name| kernel::argument(&cmdline, name).unwrap_or_default();
    let passed = argument(kernel::PASSED);
    // Without a state nothing was known to be good, and the initrd made one up.
    let state = (!argument(kernel::ENV).is_empty())
        .then(|| SlotStore::booted().ok().and_then(|store| newest(&store)))
        .flatten();
    BootTrace {
        first: state.as_ref().map(|state| state.slot),
        good: state.map(|state| state.good),
        boot: argument(kernel::BOOT).to_owned(),
        passed_over: [Slot::A, Slot::B].into_iter().filter(|slot| passed.contains(slot.as_str())).collect(),
    }
}

/// The random text of the slot state.
pub(crate) fn boot_text() -> anyhow::Result<String> {
    let store = SlotStore::booted().context("failed to find the slot state")?;
    Ok(newest(&store).context("the slot state cannot be read")?.boot)
}

/// Another version is written to this slot: it is the last that is tried.
pub(crate) fn withdraw(slot: Slot) -> anyhow::Result<()> {
    change(|mut state| {
        state.set_tries(slot, 0);
        state
    })
}

/// The next boot tries `to` once, and what runs after that.
pub(crate) fn switch(running: Slot, to: Slot) -> anyhow::Result<()> {
    change(|state| state_when_switched(state, running, to))
}

/// The box went back to the slot that runs.
pub(crate) fn went_back(running: Slot) -> anyhow::Result<()> {
    change(|mut state| {
        state.slot = running;
        state.set_tries(running.other(), 0);
        state
    })
}

/// The slot that runs is damaged, and the other one is not: that is tried first from now on.
pub(crate) fn damaged(running: Slot) -> anyhow::Result<()> {
    change(|state| state_when_damaged(state, running))
}

fn state_when_damaged(state: SlotState, running: Slot) -> SlotState {
    let mut state = state_when_healthy(state, running.other());
    // It may still do better than nothing.
    state.set_tries(running, TRIES_NEW);
    state
}

fn state_when_switched(mut state: SlotState, running: Slot, to: Slot) -> SlotState {
    state.slot = to;
    state.good = running;
    state.set_tries(running, TRIES_GOOD);
    state.set_tries(to, TRIES_NEW);
    state
}

/// Writes both copies with a change, or from nothing where neither could be read.
fn change(change: impl FnOnce(SlotState) -> SlotState) -> anyhow::Result<()> {
    let store = SlotStore::booted().context("failed to find the slot state")?;
    let copies = store.read().context("failed to read the slot state")?;
    let before = copies.iter().find_map(|copy| copy.as_ref().ok()).cloned();
    let known = before.clone().unwrap_or(SlotState {
        slot: Slot::A,
        good: Slot::A,
        tries_a: TRIES_NEW,
        tries_b: TRIES_NEW,
        boot: slots::new_boot_id()?,
    });
    let after = change(known);
    let whole = copies.iter().all(|copy| copy.as_ref().is_ok_and(|state| *state == after));
    if !whole {
        let passed_over = store.write(&after).context("failed to write the slot state")?;
        for (copy, why) in passed_over {
            tracing::warn!("{} {why}", slots::COPIES[copy]);
        }
    }
    Ok(())
}

fn state_when_answering(mut state: SlotState, running: Option<Slot>) -> SlotState {
    if let Ok(boot) = slots::new_boot_id() {
        state.boot = boot;
    }
    with_tries(state, running)
}

fn with_tries(mut state: SlotState, running: Option<Slot>) -> SlotState {
    if let Some(running) = running.filter(|running| *running == state.good) {
        state.set_tries(running, TRIES_GOOD);
    }
    state
}

fn state_when_healthy(mut state: SlotState, running: Slot) -> SlotState {
    state.slot = running;
    state.good = running;
    state.set_tries(running, TRIES_GOOD);
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> SlotState {
        SlotState { slot: Slot::B, good: Slot::A, tries_a: 1, tries_b: 0, boot: "old".into() }
    }

    #[test]
    fn a_good_slot_gets_its_tries_back_at_once() {
        let after = state_when_answering(state(), Some(Slot::A));
        assert_eq!((after.tries_a, after.tries_b, after.good), (3, 0, Slot::A));
        assert_ne!(after.boot, "old");
        let after = state_when_answering(state(), None);
        assert_eq!(after.tries_a, 1, "its blocks have to be read first");
        assert_eq!(with_tries(after, Some(Slot::A)).tries_a, 3);
    }

    #[test]
    fn a_new_slot_has_to_be_healthy_first() {
        let after = state_when_answering(state(), Some(Slot::B));
        assert_eq!((after.tries_b, after.good), (0, Slot::A));
        let after = state_when_healthy(after, Slot::B);
        assert_eq!((after.tries_b, after.good, after.slot), (3, Slot::B, Slot::B));
    }

    #[test]
    fn a_damaged_slot_is_the_last_that_is_tried() {
        let after = state_when_damaged(state(), Slot::A);
        assert_eq!((after.slot, after.good, after.tries_a, after.tries_b), (Slot::B, Slot::B, 1, 3));
    }
}
