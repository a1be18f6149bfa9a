//! What is sent next, and what an answer means.

use super::note::{Now, Watch};
use super::record::{Attempt, Message, NotifyRecord};
use crate::healing::Millis;

/// Wait after the first attempt that failed; doubles.
pub const FIRST_WAIT: Millis = 10_000;
/// The longest wait, and the wait after a refusal.
pub const SLOW: Millis = 3_600_000;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing, until something is added or answered.
    Nothing,
    /// Nothing before this time.
    At(Millis),
    /// This message is sent now.
    Send(Message),
}

/// What came of an attempt, each with words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The server took it.
    Delivered(String),
    /// The server would not have it, and will hardly change its mind.
    Refused(String),
    /// There was no answer, or one that says to come again.
    Failed(String),
}

impl NotifyRecord {
    /// What is to be done now. Messages of a topic go in their order. A server that does not answer holds all
    /// up; one that refuses a message holds up those that it has refused.
    pub fn due(&self, watch: &Watch, now: Now) -> Due {
        if watch.sending.is_some() {
            return Due::Nothing;
        }
        let fresh = self.first_of_topics().find(|message| !message.refused);
        let refused = self.first_of_topics().filter(|m| m.refused).min_by_key(|m| m.attempts);
        let fresh = fresh.map(|message| (watch.not_before, message));
        let refused = refused.map(|message| (watch.not_before.max(watch.refused_before), message));
        match fresh.into_iter().chain(refused).min_by_key(|(at, _)| *at) {
            Some((at, message)) if at <= now.uptime => Due::Send(message.clone()),
            Some((at, _)) => Due::At(at),
            None => Due::Nothing,
        }
    }

    /// What came of sending the message `id`, which said that so many were `dropped`. `random` shortens the
    /// wait by up to a quarter.
    pub fn answered(
        &mut self,
        watch: &mut Watch,
        id: &str,
        dropped: u64,
        answer: &Answer,
        now: Now,
        random: u32,
    ) {
        watch.sending = None;
        let found = self.waiting.iter().position(|message| message.id == id);
        if let Some(message) = found.map(|at| &mut self.waiting[at]) {
            message.attempts = message.attempts.saturating_add(1);
        }
        let reached = match answer {
            Answer::Delivered(_) => {
                let taken = found.map(|at| self.waiting.remove(at));
                self.dropped = self.dropped.saturating_sub(dropped);
                if taken.is_some_and(|message| message.refused) {
                    // It has changed its mind, and may have of others.
                    self.waiting.iter_mut().for_each(|message| message.refused = false);
                }
                true
            }
            Answer::Refused(_) => {
                found.into_iter().for_each(|at| self.waiting[at].refused = true);
                watch.refused_before = now.uptime + shortened(SLOW, random);
                true
            }
            Answer::Failed(_) => false,
        };
        self.failures = if reached { 0 } else { self.failures.saturating_add(1) };
        watch.not_before = if reached { 0 } else { now.uptime + wait(self.failures, random) };
        let (Answer::Delivered(text) | Answer::Refused(text) | Answer::Failed(text)) = answer;
        let delivered = matches!(answer, Answer::Delivered(_));
        self.last = Some(Attempt { at: now.epoch, delivered, answer: text.clone() });
    }

    /// There is another address: what waits is sent there, and what the old one answered counts no more.
    pub fn redirect(&mut self, watch: &mut Watch) {
        self.last = None;
        self.retry(watch);
    }

    /// What waits is tried now.
    pub fn retry(&mut self, watch: &mut Watch) {
        self.failures = 0;
        self.waiting.iter_mut().for_each(|message| message.refused = false);
        watch.not_before = 0;
        watch.refused_before = 0;
    }
}

impl Watch {
    /// A message is being sent from now on.
    pub fn sending(&mut self, id: &str) {
        self.sending = Some(id.to_owned());
    }

    /// What came of it is of no interest.
    pub fn broke_off(&mut self) {
        self.sending = None;
    }
}

/// The wait after so many failures in a row.
fn wait(failures: u32, random: u32) -> Millis {
    shortened((FIRST_WAIT << failures.saturating_sub(1).min(9)).min(SLOW), random)
}

