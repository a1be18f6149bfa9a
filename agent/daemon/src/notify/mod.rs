//! Messages to the box's owner, where `[box.notify]` says.
//!
//! After each round, each change of the record of updates and each answer of the server the box is looked at;
//! what is to be told is on data before it is sent, one message at a time. The address is in the request to the
//! sender and nowhere else. Deliberately absent: what is worth a message and when it is sent, which is
//! [`agent_core::notify`], and HTTP, which is `holdfast-update`'s.

mod gather;
mod send;
mod status;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use agent_core::Secret;
use agent_core::notify::{Answer, Due, Message, NotifyRecord, Now, Watch};
use tokio::sync::Notify;

pub(crate) use gather::sights;
pub(crate) use send::test;
pub(crate) use status::status;

use crate::agent::Agent;
use crate::clock;
use crate::records::Records;

/// The longest sleep: rounds are not further apart either.
const LONGEST: Duration = Duration::from_secs(300);
/// What could not be kept is tried again so much later.
const KEEP_AGAIN: Duration = Duration::from_secs(60);

/// What the agent knows of messages.
#[derive(Debug)]
pub(crate) struct Notices {
    /// There may be something to tell.
    pub(crate) wake: Notify,
    /// One sender at a time.
    work: tokio::sync::Mutex<()>,
    live: Mutex<Live>,
}

/// What changes. Locked after the agent's own state, where both are.
#[derive(Debug, Default)]
struct Live {
    /// None while there is no address.
    record: Option<NotifyRecord>,
    watch: Watch,
    /// The address of the last look.
    url: Option<Secret>,
}

impl Notices {
    /// Reads the record; what is wrong with one that cannot be read.
    pub(crate) fn open(records: &Records) -> (Notices, Option<String>) {
        let (record, complaint) = match records.notices() {
            Ok(record) => (record, None),
            Err(error) => (None, Some(format!("{error}; it is begun anew"))),
        };
        let live = Mutex::new(Live { record, ..Live::default() });
        (Notices { wake: Notify::new(), work: tokio::sync::Mutex::default(), live }, complaint)
    }

    /// What is remembered; none while nobody is told.
    pub(crate) fn record(&self) -> Option<NotifyRecord> {
        self.live().record.clone()
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Looks and sends, for ever.
pub(crate) async fn run(agent: Arc<Agent>) {
    let mut rounds = agent.rounds.subscribe();
    // Before the first there is nothing to see.
    while *rounds.borrow_and_update() == 0 {
        if rounds.changed().await.is_err() {
            return;
        }
    }
    loop {
        let wait = look(&agent);
        tokio::select! {
            changed = rounds.changed() => if changed.is_err() {
                return;
            },
            () = agent.notices.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn now() -> Now {
    Now { uptime: clock::uptime(), epoch: clock::epoch() }
}

/// Looks at the box, keeps what is to be told, and sends what is due. Gives the time until something is due
/// without a change.
fn look(agent: &Arc<Agent>) -> Duration {
    let (url, sights) = {
        let live = agent.live();
        match &live.document.settings.notify {
            Some(notify) => (notify.url.clone(), gather::sights(agent, &live)),
            None => {
                // A document that cannot be read any more may have had an address.
                let sure = live.generation > 0 && live.unusable.is_empty();
                drop(live);
                if sure {
                    forget(agent);
                }
                return LONGEST;
            }
        }
    };
    let back = gather::went_back(agent);
    let now = now();
    let mut guard = agent.notices.live();
    let live = &mut *guard;
    let mut record = live.record.clone().unwrap_or_else(|| {
        let old = back.as_ref().map_or(0, |(at, _)| *at);
        NotifyRecord::begin(format!("{:016x}", u64::from_ne_bytes(clock::random())), old)
    });
    if live.url.replace(url.clone()).is_some_and(|before| before != url) {
        record.redirect(&mut live.watch);
    }
    record.note(&mut live.watch, &sights, now);
    if let Some((at, text)) = back {
        record.went_back(&live.watch, &text, at);
    }
    if live.record.as_ref() != Some(&record)
        && let Err(error) = agent.records.put_notices(&record)
    {
        tracing::error!("messages cannot be kept, and so not sent: {error}");
        return KEEP_AGAIN;
    }
    let record = live.record.insert(record);
    let due = record.due(&live.watch, now);
    if let Due::Send(message) = &due {
        live.watch.sending(&message.id);
        tokio::spawn(deliver(agent.clone(), url, message.clone(), record.dropped));
    }
    let send = if let Due::At(at) = due { Some(at) } else { None };
    let next = record.next_look(&live.watch, now).into_iter().chain(send).min();
    next.map_or(LONGEST, |next| Duration::from_millis(next.saturating_sub(now.uptime)).min(LONGEST))
}

/// There is no address: nothing is kept.
fn forget(agent: &Agent) {
    let mut live = agent.notices.live();
    let known = live.url.take().is_some() | live.record.take().is_some();
    if !known {
        return;
    }
    live.watch = Watch::default();
    if let Err(error) = agent.records.remove_notices() {
        tracing::error!("{error}");
    }
}

/// Sends a message and notes what came of it.
async fn deliver(agent: Arc<Agent>, url: Secret, message: Message, dropped: u64) {
    let answer = send::send(&agent, &url, &send::body(&agent, &message, dropped)).await;
    answered(&agent, &url, &message, dropped, &answer);
    agent.notices.wake.notify_one();
}

fn answered(agent: &Agent, url: &Secret, message: &Message, dropped: u64, answer: &Answer) {
    let mut guard = agent.notices.live();
    let live = &mut *guard;
    let delivered = matches!(answer, Answer::Delivered(_));
    let current = live.url.as_ref() == Some(url);
    let (Some(record), true) = (&mut live.record, current || delivered) else {
        // What an address that is not in use any more does not take says nothing.
        live.watch.broke_off();
        return;
    };
    tell(agent, record, message, answer);
    let random = u32::from_ne_bytes(clock::random());
    record.answered(&mut live.watch, &message.id, dropped, answer, now(), random);
    // Where this is not kept another agent sends it again, with the same id.
    if let Err(error) = agent.records.put_notices(record) {
        tracing::error!("{error}");
    }
}

/// To the events when delivery begins to fail, or fails in another way, and when it is over.
fn tell(agent: &Agent, record: &NotifyRecord, message: &Message, answer: &Answer) {
    let last = record.last.as_ref();
    match answer {
        Answer::Delivered(said) => {
            tracing::info!("message {} ({} {}): {said}", message.id, message.topic, message.state.as_str());
            if last.is_some_and(|last| !last.delivered) {
                agent.events.add("notify", None, "messages are delivered again");
            }
        }
        Answer::Refused(reason) | Answer::Failed(reason) => {
            if last.is_none_or(|last| last.delivered || last.answer != *reason) {
                agent.events.add("notify-failed", None, format!("messages are not delivered: {reason}"));
            }
        }
    }
}
