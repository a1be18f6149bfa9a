//! Why libcontainer failed. The processes that it clones hand on only the last sentence of an error;
//! the first, which names the cause, is only logged. This keeps that first log line, in memory that
//! the clones share.

use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const LIMIT: usize = 4096;

/// Where the first error that is logged goes, by this process or one cloned from it.
pub(crate) struct Cause(Arc<File>);

impl Cause {
    /// Starts to listen, for the rest of the process's life.
    pub(crate) fn listen() -> anyhow::Result<Cause> {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let memory: OwnedFd = rustix::fs::memfd_create("holdfast-shim-cause", flags)
            .context("failed to make memory for error messages")?;
        let file = Arc::new(File::from(memory));
        let first = First { file: Arc::clone(&file), heard: AtomicBool::new(false) };
        tracing::subscriber::set_global_default(first).context("failed to listen for error messages")?;
        Ok(Cause(file))
    }

    /// What was heard, if anything.
    pub(crate) fn heard(&self) -> Option<String> {
        let mut bytes = vec![0; LIMIT];
        let length = self.0.read_at(&mut bytes, 0).ok()?;
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        (!text.is_empty()).then_some(text)
    }
}

/// A subscriber to the first error.
struct First {
    file: Arc<File>,
    heard: AtomicBool,
}

impl Subscriber for First {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        // The first of this process; of several processes, the first that wrote.
        let written = self.file.metadata().is_ok_and(|metadata| metadata.len() > 0);
        if written || self.heard.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let mut text = line.message + &line.fields;
        if text.len() > LIMIT {
            while !text.is_char_boundary(text.len().min(LIMIT)) {
                text.pop();
            }
            text.truncate(LIMIT.min(text.len()));
        }
        let _ = self.file.write_all_at(text.as_bytes(), 0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event as text: the message, then the fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            // Writing to a string does not fail.
            let _ = write!(self.fields, ", {}: {value:?}", field.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_kept() {
        let memory = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = Arc::new(File::from(memory));
        let cause = Cause(Arc::clone(&file));
        assert_eq!(cause.heard(), None);
        let first = First { file, heard: AtomicBool::new(false) };
        tracing::subscriber::with_default(first, || {
            tracing::warn!("a warning");
            tracing::error!(path = "/x", "failed to mount");
            tracing::error!("failed to prepare the root");
        });
        assert_eq!(cause.heard().as_deref(), Some("failed to mount, path: \"/x\""));
    }
}
