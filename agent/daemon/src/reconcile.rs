//! The loop: observe, plan, do what is ready, and again when something changed.
//!
//! Rounds are started by signals of systemd, by the end of an action, by a probe's verdict, by an admin,
//! and by the time at which something is tried again. Actions run side by side, one at a time for each
//! subject, and choose nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agent_core::desired::{self, Facts};
use agent_core::healing::Millis;
use agent_core::memory::Notice;
use agent_core::text::{self, cut};
use agent_core::{Action, Desired, Observed, Planned};
use agent_system::systemd::{UnitChange, UnitChanges};
use anyhow::{Context, ensure};
use futures_util::FutureExt;

use crate::agent::{Agent, Live};
use crate::document::Document;
use crate::{announce, clock, disk, execute, network, observe, probe};

/// With no signal at all the box is looked at this often.
const QUIET: Millis = 300_000;
/// While a pulled image has to prove itself.
const WATCHFUL: Millis = 1_000;

/// Runs rounds for ever; an error means that systemd or the kernel cannot be asked any more.
pub(crate) async fn run(agent: Arc<Agent>) -> anyhow::Result<()> {
    let mut changes = agent.systemd.changes().context("failed to follow the units")?;
    let mut probes = probe::Probes::default();
    loop {
        let next = match round(&agent).await {
            Err(error) if disk::failed(&agent).await => {
                tracing::error!("nothing is planned while data is out of use: {error:#}");
                clock::uptime() + QUIET
            }
            other => other?,
        };
        probes.follow(&agent);
        announce::state(&agent);
        let wait = Duration::from_millis(next.saturating_sub(clock::uptime()));
        tokio::select! {
            () = agent.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
            changed = ours(&mut changes) => changed.context("the connection to systemd was lost")?,
        }
        // One round sees all that has changed by now: a unit tells of each of its properties.
        while let Some(Some(())) = ours(&mut changes).now_or_never() {}
    }
}

/// Waits for a change of one of our units; `None` when there are no signals any more.
async fn ours(changes: &mut UnitChanges) -> Option<()> {
    loop {
        match changes.next().await? {
            UnitChange::Unit(name) if observe::container_of(&name).is_some() => return Some(()),
            UnitChange::Unit(_) => {}
            UnitChange::All => return Some(()),
        }
    }
}

/// One round; gives the time of the next. What is seen while data is out of use is not what is.
async fn round(agent: &Arc<Agent>) -> anyhow::Result<Millis> {
    let observed = look(agent).await?;
    ensure!(!disk::failed(agent).await, "data cannot be used");
    let (generation, document) = {
        let live = agent.live();
        (live.generation, live.document.clone())
    };
    let desired = wanted(agent, &document, &observed);
    let now = clock::uptime();
    let random = u32::from_ne_bytes(clock::random());
    let (ready, notices, next) = {
        let mut live = agent.live();
        let notices = live.memory.note(&desired, &observed, now, random);
        live.plan = agent_core::plan::plan(&desired, &observed, &live.memory, now);
        let ids = live.plan.actions.iter().map(|planned| planned.action.id()).collect();
        live.memory.forget_unplanned(&ids);
        live.planned = generation;
        live.desired = Arc::new(desired);
        live.observed = Arc::new(observed);
        let ready = pick(&live, now);
        for planned in &ready {
            live.memory.begin(planned);
        }
        (ready, notices, next_round(&live, now))
    };
    notices.iter().for_each(|notice| tell(agent, notice));
    for planned in ready {
        tokio::spawn(perform(agent.clone(), planned));
    }
    agent.rounds.send_modify(|rounds| *rounds += 1);
    Ok(next)
}

/// Observes, and again when an action ended meanwhile: a plan must not ask for what was just done.
async fn look(agent: &Agent) -> anyhow::Result<Observed> {
    loop {
        let before = agent.live().ended;
        let observed = observe::observe(agent).await?;
        if agent.live().ended == before {
            return Ok(observed);
        }
    }
}

