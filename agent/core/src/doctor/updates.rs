//! Slots, updates, and messages to the box's owner.

use super::{Facts, Finding, Severity};
use crate::healing::Millis;
use crate::notify::{Kind, Sight, Topic};
use crate::update::Ending;

/// A source that has not answered for so long is silent. Seconds.
const SILENT: u64 = 3 * 86_400;
/// A slot is marked as good by then, if the box is healthy.
const PROVED: Millis = 900_000;

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = slots(facts);
    found.extend(damage(facts));
    found.extend(releases(facts));
    found.extend(messages(facts));
    found
}

fn slots(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let (true, Some(trial)) = (facts.seen.on_trial, &facts.updates.trial) {
        let lacking = trial.progress.lacking.join("; ");
        let lacks = if lacking.is_empty() { String::new() } else { format!(" It lacks: {lacking}") };
        let message = format!(
            "{} has not proved itself yet, else the box goes back to {}.{lacks}",
            trial.version, trial.from
        );
        found.push(
            Finding::new("update-on-trial", Severity::Notice, "updates", message)
                .run("holdfast update", "shows how far it is"),
        );
    } else if let Some(slots) = &facts.seen.slots
        && slots.running != slots.good
        && facts.now.uptime >= PROVED
    {
        let message = format!("slot {} runs and is not marked as good: {} is", slots.running, slots.good);
        found.push(
            Finding::new("slot-not-good", Severity::Notice, format!("slot {}", slots.running), message)
                .act("see to the other findings: it is marked when the box is healthy"),
        );
    }
    if let Some(last) = facts.updates.last.as_ref().filter(|last| last.ending == Ending::WentBack) {
        let reason = last.reason.as_deref().unwrap_or("why is not known");
        let message = format!("the box went back from {} to {}: {reason}", last.version, last.from);
        found.push(
            Finding::new("update-went-back", Severity::Degraded, "updates", message)
                .run("holdfast update", "says whether it is tried again by itself")
                .run("holdfast update apply", "tries it now, once the reason is gone"),
        );
    }
    found
}

fn damage(facts: &Facts<'_>) -> Vec<Finding> {
    let found = facts.scrubs.damaged.iter().map(|(slot, damage)| {
        let message = format!("slot {slot} ({}) is damaged: {}", damage.version, damage.reason);
        let finding = Finding::new("slot-damaged", Severity::Degraded, format!("slot {slot}"), message)
            .run("holdfast update scrub", "repairs it with what the other slot or the release has");
        match facts.seen.looks_for_updates {
            true => finding.act("if it is damaged again, the provider's disk is failing: move to another"),
            false => finding.write(
                "[box.update]\nurl = \"https://releases.example.org\"",
                "lets it be repaired from the release",
            ),
        }
    });
    found.collect()
}

fn releases(facts: &Facts<'_>) -> Vec<Finding> {
    let stands = |kind| match facts.sights.get(&Topic::of(kind)) {
        Some(Sight::Stands(text)) => Some(text.clone()),
        _ => None,
    };
    let finding = |code, message| Finding::new(code, Severity::Degraded, "updates", message);
    let mut found = Vec::new();
    let blocked = stands(Kind::UpdateBlocked);
    if let Some(reason) = blocked.clone() {
        found.push(
            finding("update-blocked", format!("the last update came to nothing: {reason}"))
                .run("holdfast update check", "looks again, and says what may help"),
        );
    }
    if let Some(text) = stands(Kind::MetadataExpiring) {
        found.push(
            finding("update-expiring", text)
                .act("the publisher runs `holdfast-image release refresh` and publishes again"),
        );
    }
    let seen = facts.updates.checked.as_ref().map(|checked| checked.at);
    let silent = seen.is_some_and(|at| facts.now.epoch.saturating_sub(at) > SILENT);
    if silent && facts.seen.looks_for_updates && facts.seen.clock.synchronized && blocked.is_none() {
        found.push(
            finding(
                "update-silent",
                "the update source has not answered for more than three days".to_owned(),
            )
            .run("holdfast update check", "asks it now, and says what may help"),
        );
    }
    found
}

fn messages(facts: &Facts<'_>) -> Option<Finding> {
    let record = facts.notices?;
    let last = record.last.as_ref().filter(|last| !last.delivered)?;
    let waiting = record.waiting.len();
    let dropped =
        if record.dropped > 0 { format!(", {} were dropped", record.dropped) } else { String::new() };
    let message =
        format!("messages to the box's owner are not delivered: {}; {waiting} wait{dropped}", last.answer);
    Some(
        Finding::new("notify-failing", Severity::Degraded, "messages", message)
            .run("holdfast notify test", "tries now, and says what may help")
            .write("[box.notify]\nurl = \"https://…\"", "names the address that the receiver takes them at"),
    )
}
