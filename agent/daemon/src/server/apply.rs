//! Changing what is wanted: documents, retries, restarts.

use std::collections::BTreeSet;
use std::sync::Arc;

use agent_api::types::{Action, Applied, ApplyQuery, Changed, Plan};
use agent_core::ContainerName;
use agent_core::desired::{self, Facts, network_settings};
use agent_core::network::choice::TRIAL;
use agent_core::state::Accepted;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use recipes::Secret;

use super::error::{Answer, Failure};
use crate::agent::{Agent, Live};
use crate::document::{self, Document};
use crate::{clock, network, reconcile, user_data};

/// Bytes of a document as delivered, of either channel.
const LIMIT: usize = 1 << 20;

pub(super) async fn plan(State(agent): State<Arc<Agent>>) -> Json<Plan> {
    Json(current(&agent))
}

/// What is being done.
pub(crate) fn current(agent: &Agent) -> Plan {
    let live = agent.live();
    let removes = removed(&live.observed.records, &live.document);
    wire(&live.plan, removes)
}

/// What a document would do; nothing is kept of it.
pub(super) async fn plan_document(
    State(agent): State<Arc<Agent>>,
    Query(query): Query<ApplyQuery>,
    body: Bytes,
) -> Answer<Json<Plan>> {
    let (_, document) = parse(&agent, &query, &body)?;
    let removes = removed(&agent.live().observed.records, &document);
    Ok(Json(wire(&preview(&agent, &document), removes)))
}

/// Accepts a document, or retries what failed when there is none. Answers when it is durable.
pub(super) async fn apply(
    State(agent): State<Arc<Agent>>,
    Query(query): Query<ApplyQuery>,
    body: Bytes,
) -> Answer<Json<Applied>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Json(retry(&agent)));
    }
    super::data::needed(&agent)?;
    let (text, document) = parse(&agent, &query, &body)?;
    let removes = removed(&agent.live().observed.records, &document);
    if !removes.is_empty() && !query.remove {
        let names = removes.join(", ");
        return Err(Failure::not_allowed(format!(
            "this document does not list {names}, which would be removed"
        ))
        .hint("`--remove` allows it; volumes and secrets are kept until removed by name"));
    }
    let notes = keeps_reach(&agent, &document, query.force)?;
    let newest = agent.records.newest_generation(|_| Ok(())).0;
    let plan = preview(&agent, &document);
    let tried = network::hold_back(&agent, &document).map_err(super::network::not_made)?;
    let same = newest.is_some_and(|g| g.document.expose() == text && g.number == agent.live().generation);
    if same && agent.live().errors.is_empty() {
        let mut applied = retry(&agent);
        applied.removed = removes;
        applied.notes = notes;
        applied.notes.extend(try_network(&agent, tried)?);
        return Ok(Json(applied));
    }
    let file = query.file.unwrap_or_else(|| "user-data".into());
    let source = Accepted { channel: "apply".into(), file };
    let generation = agent
        .records
        .accept(Secret::new(text), source, clock::epoch())
        .map_err(|error| Failure::failed(format!("the document could not be kept: {error}")))?;
    user_data::put_in_force(&agent, document, &generation);
    user_data::taken_otherwise(&agent);
    let notes = notes.into_iter().chain(try_network(&agent, tried)?).collect();
    let message = format!("generation {} was accepted from apply", generation.number);
    agent.events.add("applied", None, message);
    agent.live().memory.retry_now();
    agent.wake.notify_one();
    let plan = wire(&plan, removes.clone());
    Ok(Json(Applied { generation: generation.number, changed: true, removed: removes, plan, notes }))
}

/// Refuses what would keep the box's owner out. Gives what is to be said of the rest.
fn keeps_reach(agent: &Agent, document: &Document, force: bool) -> Answer<Vec<String>> {
    let live = agent.live();
    if let Some((what, how)) = keeps_out(&live, document).filter(|_| !force) {
        return Err(Failure::not_allowed(what).hint(how));
    }
    let given = network_settings(&document.settings);
    let changes = given != network_settings(&live.document.settings);
    let confirmed = live.network_record.confirmed.is_some();
    let above = "network settings that were confirmed by hand stay in force above this document's; \
                 `holdfast network revert` drops them";
    Ok(if changes && confirmed { vec![above.to_owned()] } else { vec![] })
}

