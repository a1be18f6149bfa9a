//! The agent's own files on data.

use super::{Facts, Finding, Severity};

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let report = "holdfast report --output report.tar.gz";
    let unread = facts.seen.complaints.iter().map(|complaint| {
        Finding::new("record-unreadable", Severity::Degraded, "state", complaint.clone())
            .run(report, "for a bug report: the file is left as it is")
    });
    let aside = facts.seen.set_aside.iter().map(|what| {
        Finding::new("record-set-aside", Severity::Notice, "state", what.clone())
            .run(report, "for a bug report: the box goes on without it")
    });
    unread.chain(aside).collect()
}
