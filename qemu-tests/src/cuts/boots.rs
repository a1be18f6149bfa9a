//! Boots a disk after a cut, with nothing done by hand.

use std::time::Duration;

use anyhow::Result;

use super::acknowledged::Record;
use super::cut::Cut;
use super::recording::{self, Recording};
use crate::disk::Disk;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::stop::Stop;

/// How long a boot may take until all is well: emulated processors are slow.
const LIMIT: Duration = Duration::from_secs(420);

/// What is wrong with the box that boots from a disk after `cut`: it becomes healthy, serves, and knows what
/// it had acknowledged.
pub fn boot_problems(
    lab: &Lab,
    recording: &Recording,
    disk: &Disk,
    cut: &Cut,
    stop: &Stop,
) -> Result<Vec<String>> {
    let mut machine = recording.boot(lab, disk)?;
    let problems = match look(&mut machine, recording, cut, stop) {
        Ok(problems) => problems,
        Err(error) => vec![format!("{error:#}; the console's end:\n{}", machine.console.tail(40))],
    };
    let ended = machine.kill();
    Ok(problems.into_iter().chain(ended.err().map(|error| format!("{error:#}"))).collect())
}

fn look(machine: &mut Machine, recording: &Recording, cut: &Cut, stop: &Stop) -> Result<Vec<String>> {
    healthy(machine, stop, LIMIT)?;
    let mut problems = vec![];
    for acknowledged in recording.acknowledged.iter().filter(|a| a.holds_at(cut.entry)) {
        if let Record::Page(text) = &acknowledged.record {
            serves(machine, text, stop, LIMIT)?;
        }
        let read = |path: &str| recording::read(machine, path).map(Some);
        problems.extend(acknowledged.record.missing(read)?);
    }
    Ok(problems)
}

/// Waits until the box answers and says that all is well.
pub fn healthy(machine: &Machine, stop: &Stop, limit: Duration) -> Result<()> {
    stop.wait("healthy box", limit, || {
        let status = machine.json(&["status"], &[0, 3]).map_err(|error| format!("{error:#}"))?;
        if status["health"] == "healthy" { Ok(()) } else { Err(status.to_string()) }
    })
}

/// Waits until the box serves a page with `text` in it.
pub fn serves(machine: &Machine, text: &str, stop: &Stop, limit: Duration) -> Result<()> {
    stop.wait("page", limit, || match machine.serves_within(text, Duration::from_secs(2)) {
        true => Ok(()),
        false => Err(format!("`{text}` is not served")),
    })
}
