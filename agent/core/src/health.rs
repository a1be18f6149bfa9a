//! Whether a container answers its probe.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::healing::Millis;

/// How a container's health is probed, every template rendered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthConfig {
    /// What is asked.
    pub probe: Probe,
    /// From the end of a probe to the next.
    pub interval: Duration,
    /// A probe that takes longer has failed.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// Failures this soon after the start do not count.
    pub start_period: Duration,
}

/// What is asked of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// GET, healthy on 200 to 399.
    Http {
        /// Port in the container.
        port: u16,
        /// Path with its query.
        path: String,
    },
    /// A connection is accepted.
    Tcp {
        /// Port in the container.
        port: u16,
    },
    /// A command in the container exits with 0.
    Command(Vec<String>),
}

/// What the probes of one run of a container said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// When this run started.
    pub started: Millis,
    /// Failures in a row that count.
    pub failures: u32,
    /// Whether any probe has succeeded.
    pub answered: bool,
    /// Why the last one failed.
    pub last_failure: Option<String>,
}

/// How a container that runs stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No probe has succeeded yet.
    Starting,
    /// It answers.
    Healthy,
    /// It did not answer often enough.
    Unhealthy,
}

impl Probed {
    /// A run that started at `started`, not probed yet.
    pub fn new(started: Millis) -> Probed {
        Probed { started, failures: 0, answered: false, last_failure: None }
    }

    /// Takes the result of a probe that ended at `now`.
    pub fn record(&mut self, config: &HealthConfig, result: Result<(), String>, now: Millis) {
        match result {
            Ok(()) => {
                self.failures = 0;
                self.answered = true;
                self.last_failure = None;
            }
            Err(reason) => {
                let age = now.saturating_sub(self.started);
                if self.answered || u128::from(age) >= config.start_period.as_millis() {
                    self.failures = self.failures.saturating_add(1);
                }
                self.last_failure = Some(reason);
            }
        }
    }

    /// What the results so far mean.
    pub fn verdict(&self, config: &HealthConfig) -> Verdict {
        if self.failures >= config.retries.max(1) {
            Verdict::Unhealthy
        } else if self.answered {
            Verdict::Healthy
        } else {
            Verdict::Starting
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> HealthConfig {
        HealthConfig {
            probe: Probe::Tcp { port: 80 },
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            retries: 3,
            start_period: Duration::from_secs(30),
        }
    }

    /// Feeds `(second, success)` and expects the verdict after each.
    fn check(steps: &[(u64, bool, Verdict)]) {
        let mut probed = Probed::new(0);
        for &(second, success, expect) in steps {
            let result = if success { Ok(()) } else { Err("refused".to_owned()) };
            probed.record(&config(), result, second * 1000);
            assert_eq!(probed.verdict(&config()), expect, "after second {second}");
        }
    }

    #[test]
    fn failures_in_the_start_period_do_not_count() {
        use Verdict::*;
        check(&[
            (1, false, Starting),
            (11, false, Starting),
            (21, false, Starting),
            (29, false, Starting),
            (30, false, Starting),
            (40, false, Starting),
            (50, false, Unhealthy),
        ]);
    }

    #[test]
    fn once_it_answered_failures_count() {
        use Verdict::*;
        check(&[
            (1, true, Healthy),
            (2, false, Healthy),
            (3, false, Healthy),
            (4, true, Healthy),
            (5, false, Healthy),
            (6, false, Healthy),
            (7, false, Unhealthy),
            (8, true, Healthy),
        ]);
    }
}
