//! Whether its owner can log in, and knows that it is this box.

use super::{Facts, Finding, Severity};

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    // The file is what sshd asks; before it is written nobody can log in either.
    let keys =
        facts.observed.admin_keys.as_ref().map_or(0, |keys| keys.iter().filter(|key| is_key(key)).count());
    if keys == 0 {
        let message = "no key may log in: neither user-data nor the provider names one";
        found.push(Finding::new("access-no-key", Severity::Failed, "admin", message).write(
            "[box]\nadmins = [\"ssh-ed25519 AAAA… you@example.org\"]",
            "lets the holder of that key in",
        ));
    }
    if facts.seen.data.unavailable.is_some() {
        let message =
            "the SSH host key was made for this start only: data, which keeps the box's own, is not in use";
        found.push(Finding::new("access-host-key-temporary", Severity::Notice, "host key", message).act(
            "compare its fingerprint with the one on the console before trusting it; forget it afterwards",
        ));
    }
    found
}

fn is_key(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}
