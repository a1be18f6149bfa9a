//! What is seen, made into messages.

use std::collections::BTreeMap;

use super::record::{NotifyRecord, Told};
use super::topic::{Kind, State, Topic};
use crate::healing::Millis;

/// A degraded state has to last so long before anyone is woken.
pub const LASTS: Millis = 30_000;
/// A condition is resolved when it has been gone for so long without a break.
pub const GONE: Millis = 120_000;
/// What was raised is not raised again within this time, however often it comes and goes. Seconds.
pub const FLAPPING: u64 = 600;

/// What time it is, twice: what passes is measured by a clock that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the box started.
    pub uptime: Millis,
    /// Seconds since 1970.
    pub epoch: u64,
}

/// How a condition looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It stands: one sentence.
    Stands(String),
    /// It cannot be told: it is neither there nor gone.
    Unclear,
}

/// Every condition that is not plainly gone.
pub type Sights = BTreeMap<Topic, Sight>;

/// What is remembered from look to look and need not outlive the agent: another one waits anew.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Conditions that stand, or stood when that could be told last.
    seen: BTreeMap<Topic, Seen>,
    /// Conditions that stood and are gone, each since when.
    gone: BTreeMap<Topic, Millis>,
    /// Nothing is sent before.
    pub(super) not_before: Millis,
    /// Nothing that was refused is sent before.
    pub(super) refused_before: Millis,
    /// The message that is being sent.
    pub(super) sending: Option<String>,
}

/// A condition that stands.
#[derive(Clone, Debug)]
struct Seen {
    /// Since when.
    since: Millis,
    /// How it looked last.
    text: String,
    /// Whether it could be told at the last look.
    plain: bool,
}

impl Watch {
    /// Conditions that stand, and how they look.
    pub fn standing(&self) -> impl Iterator<Item = (&Topic, &str)> {
        self.seen.iter().map(|(topic, seen)| (topic, seen.text.as_str()))
    }

    /// Takes in that a condition stands, and gives since when.
    fn stands(&mut self, topic: &Topic, text: &str, now: Now) -> Millis {
        let new = || Seen { since: now.uptime, text: String::new(), plain: true };
        let seen = self.seen.entry(topic.clone()).or_insert_with(new);
        text.clone_into(&mut seen.text);
        seen.plain = true;
        seen.since
    }
}

impl NotifyRecord {
    /// Takes in what is seen. The record has to be durable before anything is sent of what this added.
    pub fn note(&mut self, watch: &mut Watch, sights: &Sights, now: Now) {
        for (topic, sight) in sights {
            watch.gone.remove(topic);
            match sight {
                Sight::Stands(text) => {
                    let since = watch.stands(topic, text, now);
                    if self.may_raise(topic, since, now).is_some_and(|at| at <= now.uptime) {
                        self.raise(topic, text, now, watch.sending.as_deref());
                    }
                }
                Sight::Unclear => watch.seen.get_mut(topic).into_iter().for_each(|seen| seen.plain = false),
            }
        }
        watch.seen.retain(|topic, _| sights.contains_key(topic));
        let standing = self.standing();
        watch.gone.retain(|topic, _| standing.contains(topic));
        for topic in standing.iter().filter(|topic| !sights.contains_key(topic)) {
            let since = *watch.gone.entry(topic.clone()).or_insert(now.uptime);
            if now.uptime.saturating_sub(since) >= GONE {
                self.resolve(topic, now, watch.sending.as_deref());
                watch.gone.remove(topic);
            }
        }
        self.told.retain(|told| told.stands || flapping(told, now) > 0);
    }

    /// The box went back from an update, `at` seconds since 1970. Said once.
    pub fn went_back(&mut self, watch: &Watch, text: &str, at: u64) {
        if at != self.went_back {
            self.went_back = at;
            self.push(Topic::of(Kind::RolledBack), State::Event, text, at, watch.sending.as_deref());
        }
    }

    /// When a look without a change would add a message.
    pub fn next_look(&self, watch: &Watch, now: Now) -> Option<Millis> {
        let plain = watch.seen.iter().filter(|(_, seen)| seen.plain);
        let raised = plain.filter_map(|(topic, seen)| self.may_raise(topic, seen.since, now));
        let resolved = watch.gone.values().map(|since| since + GONE);
        raised.chain(resolved).min()
    }

    /// When a condition that has stood since then may be raised; never while it is.
    fn may_raise(&self, topic: &Topic, since: Millis, now: Now) -> Option<Millis> {
        let lasted = since + topic.lasts();
        match self.known(topic) {
            Some(told) if told.stands => None,
            Some(told) if flapping(told, now) > 0 => {
                Some(lasted.max(now.uptime + flapping(told, now) * 1000))
            }
            _ => Some(lasted),
        }
    }

    fn raise(&mut self, topic: &Topic, text: &str, now: Now, sending: Option<&str>) {
        self.told.retain(|told| told.topic != *topic);
        let told = Told { topic: topic.clone(), text: text.to_owned(), raised: now.epoch, stands: true };
        self.told.push(told);
        self.push(topic.clone(), State::Raised, text, now.epoch, sending);
    }

    fn resolve(&mut self, topic: &Topic, now: Now, sending: Option<&str>) {
        let Some(told) = self.told.iter_mut().find(|told| told.topic == *topic) else { return };
        told.stands = false;
        let text = format!("no longer: {}", told.text);
        self.push(topic.clone(), State::Resolved, &text, now.epoch, sending);
    }
}

/// Seconds until a condition may be raised again. A clock that was set back makes it none.
fn flapping(told: &Told, now: Now) -> u64 {
    if now.epoch < told.raised { 0 } else { (told.raised + FLAPPING).saturating_sub(now.epoch) }
}

#[cfg(test)]
#[path = "note_tests.rs"]
mod tests;
