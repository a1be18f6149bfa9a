//! Documents that are not in force.

use super::{Facts, Finding, Severity};

/// Errors that are told one by one.
const MOST: usize = 10;

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let documents = &facts.seen.documents;
    let channel = documents.channel.as_deref().unwrap_or("user-data");
    // Without one in force nothing runs that should.
    let severity = if documents.generation == 0 { Severity::Failed } else { Severity::Degraded };
    let mut found = Vec::new();
    for (number, error) in documents.errors.iter().take(MOST).enumerate() {
        let left = documents.errors.len() - MOST.min(documents.errors.len());
        let more = if left > 0 && number + 1 == MOST { format!("; and {left} more") } else { String::new() };
        let message = format!("user-data is not valid: {}: {}{more}", error.place, error.message);
        let finding = Finding::new("document-refused", severity, channel, message);
        let finding = error.hint.iter().fold(finding, |finding, hint| finding.act(hint.clone()));
        found.push(
            finding.run("holdfast apply FILE", "with this corrected; `holdfast check FILE` tells before"),
        );
    }
    for reason in &documents.unusable {
        let finding = Finding::new("document-unusable", severity, channel, reason.clone());
        found.push(finding.run("holdfast apply FILE", "a document that this version reads"));
    }
    if documents.channel.is_none() && documents.generation == 0 {
        let message = "no document was offered: the box runs nothing";
        let finding = Finding::new("document-missing", Severity::Notice, channel, message);
        found.push(finding.run("holdfast apply FILE", "gives it one"));
    }
    found
}
