//! Images: fetched, adopted, pinned; a pulled one confirmed or reverted.

use super::{Planner, containers};
use crate::action::Action;
use crate::container::ContainerName;
use crate::desired::InstanceDesired;
use crate::health::Verdict;
use crate::memory::Memory;
use crate::observed::{Observed, UnitState};
use recipes::model::Restart;

/// So many failures in a row of a container started from a new image send it back.
const FAILURES: u32 = 3;
/// A container without a probe that ran so long from a new image is taken for healthy.
const STEADY: u64 = 10_000;

/// What a container needs to know of its image.
pub(super) struct Image {
    /// What the reference is pinned to, when its layers are there.
    pub(super) digest: Option<String>,
    /// Actions that come before.
    pub(super) after: Vec<String>,
}

/// Plans what makes `reference` usable for the instance.
pub(super) fn plan(p: &mut Planner<'_>, instance: &str, reference: &str) -> Image {
    let record = p.observed.records.get(instance);
    let pin = record.and_then(|record| record.pins.get(reference));
    if let Some(pin) = pin {
        if p.observed.images.contains(&pin.digest) {
            return Image { digest: Some(pin.digest.clone()), after: Vec::new() };
        }
        let fetched = fetch(p, reference, Some(pin.digest.clone()), "its layers are not in the store");
        return Image { digest: None, after: vec![fetched] };
    }
    let known = p.observed.references.get(reference).filter(|d| p.observed.images.contains(*d)).cloned();
    match known {
        Some(digest) => {
            let action = Action::PinImage { instance: instance.into(), reference: reference.into(), digest };
            let after = vec![Action::Allocate(instance.into()).id()];
            Image { digest: None, after: vec![p.push(action, "not recorded yet", after)] }
        }
        None => Image { digest: None, after: vec![fetch(p, reference, None, "not in the store")] },
    }
}

fn fetch(p: &mut Planner<'_>, reference: &str, digest: Option<String>, reason: &str) -> String {
    let adopt = Action::AdoptImage { reference: reference.into() };
    if p.observed.fetched.contains(reference) {
        return p.push(adopt, "fetched", vec![]);
    }
    let embedded = match &digest {
        Some(digest) => p.observed.embedded.contains(&format!("{reference}@{digest}")),
        None => p.observed.embedded.contains(reference),
    };
    let fetch = Action::FetchImage { reference: reference.into(), digest, embedded };
    let fetched = p.push(fetch, reason, vec![]);
    p.push(adopt, reason, vec![fetched])
}

/// Plans the end of a pull: what it brought is kept once healthy, and given up once it failed.
pub(super) fn settle(p: &mut Planner<'_>, wanted: &InstanceDesired) {
    let Some(record) = p.observed.records.get(&wanted.name) else { return };
    for (reference, pin) in record.pins.iter().filter(|(_, pin)| pin.previous.is_some()) {
        let instance = wanted.name.clone();
        let reference = reference.clone();
        if pull_failed(p.memory, wanted, &reference) {
            p.push(Action::RevertImage { instance, reference }, "the new image is not healthy", vec![]);
        } else if proved(p.observed, p.memory, wanted, &reference, &pin.digest, p.now) {
            p.push(Action::ConfirmImage { instance, reference }, "the new image is healthy", vec![]);
        }
    }
}

/// Whether a container of this image is not healthy since the pull, which forgot earlier failures.
pub fn pull_failed(memory: &Memory, wanted: &InstanceDesired, reference: &str) -> bool {
    wanted.containers.iter().filter(|(_, c)| c.image == reference).any(|(name, container)| {
        let name = ContainerName::new(&wanted.name, name);
        let remembered = memory.containers.get(&name);
        remembered.is_some_and(|m| m.healing.failures >= FAILURES || m.unhealthy)
            || memory.verdict(&name, container) == Some(Verdict::Unhealthy)
    })
}

fn proved(
    observed: &Observed,
    memory: &Memory,
    wanted: &InstanceDesired,
    reference: &str,
    digest: &str,
    now: u64,
) -> bool {
    let Some(record) = observed.records.get(&wanted.name) else { return false };
    wanted.containers.iter().filter(|(_, c)| c.image == reference).all(|(name, container)| {
        let name = ContainerName::new(&wanted.name, name);
        let found = observed.container(&name);
        let current = containers::fingerprint(container, Some(digest), record);
        let fresh = current.is_some() && found.bundle == current;
        fresh
            && match found.unit {
                UnitState::Running { since, .. } => match memory.verdict(&name, container) {
                    Some(verdict) => verdict == Verdict::Healthy,
                    None => now.saturating_sub(since) >= STEADY,
                },
                UnitState::Starting | UnitState::Stopping => false,
                // One that is to end has done what it is there for.
                UnitState::Ended(_) | UnitState::Absent => {
                    let exit = memory.containers.get(&name).and_then(|m| m.last_exit);
                    let well = found.started && exit.is_some_and(|exit| exit.is_success());
                    well && container.restart != Restart::Always
                }
            }
    })
}
