//! What the initrd found and did, for the agent: JSON at [`image_layout::paths::INITRD_REPORT`].

use crate::console;
use agent_system::files::{self, Access, FileError};
use image_layout::{Slot, paths};
use std::fmt::Write;

/// Whether `/var` is the data partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// It is, and was in order.
    Ok,
    /// It is, after a repair.
    Repaired,
    /// It is not: `/var` is in memory.
    Unavailable,
}

impl Data {
    /// The word in the report.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Data::Ok => "ok",
            Data::Repaired => "repaired",
            Data::Unavailable => "unavailable",
        }
    }
}

/// The report as it grows.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Node of the disk that booted.
    pub(crate) disk: String,
    /// What the watchdog is; empty without one.
    pub(crate) watchdog: String,
    events: Vec<(&'static str, String)>,
}

impl Report {
    /// Notes what its owner should know of, and says it on the console.
    pub(crate) fn event(&mut self, kind: &'static str, message: impl Into<String>) {
        let message = message.into();
        console::warn(&message);
        self.events.push((kind, message));
    }

    /// Writes the report into `/run`.
    pub(crate) fn write(&self, slot: Slot, data: Data) -> Result<(), FileError> {
        files::create_dir_all(paths::RUN, Access::mode(0o755))?;
        files::write_atomic(paths::INITRD_REPORT, self.encode(slot, data), 0o644)
    }

    fn encode(&self, slot: Slot, data: Data) -> String {
        let event = |(kind, message): &(&str, String)| {
            format!("{{\"kind\":{},\"message\":{}}}", quote(kind), quote(message))
        };
        let events: Vec<String> = self.events.iter().map(event).collect();
        format!(
            "{{\"format\":1,\"slot\":\"{slot}\",\"data\":\"{}\",\"events\":[{}],\"watchdog\":{},\"disk\":{}}}\n",
            data.as_str(),
            events.join(","),
            quote(&self.watchdog),
            quote(&self.disk)
        )
    }
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => write!(quoted, "\\u{:04x}", c as u32).expect("writing to text cannot fail"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_one_json_object() {
        let mut report = Report { disk: "/dev/vda".into(), watchdog: "Soft \"dog\"".into(), events: vec![] };
        report.events.push(("data-repaired", "line\nbreak".into()));
        assert_eq!(
            report.encode(Slot::B, Data::Repaired),
            "{\"format\":1,\"slot\":\"b\",\"data\":\"repaired\",\"events\":[{\"kind\":\"data-repaired\",\
             \"message\":\"line\\u000abreak\"}],\"watchdog\":\"Soft \\\"dog\\\"\",\"disk\":\"/dev/vda\"}\n"
        );
        assert!(Report::default().encode(Slot::A, Data::Unavailable).contains("\"events\":[]"));
    }
}
