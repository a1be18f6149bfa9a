//! What is wrong with a box, and what its owner does about it.
//!
//! Facts go in, findings come out, the worst first. Each names what it is about, says what is the case, and gives
//! the next step as a command line or as lines of the document. Pure: what is seen of the box and what time it is
//! are arguments, and nothing is looked at here. Deliberately absent: repairs.

mod access;
mod documents;
mod facts;
mod instances;
mod machine;
mod network;
mod pulls;
mod records;
mod storage;
mod updates;

pub use facts::{
    Clock, Data, Documents, Facts, Kill, Machine, Refused, Room, Seen, Slots, Unfetched, Unit, VolumeUse, Why,
};

use crate::healing::Millis;

/// What takes a moment after a start is not missed before.
const SETTLED: Millis = 60_000;

/// How bad something is. Worse comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The box does not do what it is there for.
    Failed,
    /// It does, but for this.
    Degraded,
    /// No fault, but worth a look.
    Notice,
}

/// Something that is the case and should not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing it is; stays what it is from version to version.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: an instance, a container, an interface, a part of the box.
    pub subject: String,
    /// What is the case, in a sentence.
    pub message: String,
    /// What to do next, the first thing first.
    pub next: Vec<Next>,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A command line, which can be given as it is where it names no FILE.
    Run {
        /// `holdfast …`.
        command: String,
        /// What it does.
        why: String,
    },
    /// Lines of the document, to be applied.
    Write {
        /// TOML: a table's header and its keys.
        lines: String,
        /// What they do.
        why: String,
    },
    /// What neither of the two can do.
    Act(String),
}

/// Everything that is wrong, the worst first.
pub fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut all = [
        storage::findings(facts),
        access::findings(facts),
        network::findings(facts),
        documents::findings(facts),
        pulls::findings(facts),
        instances::findings(facts),
        machine::findings(facts),
        updates::findings(facts),
        records::findings(facts),
    ]
    .concat();
    // Those of one severity stay in the order above: what explains others is before them.
    all.sort_by_key(|finding| finding.severity);
    all
}

impl Finding {
    fn new(
        code: &'static str,
        severity: Severity,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Finding {
        Finding { code, severity, subject: subject.into(), message: message.into(), next: Vec::new() }
    }

    fn run(mut self, command: impl Into<String>, why: impl Into<String>) -> Finding {
        self.next.push(Next::Run { command: command.into(), why: why.into() });
        self
    }

    fn write(mut self, lines: impl Into<String>, why: impl Into<String>) -> Finding {
        self.next.push(Next::Write { lines: lines.into(), why: why.into() });
        self
    }

    fn act(mut self, what: impl Into<String>) -> Finding {
        self.next.push(Next::Act(what.into()));
        self
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes < 10 * unit => format!("{:.1} {name}", bytes as f64 / unit as f64),
        Some((name, unit)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests;
