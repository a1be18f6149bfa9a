//! `target/soak.json`: what was done by all runs, and what failed.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;

use anyhow::{Context, Result};
use qemu_tests::cuts::Cut;
use serde::{Deserialize, Serialize};

const FILE: &str = "target/soak.json";

/// What was done, by the run's task, then by what it was done to, then by the way.
type Done = BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>;

/// All runs; written after each step, so that a run that is cut short loses nothing.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    runs: Vec<Run>,
    done: Done,
    failures: Vec<Failure>,
    /// Failures before this run.
    #[serde(skip)]
    before: usize,
}

/// One run.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    task: String,
    commit: String,
    /// Seconds since 1970.
    started: u64,
    seed: u64,
    asked: usize,
    done: usize,
}

/// What failed, with all that is needed to see it again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Its run, counted from 0.
    #[serde(default)]
    pub(crate) run: usize,
    /// What was done to what.
    pub(crate) what: String,
    /// Of a recording.
    pub(crate) cut: Option<Cut>,
    /// What is wrong.
    pub(crate) problems: Vec<String>,
    /// Where disks and logs are kept.
    pub(crate) kept: Option<String>,
}

impl Counts {
    /// Begins a run behind all that were.
    pub(crate) fn open(task: &str, asked: usize, seed: u64, started: u64) -> Result<Counts> {
        let mut counts: Counts = match std::fs::read_to_string(FILE) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("{FILE} cannot be read"))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Counts::default(),
            Err(error) => return Err(error).with_context(|| format!("{FILE} cannot be read")),
        };
        counts.before = counts.failures.len();
        counts.runs.push(Run { task: task.to_owned(), commit: commit()?, started, seed, asked, done: 0 });
        counts.write()?;
        Ok(counts)
    }

    /// Counts a step of this run that was done to `what` in this way, well or not.
    pub(crate) fn add(&mut self, what: &str, way: &str, failure: Option<Failure>) -> Result<()> {
        let run = self.runs.len() - 1;
        self.runs[run].done += 1;
        let task = self.runs[run].task.clone();
        *self.done.entry(task).or_default().entry(what.into()).or_default().entry(way.into()).or_default() +=
            1;
        if let Some(failure) = failure {
            println!("FAILED {}: {:?} {}", failure.what, failure.cut, failure.problems.join("\n"));
            self.failures.push(Failure { run, ..failure });
        }
        self.write()
    }

    /// Failures of this run.
    pub(crate) fn failed(&self) -> usize {
        self.failures.len() - self.before
    }

    fn write(&self) -> Result<()> {
        std::fs::create_dir_all("target")?;
        let beside = format!("{FILE}.new");
        std::fs::write(&beside, serde_json::to_string_pretty(self)?).context("cannot write the counts")?;
        std::fs::rename(&beside, FILE).context("cannot write the counts")
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (task, subjects) in &self.done {
            let total: u64 = subjects.values().flat_map(BTreeMap::values).sum();
            writeln!(f, "{task}: {total} in all")?;
        }
        let done = self.runs.last().map_or(0, |run| run.done);
        write!(f, "{done} in this run, of which {} failed", self.failed())
    }
}

fn commit() -> Result<String> {
    let mut git = Command::new("git");
    let output = git.args(["describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
