//! Asking the provider's metadata service, in the background and for as long as it takes.
//!
//! It is asked where the firmware names a provider that has one and the local channels left something open. A
//! service that is silent, half filled or offers nothing is asked again, ever more rarely, and at once when the
//! network changes; the box waits for none of it, and says what it lacks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_metadata::Offer;
use agent_metadata::service::{self, Platform};

use crate::agent::Agent;
use crate::user_data;

/// The pause after the first failure; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(2);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(300);
/// The network changes in bursts, of which one is enough to ask again.
const BURST: Duration = Duration::from_secs(1);

/// What the local channels left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lacks {
    /// All of it.
    Everything,
    /// The network alone, of the box that is called so.
    Network(Option<String>),
}

/// What is still to be asked of a service. Nothing of what a local channel offers is asked for again: channels
/// are not mixed, and a network is taken only with the same identity.
pub(crate) fn lacks(offer: Option<&Offer>) -> Option<Lacks> {
    match offer {
        None => Some(Lacks::Everything),
        Some(offer) if offer.user_data.is_none() && offer.instance_id.is_none() => Some(Lacks::Everything),
        Some(offer) if offer.network.is_none() => Some(Lacks::Network(offer.instance_id.clone())),
        Some(_) => None,
    }
}

/// Asks until it has answered, and acts on the answer.
pub(crate) async fn ask(agent: Arc<Agent>, platform: Platform, lacks: Lacks) {
    let mut network = agent.network.status();
    let mut pause = FIRST;
    let offer = loop {
        let problem = match service::ask(platform, &addresses(&agent, platform)).await {
            Ok(Some(offer)) => break offer,
            Ok(None) => "the metadata service offers nothing".to_owned(),
            Err(error) => user_data::chain(&error),
        };
        tracing::info!("{problem}; it is asked again in {} seconds", pause.as_secs());
        agent.live().service_note = Some(format!("{problem}; it is asked again"));
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST),
            changed = network.changed() => match changed {
                Ok(()) => tokio::time::sleep(BURST).await,
                Err(_) => return,
            }
        }
    };
    agent.live().service_note = None;
    match lacks {
        Lacks::Everything => user_data::act(&agent, offer).await,
        Lacks::Network(id) if id.is_none() || id == offer.instance_id => {
            let id = id.or(offer.instance_id);
            user_data::take_network(&agent, id.as_deref(), offer.network.as_ref());
            agent.wake.notify_one();
        }
        Lacks::Network(id) => {
            let note = format!(
                "the metadata service speaks of another box, {:?}, not of {:?}; it is not heard",
                offer.instance_id.unwrap_or_default(),
                id.unwrap_or_default()
            );
            agent.live().notes.push(note);
        }
    }
}

/// Where the service may be, by the NICs that are there now.
fn addresses(agent: &Agent, platform: Platform) -> Vec<SocketAddr> {
    let live = agent.live();
    let nics = live.network.nics.iter();
    let indexes = nics.filter_map(|nic| nix::net::if_::if_nametoindex(nic.name.as_str()).ok());
    platform.addresses(&indexes.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(files: &[(&str, &str)]) -> Option<Offer> {
        let folder = tempfile::tempdir().unwrap();
        let latest = folder.path().join("openstack/latest");
        std::fs::create_dir_all(&latest).unwrap();
        for (name, text) in files {
            std::fs::write(latest.join(name), text).unwrap();
        }
        let sources =
            agent_metadata::Sources { config_drive: Some(folder.path().into()), ..Default::default() };
        agent_metadata::find(&sources).offer
    }

    #[test]
    fn only_what_no_local_channel_offers_is_asked_for() {
        let identity = ("meta_data.json", r#"{"uuid": "i-1"}"#);
        let links = r#"{"links": [{"id": "a", "type": "phy", "ethernet_mac_address": "02:00:00:00:00:01"}], "networks": []}"#;
        let check = |files: &[(&str, &str)], expect: Option<Lacks>| {
            assert_eq!(lacks(offer(files).as_ref()), expect, "{files:?}");
        };
        check(&[], Some(Lacks::Everything));
        check(&[("meta_data.json", "{}")], Some(Lacks::Everything));
        check(&[identity], Some(Lacks::Network(Some("i-1".into()))));
        check(&[("user_data", "format = 1")], Some(Lacks::Network(None)));
        check(&[identity, ("network_data.json", links)], None);
        check(&[identity, ("network_data.json", "{")], Some(Lacks::Network(Some("i-1".into()))));
    }
}
