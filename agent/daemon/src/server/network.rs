//! The box's own network: what it is, and changes of it that end by themselves unless confirmed.

use std::sync::Arc;

use agent_api::types::{ApplyQuery, Changed, NetworkSource, NetworkState};
use agent_core::desired::network_settings;
use agent_core::network::Whose;
use agent_core::network::choice::TRIAL;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Query, State};

use super::error::{Answer, Failure};
use super::{Peer, session, status};
use crate::agent::Agent;
use crate::network::ChangeError;
use crate::{clock, document, network};

/// How it is confirmed.
pub(super) const CONFIRM: &str = "`holdfast network confirm` over a new connection makes it last";

pub(super) async fn state(State(agent): State<Arc<Agent>>) -> Json<NetworkState> {
    let live = agent.live();
    let (_, whose) = network::in_force(&live, &live.document);
    let left = live.network_trial.as_ref().map(|trial| trial.until().saturating_sub(clock::uptime()) / 1000);
    Json(NetworkState {
        interfaces: status::interfaces(&live),
        dns: live.network.dns.iter().map(ToString::to_string).collect(),
        search: live.network.search.clone(),
        settings: match whose {
            Whose::Document => NetworkSource::Document,
            Whose::Confirmed => NetworkSource::Confirmed,
            Whose::Before => NetworkSource::Before,
            Whose::Tried => NetworkSource::Tried,
        },
        provider: !live.provider_network.is_empty(),
        confirmed: live.network_record.confirmed.is_some(),
        seconds_left: left,
    })
}

/// Tries the network settings of a document that has nothing else.
pub(super) async fn try_settings(
    State(agent): State<Arc<Agent>>,
    Query(query): Query<ApplyQuery>,
    body: Bytes,
) -> Answer<Json<Changed>> {
    super::data::needed(&agent)?;
    nothing_tried(&agent)?;
    let file = query.file.as_deref().unwrap_or("settings");
    let text = std::str::from_utf8(&body).map_err(|error| {
        Failure::invalid(format!("{file} is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    let parsed = recipes::user_data::network(file, text);
    let settings = parsed.map_err(|errors| {
        Failure::invalid(format!("{file} is not valid")).diagnostics(document::diagnostics(&errors))
    })?;
    let settings = network_settings(&settings);
    let (now, whose) = {
        let live = agent.live();
        network::in_force(&live, &live.document)
    };
    if now == settings && whose == Whose::Confirmed {
        return Ok(Json(Changed { changed: false, message: "these settings are in force already".into() }));
    }
    begin(&agent, Some(settings))
}

/// Makes what is tried last, if who asks came in by it.
pub(super) async fn confirm(
    State(agent): State<Arc<Agent>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
) -> Answer<Json<Changed>> {
    super::data::needed(&agent)?;
    let Some(since) = agent.live().network_trial.as_ref().map(|trial| trial.since) else {
        return Err(Failure::not_found("nothing is being tried").hint(
            "`holdfast network` shows what is in force, and `holdfast events` what became of a trial",
        ));
    };
    let began = peer.pid.and_then(session::began);
    if began.is_none_or(|began| began <= since) {
        return Err(Failure::not_allowed(
            "this connection is older than the change, so it does not show that the box can still be reached",
        )
        .hint("log in anew (without a shared connection: `-o ControlPath=none`) and confirm there"));
    }
    network::confirm(&agent).map_err(anyhow::Error::from)?;
    Ok(Json(Changed { changed: true, message: "the network settings stay".into() }))
}

/// Puts back what was before a trial; without one, tries the document's settings in place of those that were
/// confirmed by hand.
pub(super) async fn revert(State(agent): State<Arc<Agent>>) -> Answer<Json<Changed>> {
    if network::revert(&agent, "reverted by an admin").map_err(anyhow::Error::from)? {
        return Ok(Json(Changed { changed: true, message: "the network settings before are back".into() }));
    }
    if agent.live().network_record.confirmed.is_none() {
        let message = "nothing is being tried, and no settings were confirmed by hand".into();
        return Ok(Json(Changed { changed: false, message }));
    }
    super::data::needed(&agent)?;
    begin(&agent, None)
}

fn begin(
    agent: &Arc<Agent>,
    settings: Option<agent_core::network::NetworkSettings>,
) -> Answer<Json<Changed>> {
    let of = if settings.is_some() { "these settings" } else { "the document's settings" };
    network::begin_trial(agent, settings).map_err(anyhow::Error::from)?;
    let seconds = TRIAL / 1000;
    Ok(Json(Changed {
        changed: true,
        message: format!("{of} are tried for {seconds} seconds, then those before come back; {CONFIRM}"),
    }))
}

/// One change at a time: what was before the second would be what nobody has confirmed.
fn nothing_tried(agent: &Agent) -> Answer<()> {
    if agent.live().network_trial.is_some() { Err(being_tried()) } else { Ok(()) }
}

fn being_tried() -> Failure {
    Failure::not_allowed("a change of the network is being tried")
        .hint("`holdfast network confirm` or `holdfast network revert` ends that")
}

/// Why a change was not made.
pub(super) fn not_made(error: ChangeError) -> Failure {
    match error {
        ChangeError::BeingTried(_) => being_tried(),
        error => anyhow::Error::from(error).into(),
    }
}
