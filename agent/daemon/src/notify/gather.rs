//! What of the box is worth a message, as it is now.

use agent_core::notify::{Kind, Sight, Sights, Topic};
use agent_core::standing::{self, Standing};
use agent_core::update::Ending;
use recipes::model::UpdatePolicy;

use crate::agent::{Agent, Live};
use crate::clock;
use crate::server::{self, Of};
use crate::update;

/// The publisher's metadata has to be valid for longer than this. Seconds.
const EXPIRING: i64 = 3 * 86_400;
/// Hundredths of the data file system in use that are too many.
const FULL: u64 = 85;
/// Fewer than these are enough room again.
const ROOM: u64 = 80;

/// All conditions that are not plainly gone.
pub(crate) fn sights(agent: &Agent, live: &Live) -> Sights {
    let mut sights = Sights::new();
    for problem in server::problems(agent, live) {
        let topic = match problem.of {
            Of::Instance(name) => Topic::about(Kind::Degraded, name),
            Of::Part(part) => Topic::about(Kind::BoxDegraded, part),
        };
        let more = sights.remove(&topic);
        let text = match more {
            Some(Sight::Stands(before)) => format!("{before}; {}", problem.text),
            _ => problem.text,
        };
        sights.insert(topic, Sight::Stands(text));
    }
    // What is being worked on has not shown yet that it works.
    for wanted in live.desired.instances.values() {
        if let Standing::Settling(_) = standing::instance(wanted, &live.observed, &live.memory, &live.plan) {
            sights.insert(Topic::about(Kind::Degraded, &wanted.name), Sight::Unclear);
        }
    }
    if let Some(update) = &live.document.settings.update {
        sights.extend(of_updates(agent, update.policy));
    }
    let disk = server::disk();
    sights.extend(filling(disk.used, disk.available).map(|sight| (Topic::of(Kind::DataFilling), sight)));
    sights
}

/// When the box went back last, and how that is told.
pub(super) fn went_back(agent: &Agent) -> Option<(u64, String)> {
    let last = agent.updates.record().last.filter(|last| last.ending == Ending::WentBack)?;
    let reason = last.reason.unwrap_or_default();
    Some((last.at, format!("the box went back from {} to {}: {reason}", last.version, last.from)))
}

fn of_updates(agent: &Agent, policy: UpdatePolicy) -> Sights {
    let record = agent.updates.record();
    let blocked = record.problem.map(|problem| Sight::Stands(problem.reason));
    let checked = record.checked.filter(|_| update::synchronized());
    let expiring = match checked {
        // Nobody looks by themselves, so what was seen last says nothing of what there is now.
        _ if policy == UpdatePolicy::Manual => None,
        Some(checked) => expiring(checked.expires, checked.at, clock::epoch()),
        // Whether it expires soon is told by a clock that was set.
        None => Some(Sight::Unclear),
    };
    let blocked = blocked.map(|sight| (Topic::of(Kind::UpdateBlocked), sight));
    let expiring = expiring.map(|sight| (Topic::of(Kind::MetadataExpiring), sight));
    blocked.into_iter().chain(expiring).collect()
}

/// How metadata looks that expires then and was seen at `seen`.
fn expiring(expires: i64, seen: u64, now: u64) -> Option<Sight> {
    (expires - (now as i64) < EXPIRING).then(|| {
        let (expires, seen) = (clock::rfc3339(expires.max(0) as u64), clock::rfc3339(seen));
        Sight::Stands(format!("the publisher's metadata expires at {expires}; it was last seen at {seen}"))
    })
}

/// How a file system looks with so many bytes in use and so many to be had.
fn filling(used: u64, available: u64) -> Option<Sight> {
    let all = used + available;
    let of = |hundredths: u64| u128::from(all) * u128::from(hundredths);
    let used = u128::from(used) * 100;
    if all == 0 || used < of(ROOM) {
        None
    } else if used < of(FULL) {
        Some(Sight::Unclear)
    } else {
        let percent = used / u128::from(all);
        Some(Sight::Stands(format!(
            "the data file system is {percent} % full; {} MiB are left",
            available >> 20
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_at_85_and_has_room_below_80() {
        let left = |percent: u64, left: u64| {
            Some(Sight::Stands(format!("the data file system is {percent} % full; {left} MiB are left")))
        };
        for (used, available, expect) in [
            (0, 0, None),
            (0, 100 << 20, None),
            ((80 << 20) - 1, (20 << 20) + 1, None),
            (80 << 20, 20 << 20, Some(Sight::Unclear)),
            ((85 << 20) - 1, (15 << 20) + 1, Some(Sight::Unclear)),
            (85 << 20, 15 << 20, left(85, 15)),
            (u64::MAX >> 1, 0, left(100, 0)),
        ] {
            assert_eq!(filling(used, available), expect, "{used} and {available}");
        }
    }

    #[test]
    fn metadata_expires_in_less_than_three_days() {
        let day = 86_400;
        assert_eq!(expiring(10 * day, 0, 7 * day as u64), None);
        let text = "the publisher's metadata expires at 1970-01-11T00:00:00Z; it was last seen at 1970-01-01T00:00:00Z";
        for now in [7 * day as u64 + 1, 20 * day as u64] {
            assert_eq!(expiring(10 * day, 0, now), Some(Sight::Stands(text.into())));
        }
    }
}