/// Why a document would keep the box's owner out, and what helps: it has none of the keys that may log in now, where
/// there is one. Those of a document that was not accepted may, until another is.
fn keeps_out(live: &Live, document: &Document) -> Option<(&'static str, &'static str)> {
    let keys = |document: &Document, offered: &[String]| -> BTreeSet<String> {
        let facts = Facts {
            provider_keys: live.provider_keys.clone(),
            offered_admins: offered.to_vec(),
            ..Facts::default()
        };
        let host = desired::host(&document.settings, String::new(), &facts);
        host.admin_keys.iter().map(|key| without_comment(key)).collect()
    };
    let (now, then) = (keys(&live.document, &live.offered_admins), keys(document, &[]));
    if now.is_empty() || !now.is_disjoint(&then) {
        return None;
    }
    Some(match then.is_empty() {
        true => (
            "this document names no key that may log in, and takes the last one away",
            "name one in `[box] admins`; `--force` makes a box that nobody can log into",
        ),
        false => (
            "this document names none of the keys that may log in now, and its own have not been tried",
            "keep one of them in `[box] admins` until you have logged in by the new one; `--force` does without",
        ),
    })
}

/// The type and the base64 of a public key.
fn without_comment(key: &str) -> String {
    key.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// Puts the network settings of the accepted document on trial, where they are another's.
fn try_network(agent: &Arc<Agent>, tried: bool) -> Answer<Option<String>> {
    if !tried {
        return Ok(None);
    }
    network::begin_trial(agent, None).map_err(anyhow::Error::from)?;
    let (seconds, how) = (TRIAL / 1000, super::network::CONFIRM);
    Ok(Some(format!(
        "its network settings are tried for {seconds} seconds, then those before come back; {how}"
    )))
}

/// Tries everything that failed again now.
fn retry(agent: &Agent) -> Applied {
    let mut live = agent.live();
    live.memory.retry_now();
    agent.wake.notify_one();
    let plan = wire(&live.plan, Vec::new());
    Applied { generation: live.generation, changed: false, removed: Vec::new(), plan, notes: Vec::new() }
}

fn parse(agent: &Agent, query: &ApplyQuery, body: &[u8]) -> Answer<(String, Document)> {
    let file = query.file.as_deref().unwrap_or("user-data");
    if body.len() > LIMIT {
        return Err(Failure::invalid(format!("{file} is longer than 1 MiB")));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        Failure::invalid(format!("{file} is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    let parsed = document::parse(text, file, &agent.library);
    let document = parsed.map_err(|errors| {
        Failure::invalid(format!("{file} is not valid")).diagnostics(document::diagnostics(&errors))
    })?;
    Ok((text.to_owned(), document))
}

/// Instances on record that a document does not list.
fn removed(
    records: &std::collections::BTreeMap<String, agent_core::state::InstanceRecord>,
    document: &Document,
) -> Vec<String> {
    let listed: BTreeSet<&str> = document.instances.iter().map(|i| i.name.as_str()).collect();
    let in_force = records.values().filter(|record| record.in_force);
    in_force.map(|record| record.name.clone()).filter(|name| !listed.contains(name.as_str())).collect()
}

/// The plan that a document would lead to.
fn preview(agent: &Agent, document: &Document) -> agent_core::Plan {
    let observed = agent.live().observed.clone();
    let desired = reconcile::wanted(agent, document, &observed);
    agent_core::plan::plan(&desired, &observed, &agent.live().memory, clock::uptime())
}

fn wire(plan: &agent_core::Plan, removes: Vec<String>) -> Plan {
    let action = |planned: &agent_core::Planned| {
        let mut reason = planned.reason.clone();
        if !planned.waits.is_empty() {
            reason = format!("{reason}; waits for {}", planned.waits.join(", "));
        }
        Action {
            id: planned.action.id(),
            action: planned.action.to_string(),
            reason,
            after: planned.after.clone(),
        }
    };
    Plan { actions: plan.actions.iter().map(action).collect(), removes }
}

/// Stops and starts a container, or all of an instance.
pub(super) async fn restart(
    State(agent): State<Arc<Agent>>,
    Path(name): Path<String>,
) -> Answer<Json<Changed>> {
    let names = containers_of(&agent, &name)?;
    let message =
        format!("restarting {}", names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    agent.live().memory.restart(names);
    agent.wake.notify_one();
    Ok(Json(Changed { changed: true, message }))
}

/// The containers that a name means: one, or all of an instance.
pub(super) fn containers_of(agent: &Agent, name: &str) -> Answer<Vec<ContainerName>> {
    let live = agent.live();
    let (instance, container) = match name.split_once('.') {
        Some((instance, container)) => (instance, Some(container)),
        None => (name, None),
    };
    let found: Vec<ContainerName> = live
        .desired
        .instances
        .get(instance)
        .into_iter()
        .flat_map(|wanted| wanted.containers.keys())
        .filter(|name| container.is_none_or(|container| container == *name))
        .map(|name| ContainerName::new(instance, name))
        .collect();
    if found.is_empty() {
        let all = live.desired.instances.iter();
        let names: Vec<String> =
            all.flat_map(|(i, wanted)| wanted.containers.keys().map(move |c| format!("{i}.{c}"))).collect();
        let hint = if names.is_empty() {
            "there are none".into()
        } else {
            format!("there are {}", names.join(", "))
        };
        return Err(Failure::not_found(format!("there is no container or instance `{name}`")).hint(hint));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of its own for each letter, which is its comment, too.
    fn key(letter: &str) -> String {
        format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA{} {letter}", letter.repeat(42))
    }

    /// A document with the keys of these letters, beside those of the provider where they are wanted.
    fn document(admins: &[&str], provider_keys: bool) -> Document {
        let admins: Vec<String> = admins.iter().map(|letter| format!("\"{}\"", key(letter))).collect();
        let text = format!("[box]\nprovider_keys = {provider_keys}\nadmins = [{}]\n", admins.join(", "));
        Document { settings: recipes::user_data::settings_only(&text).unwrap(), ..Document::default() }
    }

    #[test]
    fn a_document_keeps_out_nobody_who_may_log_in_now() {
        const NONE: &str = "names no key that may log in";
        const UNTRIED: &str = "its own have not been tried";
        // `a` is in force or nobody, `o` was offered with a document that was not accepted, `p` is the provider's.
        let check = |now: &[&str], offered: &[&str], then: Document, expect: Option<&str>| {
            let live = Live {
                document: document(now, false),
                offered_admins: offered.iter().map(|letter| key(letter)).collect(),
                provider_keys: vec![key("p")],
                ..Live::default()
            };
            let said = keeps_out(&live, &then).map(|(what, _)| what);
            let right = match (said, expect) {
                (Some(said), Some(words)) => said.contains(words),
                (said, expect) => said.is_none() && expect.is_none(),
            };
            assert!(right, "{now:?} {offered:?}: {said:?} instead of {expect:?}");
        };
        check(&["a"], &[], document(&["a", "b"], false), None);
        check(&["a"], &[], document(&["b"], true), Some(UNTRIED));
        check(&["a"], &[], document(&[], false), Some(NONE));
        check(&["a"], &["o"], document(&["o"], false), None);
        check(&["a"], &["o"], document(&["b"], false), Some(UNTRIED));
        check(&[], &["o"], document(&["o"], false), None);
        check(&[], &["o"], document(&["b"], false), Some(UNTRIED));
        check(&[], &["o"], document(&[], false), Some(NONE));
        check(&[], &[], document(&[], false), None);
    }
}
