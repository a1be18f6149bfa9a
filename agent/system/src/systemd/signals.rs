//! systemd's signals, read by one task and handed to whoever listens.
//!
//! Invariant: the bus connection is never held up by a slow listener: one that falls behind is told so
//! and reads the state itself. When the bus goes away every listener ends.

use futures_util::StreamExt;
use std::num::NonZeroUsize;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, message::Type};

const DESTINATION: &str = "org.freedesktop.systemd1";
const UNITS: &str = "/org/freedesktop/systemd1/unit";
/// Signals that a listener may be behind before it is told that it missed some.
const BACKLOG: usize = 1024;

/// What systemd told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Some property of the unit changed.
    Changed { unit: String },
    /// The unit is no longer loaded.
    Removed { unit: String },
    /// A job ended with this result.
    JobEnded { job: String, unit: String, result: String },
}

/// The task that reads signals; it ends with the bus, or when this is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    signals: broadcast::WeakSender<Signal>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Starts to listen.
    pub(super) async fn start(connection: &Connection) -> zbus::Result<Listener> {
        let rule = || MatchRule::builder().msg_type(Type::Signal).sender(DESTINATION);
        let manager = rule().interface("org.freedesktop.systemd1.Manager").build()?;
        let changes = rule()
            .interface("org.freedesktop.DBus.Properties")
            .member("PropertiesChanged")
            .path_namespace(UNITS)
            .build()?;
        let queue = NonZeroUsize::new(BACKLOG);
        let manager = MessageStream::for_match_rule(manager, connection, queue).await?;
        let changes = MessageStream::for_match_rule(changes, connection, queue).await?;
        let (sender, _) = broadcast::channel(BACKLOG);
        let signals = sender.downgrade();
        let task = tokio::spawn(async move {
            let mut messages = futures_util::stream::select(manager, changes);
            while let Some(Ok(message)) = messages.next().await {
                if let Some(signal) = read(&message) {
                    // Nobody listening is no fault.
                    let _ = sender.send(signal);
                }
            }
        });
        Ok(Listener { signals, task })
    }

    /// The signals from now on; `None` when the bus is gone.
    pub(super) fn subscribe(&self) -> Option<broadcast::Receiver<Signal>> {
        Some(self.signals.upgrade()?.subscribe())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The signal in a message; `None` for those that nobody here needs.
fn read(message: &Message) -> Option<Signal> {
    let header = message.header();
    let body = message.body();
    match header.member()?.as_str() {
        "PropertiesChanged" => Some(Signal::Changed { unit: unit_of_path(header.path()?.as_str())? }),
        "UnitRemoved" => {
            let (unit, _): (String, OwnedObjectPath) = body.deserialize().ok()?;
            Some(Signal::Removed { unit })
        }
        "JobRemoved" => {
            let (_, job, unit, result): (u32, OwnedObjectPath, String, String) = body.deserialize().ok()?;
            Some(Signal::JobEnded { job: job.as_str().to_owned(), unit, result })
        }
        _ => None,
    }
}

/// The unit's name in an object path: bytes other than letters and digits are `_` and two hex digits.
fn unit_of_path(path: &str) -> Option<String> {
    let escaped = path.strip_prefix(UNITS)?.strip_prefix('/')?.as_bytes();
    let mut name = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((&first, after)) = rest.split_first() {
        if first == b'_' {
            let hex = std::str::from_utf8(after.get(..2)?).ok()?;
            name.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &after[2..];
        } else {
            name.push(first);
            rest = after;
        }
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names_are_read_from_object_paths() {
        for (path, expect) in [
            ("/org/freedesktop/systemd1/unit/dbus_2eservice", Some("dbus.service")),
            (
                "/org/freedesktop/systemd1/unit/holdfast_2dteam_2da_2eapp_2eservice",
                Some("holdfast-team-a.app.service"),
            ),
            ("/org/freedesktop/systemd1/unit/a_2", None),
            ("/org/freedesktop/systemd1/unit/a_zz", None),
            ("/org/freedesktop/systemd1/job/12", None),
        ] {
            assert_eq!(unit_of_path(path).as_deref(), expect, "{path}");
        }
    }
}
