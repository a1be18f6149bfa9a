//! Events: what happened, in order, bounded.
//!
//! JSON lines in two files: `log` is appended to and, when it is full, takes the place of `old`. Numbers
//! go on over reboots. A line that a power cut tore is passed over. An event is synced, but losing one is
//! no reason for anything else to fail.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use agent_api::types::Event;
use agent_core::text::{self, cut};
use tokio::sync::broadcast;

use crate::clock;

/// Bytes of one of the two files.
const FULL: u64 = 512 << 10;
/// Events that a follower may be behind.
const BEHIND: usize = 1024;

/// The log.
#[derive(Debug)]
pub(crate) struct Events {
    inner: Mutex<Inner>,
    followers: broadcast::Sender<Event>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    log: Option<File>,
    recent: VecDeque<Event>,
    next: u64,
}

impl Events {
    /// Opens the log in `folder`, which exists.
    pub(crate) fn open(folder: &Path) -> Events {
        let mut recent = VecDeque::new();
        for name in ["old", "log"] {
            recent.extend(read(&folder.join(name)));
        }
        let next = recent.iter().map(|event| event.number).max().unwrap_or(0) + 1;
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log"));
        let log = log.inspect_err(|error| tracing::error!("failed to open the events: {error}")).ok();
        let mut inner = Inner { folder: folder.to_owned(), log, recent, next };
        // A torn last line must not swallow the next one.
        inner.append(b"\n");
        Events { inner: Mutex::new(inner), followers: broadcast::channel(BEHIND).0 }
    }

    /// Adds an event; of a message that is too long, the beginning.
    pub(crate) fn add(&self, kind: &str, subject: Option<&str>, message: impl Into<String>) {
        let message = cut(message, text::MESSAGE);
        tracing::info!(HOLDFAST_INSTANCE = subject.unwrap_or(""), HOLDFAST_EVENT = kind, "{message}");
        let mut inner = self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let event = Event {
            number: inner.next,
            time: clock::rfc3339(clock::epoch()),
            kind: kind.to_owned(),
            subject: subject.map(str::to_owned),
            message,
        };
        inner.next += 1;
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        inner.append(&line);
        inner.recent.push_back(event.clone());
        inner.rotate();
        // Nobody may be listening.
        let _ = self.followers.send(event);
    }

    /// The events with a number above `after`, and those that come from now on.
    pub(crate) fn follow(&self, after: u64) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let inner = self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let past = inner.recent.iter().filter(|event| event.number > after).cloned().collect();
        (past, self.followers.subscribe())
    }
}

impl Inner {
    fn append(&mut self, line: &[u8]) {
        let Some(log) = &mut self.log else { return };
        if let Err(error) = log.write_all(line).and_then(|()| log.sync_data()) {
            tracing::error!("failed to write an event: {error}");
        }
    }

    fn rotate(&mut self) {
        let size = self.log.as_ref().and_then(|log| log.metadata().ok()).map_or(0, |m| m.len());
        if size < FULL {
            return;
        }
        let (log, old) = (self.folder.join("log"), self.folder.join("old"));
        let renamed = std::fs::rename(&log, old);
        let opened = renamed.and_then(|()| OpenOptions::new().create(true).append(true).open(&log));
        match opened {
            Ok(file) => self.log = Some(file),
            Err(error) => tracing::error!("failed to turn over the events: {error}"),
        }
        let keep = read(&self.folder.join("old")).len();
        let surplus = self.recent.len().saturating_sub(keep);
        self.recent.drain(..surplus);
    }
}

/// The whole lines of a file; none when it cannot be read.
fn read(path: &Path) -> Vec<Event> {
    let Ok(Some(bytes)) = agent_system::files::read_optional(path, 2 * FULL) else { return Vec::new() };
    bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(events: &Events) -> Vec<u64> {
        events.follow(0).0.iter().map(|e| e.number).collect()
    }

    #[test]
    fn numbers_go_on_and_torn_lines_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let events = Events::open(folder.path());
        events.add("one", None, "first");
        events.add("two", Some("a"), "second");
        drop(events);
        let path = folder.path().join("log");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(br#"{"number":3,"time":"tor"#);
        std::fs::write(&path, bytes).unwrap();
        let events = Events::open(folder.path());
        assert_eq!(numbers(&events), [1, 2]);
        events.add("three", None, "third");
        drop(events);
        assert_eq!(numbers(&Events::open(folder.path())), [1, 2, 3]);
    }

    #[test]
    fn the_log_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let events = Events::open(folder.path());
        let long = "x".repeat(60_000);
        for _ in 0..400 {
            events.add("long", None, long.clone());
        }
        let size: u64 = ["old", "log"]
            .iter()
            .map(|name| std::fs::metadata(folder.path().join(name)).map_or(0, |m| m.len()))
            .sum();
        assert!(size < 3 * FULL, "{size}");
        let kept = numbers(&events);
        assert_eq!(kept.last(), Some(&400));
        assert!(kept.len() < 260, "{}", kept.len());
        assert!(events.follow(0).0.iter().all(|event| event.message.len() < 5000));
        assert_eq!(numbers(&Events::open(folder.path())).last(), Some(&400));
    }

    #[test]
    fn a_follower_misses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let events = Events::open(folder.path());
        events.add("a", None, "a");
        let (past, mut coming) = events.follow(0);
        events.add("b", None, "b");
        assert_eq!(past.len(), 1);
        assert_eq!(coming.try_recv().unwrap().number, 2);
    }
}
