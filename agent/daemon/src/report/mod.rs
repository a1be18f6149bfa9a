//! A report on the box for whoever helps with it: a tar in gzip, made while it is sent.
//!
//! What is in it is named one by one in [`items`]; nothing is taken that holds a secret, and of everything that is
//! taken the secrets that the box knows are taken out. One item is held in memory at a time, and each is bounded.
//! One that cannot be had is a note in the report. Deliberately absent: what containers wrote, unless it is asked
//! for, and what is in volumes.

mod bundle;
mod items;
mod records;
mod secrets;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_core::redact::Redactor;
use agent_core::text::cut;
use anyhow::Context;
use futures_util::{Stream, stream};

use crate::agent::Agent;
use bundle::Bundle;
use items::Item;

/// Bytes of one item; the end of a longer one is left out.
const LARGEST: usize = 4 << 20;
/// What takes longer is left out.
const LONGEST: Duration = Duration::from_secs(90);

/// What is left to do of a report.
struct Work {
    agent: Arc<Agent>,
    redactor: Arc<Redactor>,
    bundle: Bundle,
    left: VecDeque<Item>,
    notes: Vec<String>,
}

/// The report, as it is made.
pub(crate) fn stream(agent: Arc<Agent>, logs: bool) -> impl Stream<Item = std::io::Result<Vec<u8>>> {
    let work = Work {
        redactor: Arc::new(Redactor::new(secrets::all(&agent))),
        left: items::all(&agent, logs).into(),
        bundle: Bundle::new(crate::clock::epoch()),
        notes: Vec::new(),
        agent,
    };
    stream::unfold(Some(work), |work| async move {
        let (bytes, work) = step(work?).await;
        Some((bytes, work))
    })
}

/// One item more, or the end; the bytes that are there by then.
async fn step(mut work: Work) -> (std::io::Result<Vec<u8>>, Option<Work>) {
    let Some(item) = work.left.pop_front() else {
        let notes = notes(&work.notes);
        return (
            work.bundle.add("notes.txt", &work.redactor.text(&notes)).and_then(|()| work.bundle.end()),
            None,
        );
    };
    let collected = tokio::time::timeout(LONGEST, items::collect(&work.agent, &item)).await;
    let collected = collected.context("it took too long").and_then(|collected| collected);
    let text = match collected {
        Ok(text) => text,
        Err(error) => {
            work.notes.push(format!("{} is not there: {error:#}", item.name));
            return (Ok(Vec::new()), Some(work));
        }
    };
    // Neither is quick, and others wait for the agent.
    let added = tokio::task::spawn_blocking(move || {
        let text = shown(&work.redactor, &item.name, &text);
        let bytes = work.bundle.add(&item.name, &text).map(|()| work.bundle.take());
        (bytes, work)
    });
    match added.await {
        Ok((Ok(bytes), work)) => (Ok(bytes), Some(work)),
        Ok((Err(error), _)) => (Err(error), None),
        Err(error) => (Err(std::io::Error::other(error)), None),
    }
}

fn notes(notes: &[String]) -> String {
    match notes {
        [] => "Nothing is missing.\n".to_owned(),
        notes => notes.join("\n") + "\n",
    }
}

/// An item without secrets, and then cut: of half a secret nobody knows that it is one.
fn shown(redactor: &Redactor, name: &str, text: &str) -> String {
    let json = |text: &str| serde_json::from_str(text).map(|value| redactor.json(value));
    let line = |line: &str| json(line).map_or_else(|_| redactor.text(line), |value| value.to_string()) + "\n";
    let shown = match Path::new(name).extension().and_then(OsStr::to_str) {
        Some("json") => json(text).map_or_else(|_| redactor.text(text), |value| format!("{value:#}\n")),
        Some("jsonl") => text.lines().map(line).collect(),
        _ => redactor.text(text),
    };
    cut(shown, LARGEST)
}

#[cfg(test)]
mod tests {
    use agent_core::Secret;

    use super::*;

    #[test]
    fn what_is_json_stays_json_and_no_secret_is_halved() {
        let redactor = Redactor::new(["true", "hunter2-hunter2"].map(Secret::new));
        let value = r#"{"on":true,"said":"true hunter2-hunter2"}"#;
        let expect = r#"{"on":true,"said":"[hidden] [hidden]"}"#;
        let lines = shown(&redactor, "events.jsonl", &format!("{value}\n{value}\n"));
        assert_eq!(lines, format!("{expect}\n{expect}\n"));
        let pretty = shown(&redactor, "status.json", value);
        let pretty: serde_json::Value = serde_json::from_str(&pretty).unwrap();
        assert_eq!(pretty.to_string(), expect);
        assert_eq!(shown(&redactor, "torn.json", "{ hunter2-hunter2"), "{ [hidden]");
        let long = "x".repeat(LARGEST - 4) + "hunter2-hunter2";
        assert!(!shown(&redactor, "kernel.txt", &long).contains("hunt"));
    }
}
