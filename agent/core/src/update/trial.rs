//! Whether a version on trial stays.
//!
//! It stays once everything that worked before works again, for a moment without a break. It goes back when
//! something is still lacking after its time, or when its agent does not stay up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::record::{Baseline, Trial};
use crate::healing::Millis;
use crate::standing::Standing;

/// Everything must work for so long without a break.
pub const STEADY: Millis = 15_000;
/// The network must be back within this time.
pub const NETWORK_LIMIT: Millis = 300_000;
/// An agent that was started more often than this does not stay up.
pub const STARTS: u32 = 3;

/// What can be seen of a version on trial.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Time since its agent first answered.
    pub since_answer: Millis,
    /// Since when nothing has been lacking, on the same clock.
    pub steady_since: Option<Millis>,
    /// The generation of the document in force.
    pub generation: u64,
    /// How the instances stand that the box should run.
    pub instances: BTreeMap<String, Standing>,
    /// Gateways that answer.
    pub gateways: BTreeSet<String>,
    /// Endpoints that take a connection.
    pub endpoints: BTreeSet<String>,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has to go on proving itself; this is lacking.
    Wait(Vec<String>),
    /// It stays.
    Good,
    /// The box goes back, for this reason.
    Bad(String),
}

/// Of instances with the time that each has and how it stands, those that have to be healthy again, with their
/// seconds: they are now, and are not `ignored`.
pub fn that_count<'a>(
    all: impl Iterator<Item = (&'a str, Duration, Standing)>,
    ignored: &[String],
) -> BTreeMap<String, u64> {
    all.filter(|(name, _, standing)| *standing == Standing::Healthy && !ignored.iter().any(|i| i == name))
        .map(|(name, time, _)| (name.to_owned(), time.as_secs()))
        .collect()
}

/// Judges.
pub fn judge(trial: &Trial, facts: &Facts) -> Verdict {
    if trial.progress.starts > STARTS {
        return Verdict::Bad(format!("its agent had to be started {} times", trial.progress.starts));
    }
    let lacking = lacking(&trial.baseline, facts);
    let late: Vec<String> = lacking
        .iter()
        .filter(|(_, limit)| facts.since_answer >= *limit)
        .map(|(what, _)| what.clone())
        .collect();
    if !late.is_empty() {
        return Verdict::Bad(late.join("; "));
    }
    match facts.steady_since {
        Some(since) if lacking.is_empty() && facts.since_answer.saturating_sub(since) >= STEADY => {
            Verdict::Good
        }
        _ => Verdict::Wait(lacking.into_iter().map(|(what, _)| what).collect()),
    }
}

