//! What the initrd did before the agent started, and this boot's identity.

use agent_api::types::{Data, DataState};
use agent_system::files;
use image_layout::{Slot, initrd, paths};
use serde::Deserialize;

/// How this boot went so far.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    /// Kernel boot id.
    pub(crate) id: String,
    /// What the initrd said; `None` when its report cannot be read.
    pub(crate) report: Option<Report>,
}

/// The initrd's report.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    /// Slot that runs.
    pub(crate) slot: String,
    /// `ok`, `repaired` or `unavailable`.
    pub(crate) data: String,
    /// What its owner should know of.
    #[serde(default)]
    pub(crate) events: Vec<ReportEvent>,
}

/// An event of the initrd.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ReportEvent {
    pub(crate) kind: String,
    pub(crate) message: String,
}

impl Boot {
    /// Reads both.
    pub(crate) fn read() -> Boot {
        let id = files::read_text("/proc/sys/kernel/random/boot_id", 64).unwrap_or_default();
        let text = files::read_text(paths::INITRD_REPORT, 1 << 20);
        let report = text.map_err(|error| error.to_string()).and_then(|text| parse(&text));
        let report = report.inspect_err(|error| tracing::error!("the initrd's report: {error}")).ok();
        Boot { id: id.trim().to_owned(), report }
    }

    /// The slot that runs.
    pub(crate) fn slot(&self) -> Option<Slot> {
        Slot::parse(&self.report.as_ref()?.slot)
    }

    /// Whether what is kept now is there after a reboot.
    pub(crate) fn data_available(&self) -> bool {
        self.data().state != DataState::Unavailable
    }

    /// The data partition as the initrd left it. Without a report what is mounted counts.
    pub(crate) fn data(&self) -> Data {
        let events = self.report.iter().flat_map(|report| &report.events);
        let said = events.filter(|event| event.kind.starts_with("data")).map(|event| event.message.clone());
        let reason = said.reduce(|_, later| later);
        match self.report.as_ref().map(|report| report.data.as_str()) {
            Some("ok") => Data { state: DataState::Ok, reason: None },
            Some("repaired") => Data { state: DataState::Repaired, reason },
            Some(_) => Data { state: DataState::Unavailable, reason },
            None => Data { state: DataState::Ok, reason },
        }
    }

    /// Whether there is no data because the disk failed.
    pub(crate) fn disk_failed(&self) -> bool {
        let mut events = self.report.iter().flat_map(|report| &report.events);
        !self.data_available() && events.any(|event| event.kind == initrd::DISK_FAILS)
    }

    /// What is wrong with the data partition.
    pub(crate) fn data_problem(&self) -> Option<String> {
        let data = self.data();
        (data.state == DataState::Unavailable).then(|| match data.reason {
            Some(reason) => format!("data unavailable: {reason}"),
            None => "data unavailable".into(),
        })
    }
}

fn parse(text: &str) -> Result<Report, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(report: &str, state: DataState, reason: Option<&str>) {
        let boot = Boot { id: "x".into(), report: parse(report).ok() };
        assert_eq!(boot.data(), Data { state, reason: reason.map(str::to_owned) }, "{report}");
        assert_eq!(boot.data_available(), state != DataState::Unavailable);
    }

    #[test]
    fn reads_what_the_initrd_says() {
        let report = |data: &str, events: &str| {
            format!(
                r#"{{"format":1,"slot":"a","data":"{data}","events":[{events}],"watchdog":"","disk":"/dev/vda"}}"#
            )
        };
        check(&report("ok", ""), DataState::Ok, None);
        let event = r#"{"kind":"data-repaired","message":"3 errors"}"#;
        check(&report("repaired", event), DataState::Repaired, Some("3 errors"));
        let event = r#"{"kind":"slot","message":"x"},{"kind":"data-unavailable","message":"no superblock"}"#;
        check(&report("unavailable", event), DataState::Unavailable, Some("no superblock"));
        check(&report("sideways", ""), DataState::Unavailable, None);
        check("", DataState::Ok, None);
    }
}