fn shortened(wait: Millis, random: u32) -> Millis {
    wait - wait / 4 * u64::from(random) / u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::topic::{Kind, State, Topic};
    use super::*;

    fn now(seconds: u64) -> Now {
        Now { uptime: seconds * 1000, epoch: 1_000_000 + seconds }
    }

    fn record(subjects: &[&str]) -> NotifyRecord {
        let mut record = NotifyRecord::begin("s", 0);
        for subject in subjects {
            record.push(Topic::about(Kind::Degraded, *subject), State::Raised, "x", 0, None);
        }
        record
    }

    fn due(record: &NotifyRecord, watch: &Watch, seconds: u64) -> String {
        match record.due(watch, now(seconds)) {
            Due::Nothing => "nothing".into(),
            Due::At(at) => format!("at {}", at / 1000),
            Due::Send(message) => message.id,
        }
    }

    fn answer(record: &mut NotifyRecord, watch: &mut Watch, seconds: u64, answer: fn(String) -> Answer) {
        let Due::Send(message) = record.due(watch, now(seconds)) else { panic!("nothing is due") };
        watch.sending(&message.id);
        assert_eq!(record.due(watch, now(seconds)), Due::Nothing, "one at a time");
        record.answered(watch, &message.id, record.dropped, &answer("said".into()), now(seconds), 0);
    }

    #[test]
    fn waits_double_to_an_hour_and_jitter_takes_at_most_a_quarter() {
        let waits: Vec<_> = (1..=11).map(|n| wait(n, 0) / 1000).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert_eq!(wait(u32::MAX, 0), SLOW);
        assert_eq!(wait(1, u32::MAX), 7500);
    }

    #[test]
    fn a_server_that_is_down_holds_all_up_and_is_told_in_order() {
        let (mut record, mut watch) = (record(&["a", "b"]), Watch::default());
        answer(&mut record, &mut watch, 0, Answer::Failed);
        assert_eq!(due(&record, &watch, 9), "at 10");
        answer(&mut record, &mut watch, 10, Answer::Failed);
        assert_eq!(due(&record, &watch, 10), "at 30");
        assert_eq!(due(&record, &watch, 30), "s-1");
        answer(&mut record, &mut watch, 30, Answer::Delivered);
        answer(&mut record, &mut watch, 30, Answer::Delivered);
        assert_eq!(due(&record, &watch, 30), "nothing");
        assert_eq!(record.failures, 0);
    }

    #[test]
    fn after_a_restart_it_is_tried_at_once_and_the_wait_goes_on() {
        let (mut record, mut watch) = (record(&["a"]), Watch::default());
        for seconds in [0, 10, 30] {
            answer(&mut record, &mut watch, seconds, Answer::Failed);
        }
        let mut watch = Watch::default();
        answer(&mut record, &mut watch, 31, Answer::Failed);
        assert_eq!(due(&record, &watch, 31), "at 111");
    }

    #[test]
    fn what_is_refused_is_tried_by_turns_once_an_hour_and_holds_up_no_other() {
        let (mut record, mut watch) = (record(&["a", "b", "c"]), Watch::default());
        answer(&mut record, &mut watch, 0, Answer::Refused);
        assert_eq!(due(&record, &watch, 0), "s-2");
        answer(&mut record, &mut watch, 0, Answer::Refused);
        answer(&mut record, &mut watch, 0, Answer::Delivered);
        assert_eq!(due(&record, &watch, 0), "at 3600");
        answer(&mut record, &mut watch, 3600, Answer::Refused);
        assert_eq!(due(&record, &watch, 3600), "at 7200");
        assert_eq!(due(&record, &watch, 7200), "s-2");
        answer(&mut record, &mut watch, 7200, Answer::Delivered);
        assert_eq!(due(&record, &watch, 7200), "s-1", "it has changed its mind");
    }

    #[test]
    fn a_later_message_of_a_topic_waits_for_the_earlier() {
        let (mut record, mut watch) = (record(&["a", "a", "b"]), Watch::default());
        answer(&mut record, &mut watch, 0, Answer::Refused);
        assert_eq!(due(&record, &watch, 0), "s-3");
        answer(&mut record, &mut watch, 0, Answer::Delivered);
        assert_eq!(due(&record, &watch, 0), "at 3600");
        answer(&mut record, &mut watch, 3600, Answer::Delivered);
        assert_eq!(due(&record, &watch, 3600), "s-2");
    }

    #[test]
    fn another_address_gets_what_waits_at_once() {
        let (mut record, mut watch) = (record(&["a", "b"]), Watch::default());
        answer(&mut record, &mut watch, 0, Answer::Refused);
        answer(&mut record, &mut watch, 0, Answer::Failed);
        record.redirect(&mut watch);
        assert_eq!((due(&record, &watch, 0).as_str(), &record.last), ("s-1", &None));
    }

    #[test]
    fn the_oldest_are_dropped_and_counted_until_that_is_told() {
        let subjects: Vec<String> = (0..103).map(|n| n.to_string()).collect();
        let mut record = record(&subjects.iter().map(String::as_str).collect::<Vec<_>>());
        let mut watch = Watch::default();
        assert_eq!((record.waiting.len(), record.dropped), (100, 3));
        assert_eq!(record.waiting[0].id, "s-4");
        watch.sending("s-4");
        record.push(Topic::of(Kind::RolledBack), State::Event, "x", 0, watch.sending.as_deref());
        assert_eq!((record.waiting[0].id.as_str(), record.waiting[1].id.as_str()), ("s-4", "s-6"));
        record.answered(&mut watch, "s-4", 3, &Answer::Delivered("204".into()), now(0), 0);
        assert_eq!((record.waiting.len(), record.dropped), (99, 1));
    }
}