/// What is lacking, each with the time until which it may.
fn lacking(baseline: &Baseline, facts: &Facts) -> Vec<(String, Millis)> {
    let mut lacking = Vec::new();
    for gateway in baseline.gateways.difference(&facts.gateways) {
        lacking.push((format!("the gateway {gateway} does not answer"), NETWORK_LIMIT));
    }
    if !baseline.endpoints.is_empty() && baseline.endpoints.is_disjoint(&facts.endpoints) {
        let names: Vec<&str> = baseline.endpoints.iter().map(String::as_str).collect();
        lacking.push((format!("{} cannot be reached", names.join(" and ")), NETWORK_LIMIT));
    }
    if facts.generation < baseline.generation {
        let what = format!("generation {} of the document cannot be used", baseline.generation);
        lacking.push((what, NETWORK_LIMIT));
    }
    for (name, seconds) in &baseline.instances {
        let reason = match facts.instances.get(name) {
            Some(Standing::Healthy) => continue,
            Some(Standing::Settling(reason) | Standing::Degraded(reason)) => reason,
            // One that its owner took away meanwhile is not missed.
            None if facts.generation > baseline.generation => continue,
            None => "this version does not know of it",
        };
        lacking.push((format!("{name} was healthy and is not: {reason}"), seconds * 1000));
    }
    lacking
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::TrialProgress;
    use image_layout::Slot;

    fn trial(starts: u32) -> Trial {
        let set = |text: &str| BTreeSet::from([text.to_owned()]);
        Trial {
            version: "2".parse().unwrap(),
            from: "1".parse().unwrap(),
            level: 1,
            slot: Slot::B,
            at: 0,
            boot: String::new(),
            window: 0,
            baseline: Baseline {
                generation: 7,
                instances: BTreeMap::from([("site".to_owned(), 600)]),
                gateways: set("10.0.2.2"),
                endpoints: BTreeSet::from(["u.example:443".to_owned(), "r.example:443".to_owned()]),
            },
            progress: TrialProgress { starts, ..TrialProgress::default() },
        }
    }

    fn facts(since_answer: Millis) -> Facts {
        Facts {
            since_answer,
            steady_since: None,
            generation: 7,
            instances: BTreeMap::from([("site".to_owned(), Standing::Healthy)]),
            gateways: BTreeSet::from(["10.0.2.2".to_owned(), "10.0.3.2".to_owned()]),
            endpoints: BTreeSet::from(["r.example:443".to_owned()]),
        }
    }

    #[test]
    fn it_stays_when_all_that_worked_works_without_a_break() {
        let steady = |since| Facts { steady_since: Some(since), ..facts(60_000) };
        assert_eq!(judge(&trial(1), &facts(60_000)), Verdict::Wait(vec![]));
        assert_eq!(judge(&trial(1), &steady(50_000)), Verdict::Wait(vec![]));
        assert_eq!(judge(&trial(1), &steady(45_000)), Verdict::Good);
        assert_eq!(judge(&trial(3), &steady(0)), Verdict::Good);
        let bad = Verdict::Bad("its agent had to be started 4 times".into());
        assert_eq!(judge(&trial(4), &steady(0)), bad);
    }

    #[test]
    fn each_thing_lacking_has_its_time_and_its_words() {
        let check = |change: &dyn Fn(&mut Facts), limit: Millis, words: &str| {
            for (at, expect) in
                [(limit - 1, Verdict::Wait(vec![words.to_owned()])), (limit, Verdict::Bad(words.to_owned()))]
            {
                let mut facts = Facts { steady_since: Some(0), ..facts(at) };
                change(&mut facts);
                assert_eq!(judge(&trial(1), &facts), expect);
            }
        };
        check(&|f| f.gateways.clear(), NETWORK_LIMIT, "the gateway 10.0.2.2 does not answer");
        check(&|f| f.endpoints.clear(), NETWORK_LIMIT, "r.example:443 and u.example:443 cannot be reached");
        check(
            &|f| {
                drop(
                    f.instances
                        .insert("site".into(), Standing::Degraded("site.web is unhealthy: 500".into())),
                )
            },
            600_000,
            "site was healthy and is not: site.web is unhealthy: 500",
        );
        check(
            &|f| f.instances.clear(),
            600_000,
            "site was healthy and is not: this version does not know of it",
        );
        check(&|f| f.generation = 6, NETWORK_LIMIT, "generation 7 of the document cannot be used");
    }

    #[test]
    fn what_is_not_healthy_or_ignored_does_not_count() {
        let all = [
            ("site", Standing::Healthy),
            ("beta", Standing::Healthy),
            ("new", Standing::Settling(String::new())),
            ("sick", Standing::Degraded(String::new())),
        ];
        let all = all.into_iter().map(|(name, standing)| (name, Duration::from_secs(600), standing));
        let counted = that_count(all, &["beta".to_owned()]);
        assert_eq!(counted, BTreeMap::from([("site".to_owned(), 600)]));
    }

    #[test]
    fn what_its_owner_took_away_meanwhile_is_not_missed() {
        let taken =
            Facts { generation: 8, instances: BTreeMap::new(), steady_since: Some(45_000), ..facts(60_000) };
        assert_eq!(judge(&trial(1), &taken), Verdict::Good);
    }
}