/// The desired state of a document, with what is there filled in.
pub(crate) fn wanted(agent: &Agent, document: &Document, observed: &Observed) -> Desired {
    let (secrets, _) = agent.records.all_secrets();
    let volumes = observed.volumes.iter().map(|v| {
        let path = agent.records.volume_data(v);
        ((v.instance.clone(), v.name.clone()), path.display().to_string())
    });
    let outputs = observed.records.iter().map(|(instance, record)| {
        let done = record.steps.iter().filter(|(_, step)| step.succeeded);
        (instance.clone(), done.map(|(name, step)| (name.clone(), step.output.clone())).collect())
    });
    let live = agent.live();
    let given = live.provider_hostname.clone().or_else(|| live.network.hostname.clone());
    let facts = Facts {
        hostname: given.unwrap_or_else(|| "holdfast".into()),
        provider_keys: live.provider_keys.clone(),
        network: Some(network::config(&live, document)),
        offered_admins: live.offered_admins.clone(),
        volumes: volumes.collect(),
        secrets,
        outputs: outputs.collect(),
        lost: live.generation == 0 && !live.unusable.is_empty(),
    };
    desired::build(&document.settings, &document.instances, &facts)
}

/// What is done now: ready, not being done, and alone on its subject.
fn pick(live: &Live, now: Millis) -> Vec<Planned> {
    let mut subjects: BTreeSet<String> = live.memory.running.values().map(Action::subject).collect();
    let ready = live.plan.ready(now);
    ready.filter(|planned| subjects.insert(planned.action.subject())).cloned().collect()
}

fn next_round(live: &Live, now: Millis) -> Millis {
    let forgiven = live.memory.containers.values().filter_map(|c| c.healing.forgiven_at());
    let pulled = live.observed.records.values().flat_map(|r| r.pins.values()).any(|p| p.previous.is_some());
    let times = live.plan.next_due(now).into_iter().chain(forgiven.min());
    times.chain(pulled.then_some(now + WATCHFUL)).min().unwrap_or(now + QUIET).min(now + QUIET)
}

/// Does one action and takes its result in.
async fn perform(agent: Arc<Agent>, planned: Planned) {
    let action = planned.action;
    let desired = agent.live().desired.clone();
    let id = action.id();
    let container = action.container().map(ToString::to_string).unwrap_or_default();
    let instance = action.instance().unwrap_or_default().to_owned();
    tracing::info!(
        HOLDFAST_ACTION = id,
        HOLDFAST_INSTANCE = instance,
        HOLDFAST_CONTAINER = container,
        "{action}: {}",
        planned.reason
    );
    let result = execute::execute(&agent, &action, &desired).await;
    let result = result.map_err(|error| cut(format!("{error:#}"), text::MESSAGE));
    match &result {
        Ok(changed) => {
            let outcome = if *changed { "changed" } else { "unchanged" };
            tracing::info!(
                HOLDFAST_ACTION = id,
                HOLDFAST_INSTANCE = instance,
                HOLDFAST_CONTAINER = container,
                "{action}: {outcome}"
            );
        }
        Err(error) => {
            let known = agent.live().memory.failures.get(&id).is_some_and(|f| f.error == *error);
            if !known {
                let subject = (!instance.is_empty()).then_some(instance.as_str());
                agent.events.add("failed", subject, format!("{action}: {error}"));
            }
        }
    }
    let random = u32::from_ne_bytes(clock::random());
    {
        let mut live = agent.live();
        live.memory.end(&action, result.map(drop), clock::uptime(), random);
        live.ended += 1;
    }
    agent.wake.notify_one();
}

fn tell(agent: &Agent, notice: &Notice) {
    let (kind, name, message) = match notice {
        Notice::Ended(name, exit) => {
            let how = exit.map_or_else(|| "ended".to_owned(), |exit| exit.to_string());
            ("ended", name, format!("{name} {how}"))
        }
        Notice::Unhealthy(name, reason) => ("unhealthy", name, format!("{name} is unhealthy: {reason}")),
        Notice::Degraded(name, failures) => {
            ("degraded", name, format!("{name} failed {failures} times in a row; it is still tried"))
        }
        Notice::Recovered(name) => ("healthy", name, format!("{name} has been healthy for ten minutes")),
    };
    agent.events.add(kind, Some(&name.to_string()), message);
}
