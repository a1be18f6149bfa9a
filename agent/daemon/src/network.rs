//! Changes of the box's own network that cannot lock its owner out.
//!
//! What is tried is in force for two minutes and then gives way to what was before, unless someone confirms it
//! by a connection made since. It is kept in `/run` alone, so that a restart of the agent changes nothing and a
//! restart of the box, or a power cut, ends it. The network is told at once, and of the end by a timer of its own:
//! neither waits for a round. Deliberately absent: whether the gateway of settings answers; that is found out by the
//! network itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_core::desired::network_settings;
use agent_core::network::choice::{self, TRIAL};
use agent_core::network::{HostConfig, NetworkRecord, NetworkSettings, NetworkTrial, Whose};
use agent_core::state::{decode, encode};
use agent_system::files;

use crate::agent::{Agent, Live};
use crate::clock;
use crate::document::Document;
use crate::records::RecordError;

/// What is being tried, in this boot.
const TRIAL_FILE: &str = "/run/holdfast/network/trial.json";
/// The longest text of it that is read.
const LIMIT: u64 = 1 << 20;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The choice could not be kept.
    #[error("the settings were not kept")]
    Record(#[from] RecordError),
    /// The trial could not be kept, so a restart of the agent would make it last.
    #[error("the trial was not kept")]
    Trial(#[from] files::FileError),
    /// Another began meanwhile.
    #[error("the document's network settings cannot be tried now")]
    BeingTried(#[from] choice::BeingTried),
}

/// Takes up what is on record, and what was being tried before the agent started anew.
pub(crate) fn restore(agent: &Arc<Agent>) {
    let record = agent.records.network().unwrap_or_else(|error| {
        agent.events.add(
            "state-damaged",
            None,
            format!("{error}; the document's network settings are in force"),
        );
        None
    });
    let text = files::read_text(TRIAL_FILE, LIMIT).ok();
    let mut live = agent.live();
    live.network_record = record.unwrap_or_default();
    live.network_trial = text.and_then(|text| decode(&text).ok());
    if let Some(trial) = &live.network_trial {
        end_in_time(agent, trial);
    }
}

/// The settings that are in force where this is the document, and whose they are.
pub(crate) fn in_force(live: &Live, document: &Document) -> (NetworkSettings, Whose) {
    let given = network_settings(&document.settings);
    let (settings, whose) = choice::in_force(&live.network_record, live.network_trial.as_ref(), &given);
    (settings.clone(), whose)
}

/// All that says what the network should be where this is the document.
pub(crate) fn config(live: &Live, document: &Document) -> HostConfig {
    let (owner, whose) = in_force(live, document);
    HostConfig { owner, provider: live.provider_network.clone(), tried: whose == Whose::Tried }
}

/// Tells the network what it should be now; says whether that is something else. That it is so, or was given up, is
/// told by the network itself.
pub(crate) fn give(agent: &Agent) -> bool {
    let mut live = agent.live();
    let config = config(&live, &live.document);
    agent.network.configure(config.clone());
    live.network_given.replace(config.clone()).is_none_or(|before| before != config)
}

/// Tries settings, or with none those of the document.
pub(crate) fn begin_trial(agent: &Arc<Agent>, settings: Option<NetworkSettings>) -> Result<(), ChangeError> {
    let trial = NetworkTrial { settings, since: clock::uptime() };
    if let Some(folder) = Path::new(TRIAL_FILE).parent() {
        files::create_dir_all(folder, files::Access::mode(0o755))?;
    }
    files::write_atomic(TRIAL_FILE, encode(&trial), 0o600)?;
    end_in_time(agent, &trial);
    agent.live().network_trial = Some(trial);
    give(agent);
    agent.events.add(
        "network-tried",
        None,
        format!("network settings are tried for {} seconds, and go again unless confirmed", TRIAL / 1000),
    );
    agent.wake.notify_one();
    Ok(())
}

/// What an accepted document says of the network is to be tried: until that is confirmed, what is in force now
/// stands. To be called before the document is accepted, so that a power cut between the two changes nothing, nor does
/// a document that cannot be kept: whether it was, the disk may not be able to say, so the record is not taken back.
/// Says whether there is anything to try.
pub(crate) fn hold_back(agent: &Agent, document: &Document) -> Result<bool, ChangeError> {
    let given = network_settings(&document.settings);
    let record = {
        let live = agent.live();
        let before = network_settings(&live.document.settings);
        choice::hold_back(&live.network_record, live.network_trial.as_ref(), &before, &given)?
    };
    let Some(record) = record else { return Ok(false) };
    keep(agent, record)?;
    Ok(true)
}

/// Makes what is tried last. Says whether anything was being tried.
pub(crate) fn confirm(agent: &Agent) -> Result<bool, ChangeError> {
    let record = {
        let live = agent.live();
        let Some(trial) = &live.network_trial else { return Ok(false) };
        choice::confirmed(&live.network_record, trial, &network_settings(&live.document.settings))
    };
    keep(agent, record)?;
    agent.live().network_trial = None;
    give(agent);
    files::remove(TRIAL_FILE)?;
    agent.events.add("network-confirmed", None, "the network settings that were tried stay");
    agent.wake.notify_one();
    Ok(true)
}

/// Puts back what was before the trial. Says whether anything was being tried.
pub(crate) fn revert(agent: &Agent, why: &str) -> Result<bool, ChangeError> {
    if agent.live().network_trial.take().is_none() {
        return Ok(false);
    }
    give(agent);
    let removed = files::remove(TRIAL_FILE);
    agent.events.add("network-reverted", None, format!("{why}: the network settings before are back"));
    agent.wake.notify_one();
    removed?;
    Ok(true)
}

/// Ends a trial when its time is over, if it has not ended by then.
fn end_in_time(agent: &Arc<Agent>, trial: &NetworkTrial) {
    let (agent, trial) = (agent.clone(), trial.clone());
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(trial.until().saturating_sub(clock::uptime()))).await;
        if agent.live().network_trial.as_ref() == Some(&trial) {
            end(&agent);
        }
    });
}

fn end(agent: &Agent) {
    let why = format!("nobody confirmed them within {} seconds", TRIAL / 1000);
    if let Err(error) = revert(agent, &why) {
        tracing::error!("a file in /run stays: {error}");
    }
}

/// The box is another one now: what was confirmed for the one before would be its addresses.
pub(crate) fn forget(agent: &Agent) {
    if agent.live().network_record == NetworkRecord::default() {
        return;
    }
    match keep(agent, NetworkRecord::default()) {
        Ok(()) => {
            agent.events.add("network-reverted", None, "settings confirmed for the box before are dropped")
        }
        Err(error) => tracing::error!("settings of the box before stay: {}", crate::user_data::chain(&error)),
    }
}

fn keep(agent: &Agent, record: NetworkRecord) -> Result<(), ChangeError> {
    agent.records.put_network(&record)?;
    agent.live().network_record = record;
    Ok(())
}
