//! Logs and events, as JSON lines that may go on.

use std::process::Stdio;
use std::sync::Arc;

use agent_api::types::{Event, EventsQuery, LogLine, LogsQuery};
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::broadcast::error::RecvError;

use super::apply;
use super::error::{Answer, Failure};
use crate::agent::Agent;
use crate::journal::JOURNALCTL;

/// Lines that are sent when a request does not say.
const LINES: u32 = 1000;

pub(super) async fn events(State(agent): State<Arc<Agent>>, Query(query): Query<EventsQuery>) -> Response {
    let (past, coming) = agent.events.follow(query.after);
    let last = past.last().map_or(query.after, |event| event.number);
    let past = stream::iter(past);
    if !query.follow {
        return lines(past);
    }
    let coming = stream::unfold((coming, last), |(mut coming, last)| async move {
        loop {
            match coming.recv().await {
                Ok(event) if event.number > last => {
                    let number = event.number;
                    return Some((event, (coming, number)));
                }
                Ok(_) => {}
                // What was missed is in the log; the number tells that something is.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None::<(Event, _)>,
            }
        }
    });
    lines(past.chain(coming))
}

pub(super) async fn logs(
    State(agent): State<Arc<Agent>>,
    Query(query): Query<LogsQuery>,
) -> Answer<Response> {
    let units = match &query.name {
        None => vec!["holdfastd.service".to_owned()],
        Some(name) => apply::containers_of(&agent, name)?.iter().map(|name| name.unit()).collect(),
    };
    let mut command = Command::new(JOURNALCTL);
    command.env_clear().args(["--output=json", "--no-pager", "--quiet", "--all", "--boot=all"]);
    command.arg(format!("--lines={}", query.lines.unwrap_or(LINES)));
    if query.follow {
        command.arg("--follow");
    }
    if let Some(since) = &query.since {
        command.arg(format!("--since={}", journal_time(since)?));
    }
    command.args(units.iter().map(|unit| format!("_SYSTEMD_UNIT={unit}")));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child =
        command.spawn().map_err(|e| Failure::failed(format!("failed to read the journal: {e}")))?;
    let stdout = child.stdout.take().ok_or_else(|| Failure::failed("the journal says nothing"))?;
    Ok(lines(journal(child, stdout)))
}

/// A time in a form that journalctl takes: a duration is an age.
fn journal_time(text: &str) -> Answer<String> {
    if let Ok(age) = recipes::shape::duration(text) {
        return Ok(format!("-{}s", age.as_secs()));
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        Failure::invalid(format!("`{text}` is no time")).hint("write `10m`, or `2026-01-31T12:00:00Z`")
    })?;
    Ok(format!("@{}", time.as_second()))
}

/// Lines of the journal. The child ends with the stream.
fn journal(child: Child, stdout: ChildStdout) -> impl Stream<Item = LogLine> {
    let state = (child, BufReader::new(stdout));
    stream::unfold(state, |(child, mut from)| async move {
        loop {
            let mut line = Vec::new();
            match from.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
            if let Some(entry) = serde_json::from_slice(&line).ok().and_then(|entry| log_line(&entry)) {
                return Some((entry, (child, from)));
            }
        }
    })
}

/// An entry of `journalctl --output=json`.
fn log_line(entry: &Value) -> Option<LogLine> {
    let text = |name: &str| entry.get(name).and_then(message);
    let micros: i64 = text("__REALTIME_TIMESTAMP")?.parse().ok()?;
    let time = jiff::Timestamp::from_microsecond(micros).ok()?;
    let unit = text("_SYSTEMD_UNIT").unwrap_or_default();
    let container = crate::observe::container_of(&unit).map(|name| name.to_string());
    let stream = match (text("_TRANSPORT").as_deref(), text("PRIORITY").as_deref()) {
        (Some("stdout"), Some("3")) => "stderr",
        (Some("stdout"), _) => "stdout",
        _ => "journal",
    };
    Some(LogLine {
        time: format!("{time:.6}"),
        source: container.unwrap_or_else(|| "holdfastd".into()),
        stream: stream.into(),
        text: text("MESSAGE")?,
    })
}

/// A field, which is a list of bytes when it is not UTF-8.
fn message(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|b| b.as_u64()?.try_into().ok()).collect();
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
        _ => None,
    }
}

/// A reply of JSON lines, sent as they come.
fn lines<T: Serialize>(items: impl Stream<Item = T> + Send + 'static) -> Response {
    let lines = items.map(|item| {
        let mut line = serde_json::to_vec(&item)?;
        line.push(b'\n');
        Ok::<_, serde_json::Error>(line)
    });
    ([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_become_lines() {
        let entry = json!({
            "__REALTIME_TIMESTAMP": "1700000000123456", "_SYSTEMD_UNIT": "holdfast-site.web.service",
            "_TRANSPORT": "stdout", "PRIORITY": "6", "MESSAGE": [104, 105, 255],
        });
        let line = log_line(&entry).unwrap();
        assert_eq!(line.time, "2023-11-14T22:13:20.123456Z");
        assert_eq!((line.source.as_str(), line.stream.as_str()), ("site.web", "stdout"));
        assert_eq!(line.text, "hi\u{fffd}");
        assert!(log_line(&json!({"MESSAGE": "x"})).is_none());
    }

    #[test]
    fn times_are_ages_or_points() {
        assert_eq!(journal_time("10m").unwrap(), "-600s");
        assert_eq!(journal_time("2023-11-14T22:13:20Z").unwrap(), "@1700000000");
        assert!(journal_time("yesterday --root=/x").is_err());
    }
}
