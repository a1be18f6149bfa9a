//! Messages, as the API tells of them.

use std::collections::BTreeMap;

use agent_api::types::{NotifyAttempt, NotifyStatus, StandingCondition, WaitingMessage};
use agent_core::notify::{Due, Topic};

use crate::agent::Agent;
use crate::clock;

/// All of it.
pub(crate) fn status(agent: &Agent) -> NotifyStatus {
    let enabled = agent.live().document.settings.notify.is_some();
    let now = super::now();
    let guard = agent.notices.live();
    let record = guard.record.as_ref();
    let standing = |topic: &Topic, text: &str, raised: Option<u64>| StandingCondition {
        kind: topic.kind.as_str().to_owned(),
        subject: topic.subject.clone(),
        message: text.to_owned(),
        raised: raised.map(clock::rfc3339),
    };
    let told = record.into_iter().flat_map(|record| &record.told).filter(|told| told.stands);
    let mut all: BTreeMap<&Topic, StandingCondition> =
        told.map(|told| (&told.topic, standing(&told.topic, &told.text, Some(told.raised)))).collect();
    for (topic, text) in guard.watch.standing() {
        let known = all.entry(topic).or_insert_with(|| standing(topic, text, None));
        text.clone_into(&mut known.message);
    }
    let next = record.and_then(|record| match record.due(&guard.watch, now) {
        Due::Nothing => None,
        Due::Send(_) => Some(now.epoch),
        Due::At(at) => Some(now.epoch + at.saturating_sub(now.uptime).div_ceil(1000)),
    });
    let waiting = record.into_iter().flat_map(|record| &record.waiting).map(|message| WaitingMessage {
        id: message.id.clone(),
        kind: message.topic.kind.as_str().to_owned(),
        state: message.state.as_str().to_owned(),
        subject: message.topic.subject.clone(),
        message: message.text.clone(),
        time: clock::rfc3339(message.at),
        attempts: message.attempts,
        refused: message.refused,
    });
    NotifyStatus {
        enabled,
        standing: all.into_values().collect(),
        waiting: waiting.collect(),
        dropped: record.map_or(0, |record| record.dropped),
        last: record.and_then(|record| record.last.as_ref()).map(|last| NotifyAttempt {
            time: clock::rfc3339(last.at),
            delivered: last.delivered,
            answer: last.answer.clone(),
        }),
        next: next.filter(|_| enabled).map(clock::rfc3339),
    }
}
