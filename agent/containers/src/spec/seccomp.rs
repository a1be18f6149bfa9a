//! The system calls that a container may make, by its capabilities.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A profile whose rules may depend on capabilities, as the image has it.
#[derive(Clone, Debug, Deserialize)]
pub struct SeccompProfile {
    #[serde(default)]
    syscalls: Vec<Rule>,
    /// The rest of `linux.seccomp`.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
struct Rule {
    /// It holds with all of these.
    #[serde(default)]
    includes: Vec<String>,
    /// It holds with none of these.
    #[serde(default)]
    excludes: Vec<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl SeccompProfile {
    /// Reads a profile.
    pub fn parse(text: &str) -> Result<SeccompProfile, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// `linux.seccomp` of a container with these capabilities in its bounding set, as `CAP_…`.
    pub(super) fn for_capabilities(&self, bounding: &[String]) -> Value {
        let has = |capability: &String| bounding.contains(capability);
        let rules = self
            .syscalls
            .iter()
            .filter(|rule| rule.includes.iter().all(has) && !rule.excludes.iter().any(has))
            .map(|rule| Value::Object(rule.rest.clone()));
        let mut seccomp = self.rest.clone();
        seccomp.insert("syscalls".to_owned(), rules.collect());
        Value::Object(seccomp)
    }
}
