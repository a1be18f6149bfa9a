//! Clock, memory, and the box's own units.

use std::collections::BTreeMap;

use super::{Facts, Finding, Kill, Machine, Severity, Unit, size};
use crate::container::ContainerName;
use crate::healing::Millis;

/// A time server has had time enough to answer.
const SYNCHRONIZED: Millis = 300_000;
/// A clock that is further ahead of its image than this is wrong. Seconds.
const AHEAD: u64 = 20 * 366 * 86_400;
/// Hundredths of a minute spent waiting for memory that are too many.
const STALLED: u32 = 10;
/// A part of memory: with less than one of so many left there is too little.
const PART: u64 = 20;
/// A unit that was started again more often than this does not stay up.
const RESTARTS: u32 = 2;

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = clock(facts).into_iter().collect();
    found.extend(memory(&facts.seen.machine));
    found.extend(kills(facts));
    found.extend(facts.seen.machine.units.iter().filter_map(unit));
    found
}

fn clock(facts: &Facts<'_>) -> Option<Finding> {
    let (clock, now) = (facts.seen.clock, facts.now);
    let lines = "[box]\nntp = [\"time.cloudflare.com\"]";
    let why = "names a time server that the box can reach, by UDP port 123";
    let finding = |code, message: &str| {
        Some(Finding::new(code, Severity::Degraded, "clock", message).write(lines, why))
    };
    if now.epoch < clock.built || (clock.built > 0 && now.epoch - clock.built > AHEAD) {
        return finding(
            "clock-absurd",
            "the clock is wrong by years: certificates and releases are judged by it",
        );
    }
    if !clock.synchronized && now.uptime >= SYNCHRONIZED {
        return finding("clock-not-set", "no time server has set the clock");
    }
    None
}

fn memory(machine: &Machine) -> Option<Finding> {
    let low = machine.memory > 0 && machine.available < machine.memory / PART;
    if !low && machine.stalled < STALLED {
        return None;
    }
    let left = format!("{} of {} of memory are left", size(machine.available), size(machine.memory));
    let message = match machine.stalled {
        0 => left,
        stalled => format!("{left}, and work waited for memory in {stalled} % of the last minute"),
    };
    let largest = machine.containers.iter().max_by_key(|(_, bytes)| **bytes);
    let message = match largest {
        Some((name, bytes)) => format!("{message}. {name} takes the most: {}", size(*bytes)),
        None => message,
    };
    let mut finding = Finding::new("memory-low", Severity::Degraded, "memory", message);
    if let Some((_, container)) = largest.and_then(|(name, _)| name.split_once('.')) {
        let lines = format!("[recipe.containers.{container}]\nmemory = \"SIZE\"");
        finding = finding.write(lines, "keeps it from taking what others need");
    }
    Some(finding.act("or move to a box with more memory"))
}

/// What was killed, each once.
fn kills(facts: &Facts<'_>) -> Vec<Finding> {
    let mut counted: BTreeMap<&Kill, usize> = BTreeMap::new();
    facts.seen.machine.kills.iter().for_each(|kill| *counted.entry(kill).or_default() += 1);
    let found = counted.into_iter().map(|(kill, count)| {
        let name = kill.unit.trim_end_matches(".service");
        let container = name.strip_prefix("holdfast-").and_then(ContainerName::parse);
        let subject = container.as_ref().map_or_else(|| name.to_owned(), ToString::to_string);
        let times = if count == 1 { String::new() } else { format!(" {count} times") };
        let limited = container.as_ref().is_none_or(|container| limited(facts, container));
        let (severity, whose, why) = match (kill.of_box, limited) {
            (true, _) => {
                let why = "limits it, so that it is not the box that runs out";
                (Severity::Degraded, "the box had no memory left", why)
            }
            (false, true) => (Severity::Notice, "it had used up its limit", "gives it more"),
            (false, false) => {
                let why = "limits it, so that the others have theirs";
                (Severity::Notice, "containers had no memory left, and it has no limit", why)
            }
        };
        let message = format!("{} of {subject} was killed{times} within a day: {whose}", kill.process);
        let finding = Finding::new("memory-kill", severity, subject, message);
        match container {
            Some(name) => {
                finding.write(format!("[recipe.containers.{}]\nmemory = \"SIZE\"", name.container), why)
            }
            None => finding.run("holdfast ps", "shows what takes how much memory"),
        }
    });
    found.collect()
}

/// Whether a container has a limit of its own; of one that is not wanted any more that is taken for granted.
fn limited(facts: &Facts<'_>, name: &ContainerName) -> bool {
    let wanted = facts.desired.instances.get(&name.instance);
    let config = wanted.and_then(|wanted| wanted.containers.get(&name.container)?.config.ready());
    config.is_none_or(|config| config.memory.is_some())
}

fn unit(unit: &Unit) -> Option<Finding> {
    let name = &unit.name;
    let finding = if unit.failed {
        Finding::new("unit-failed", Severity::Degraded, name, format!("{name} has failed"))
    } else if unit.restarts > RESTARTS {
        let message = format!("{name} was started again {} times", unit.restarts);
        Finding::new("unit-restarting", Severity::Degraded, name, message)
    } else {
        return None;
    };
    Some(
        finding
            .run("holdfast report --output report.tar.gz", "has what it said, for a bug report")
            .run("holdfast reboot", "starts everything anew"),
    )
}
