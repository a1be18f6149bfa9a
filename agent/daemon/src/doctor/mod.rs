//! What is wrong with the box: what is known and what has to be looked at for that, judged by
//! [`agent_core::doctor`].
//!
//! Deliberately absent: any judgement, and anything that changes the box.

mod machine;
mod names;
mod room;

use agent_api::types::Diagnostic;
use agent_containers::fetch::{FetchError, FetchErrorKind};
use agent_core::doctor::{self, Clock, Documents, Facts, Finding, Refused, Seen, Slots, Unfetched, Why};
use agent_core::notify::Now;
use recipes::model::UpdatePolicy;

use crate::agent::{Agent, Live};
use crate::{clock, notify, slots, update};

/// All findings, the worst first.
pub(crate) async fn findings(agent: &Agent) -> Vec<Finding> {
    let servers = agent.live().network.dns.clone();
    let (resolved, mut machine) = tokio::join!(names::resolves(&servers), machine::look(agent));
    let (data, room) = room::look(agent);
    let slots = slots::status(agent).map(|slots| Slots { running: slots.running, good: slots.good });
    let set_aside = set_aside(agent);
    let (updates, scrubs) = (agent.updates.record(), update::scrubs(agent));
    let notices = agent.notices.record();
    let live = agent.live();
    machine.containers = machine::containers(&live);
    let seen = Seen {
        documents: documents(&live),
        unfetched: live.unfetched.iter().map(|(name, error)| (name.clone(), unfetched(error))).collect(),
        resolved,
        clock: Clock { synchronized: update::synchronized(), built: machine::built() },
        data,
        room,
        machine,
        slots,
        on_trial: agent.updates.on_trial(),
        looks_for_updates: looks(&live),
        complaints: live.complaints.clone(),
        set_aside,
    };
    doctor::findings(&Facts {
        now: Now { uptime: clock::uptime(), epoch: clock::epoch() },
        desired: &live.desired,
        observed: &live.observed,
        memory: &live.memory,
        plan: &live.plan,
        network: &live.network,
        sights: &notify::sights(agent, &live),
        updates: &updates,
        scrubs: &scrubs,
        notices: notices.as_ref(),
        seen: &seen,
    })
}

fn looks(live: &Live) -> bool {
    let update = live.document.settings.update.as_ref();
    update.is_some_and(|update| update.policy != UpdatePolicy::Manual)
}

fn documents(live: &Live) -> Documents {
    Documents {
        channel: live.channel.clone(),
        generation: live.generation,
        errors: live.errors.iter().map(refused).collect(),
        unusable: live.unusable.clone(),
    }
}

fn refused(error: &Diagnostic) -> Refused {
    let place = match error.line {
        0 => error.file.clone(),
        line => format!("{}:{line}:{}", error.file, error.column),
    };
    Refused { place, message: error.message.clone(), hint: error.hint.clone() }
}

fn unfetched(error: &FetchError) -> Unfetched {
    let unknown = ["failed to lookup address information", "host not found"];
    let why = match error.kind {
        FetchErrorKind::Unreachable if unknown.iter().any(|text| error.message.contains(text)) => Why::Name,
        FetchErrorKind::Unreachable => Why::Unreachable,
        FetchErrorKind::Certificate => Why::Certificate,
        FetchErrorKind::Unauthorized => Why::Credentials,
        FetchErrorKind::NotFound => Why::Missing,
        FetchErrorKind::DiskFull => Why::NoRoom,
        _ => Why::Unfit,
    };
    Unfetched { why, message: error.message.clone(), hint: error.hint.clone() }
}

/// Records that were set aside, ever, and those that were begun anew since the box started.
fn set_aside(agent: &Agent) -> Vec<String> {
    let folder = std::fs::read_dir(agent.records.path("instances")).into_iter().flatten().flatten();
    let damaged =
        folder.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "damaged"));
    let mut all: Vec<String> =
        damaged.map(|path| format!("`{}` could not be read and was set aside", path.display())).collect();
    let started = clock::rfc3339(clock::epoch().saturating_sub(clock::uptime() / 1000));
    let (events, _) = agent.events.follow(0);
    let anew = events.into_iter().filter(|event| event.kind == "state-damaged" && event.time >= started);
    all.extend(anew.map(|event| event.message));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_fetches_have_their_kind() {
        let check = |kind, message: &str, why| {
            let error = FetchError { kind, message: message.into(), hint: None };
            assert_eq!(unfetched(&error).why, why, "{message}");
        };
        let name = "failed to reach `r.invalid`: io: failed to lookup address information: Name or service not known";
        check(FetchErrorKind::Unreachable, name, Why::Name);
        check(FetchErrorKind::Unreachable, "failed to reach `r`: host not found", Why::Name);
        check(FetchErrorKind::Unreachable, "failed to reach `r`: io: Connection refused", Why::Unreachable);
        check(FetchErrorKind::NotFound, "the registry answers 404", Why::Missing);
        check(FetchErrorKind::DiskFull, "no room", Why::NoRoom);
        check(FetchErrorKind::BadLayer, "torn", Why::Unfit);
    }
}
