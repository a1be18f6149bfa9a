//! `target/test-results.json`: what ran, and how it ended.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

const FILE: &str = "target/test-results.json";

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// One test of one commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    pub(crate) seconds: f64,
    pub(crate) commit: String,
}

/// All rows; written after each, so that a run that is cut short loses nothing.
#[derive(Debug)]
pub(crate) struct Results {
    rows: Vec<Row>,
    commit: String,
}

impl Results {
    /// Starts anew, or with what passed before on the same commit.
    pub(crate) fn open(resume: bool) -> Result<Results> {
        let commit = commit()?;
        let before = std::fs::read_to_string(FILE).unwrap_or_else(|_| "[]".into());
        let before: Vec<Row> =
            if resume { serde_json::from_str(&before).unwrap_or_default() } else { vec![] };
        let clean = !commit.ends_with("-dirty");
        let kept = |row: &Row| clean && row.commit == commit && row.outcome == Outcome::Passed;
        Ok(Results { rows: before.into_iter().filter(kept).collect(), commit })
    }

    pub(crate) fn passed(&self, name: &str) -> bool {
        self.rows.iter().any(|r| r.name == name && r.outcome == Outcome::Passed)
    }

    pub(crate) fn add(&mut self, name: &str, outcome: Outcome, seconds: f64) -> Result<()> {
        self.rows.retain(|r| r.name != name);
        self.rows.push(Row { name: name.to_owned(), outcome, seconds, commit: self.commit.clone() });
        let text = serde_json::to_string_pretty(&self.rows)?;
        std::fs::create_dir_all("target")?;
        let beside = format!("{FILE}.new");
        std::fs::write(&beside, text).context("cannot write the test results")?;
        std::fs::rename(&beside, Path::new(FILE)).context("cannot write the test results")
    }

    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.rows.iter().filter(|r| r.outcome == outcome).count()
    }

    pub(crate) fn names(&self, outcome: Outcome) -> Vec<&str> {
        self.rows.iter().filter(|r| r.outcome == outcome).map(|r| r.name.as_str()).collect()
    }
}

fn commit() -> Result<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"])
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
