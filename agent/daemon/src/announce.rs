//! Tells the consoles how the box stands, and the boot loader once it is healthy.

use agent_api::types::Health;
use agent_system::files;
use image_layout::paths;

use crate::agent::{Agent, Live};
use crate::server::{health, host_key_fingerprints};
use crate::{slots, update};

/// After each round and each change of the network.
pub(crate) fn state(agent: &Agent) {
    let (health, problems, addresses, name) = {
        let live = agent.live();
        let (health, problems) = health(agent, &live);
        (health, problems, addresses(&live), live.observed.hostname.clone())
    };
    if !addresses.is_empty() {
        let ready = format!("ready addresses={} hostname={name}", addresses.join(","));
        agent.console.say("ready", &ready);
        agent.console.say("login", &format!("log in with: ssh admin@{}", addresses[0]));
    }
    host_keys(agent);
    match problems.first() {
        Some(problem) => {
            agent.console.say("error", &format!("error {problem}"));
            if let Some(address) = addresses.first() {
                agent.console.say("doctor", &format!("what to do: ssh admin@{address} doctor"));
            }
        }
        None => {
            agent.console.forget("error");
            agent.console.forget("doctor");
        }
    }
    let word = match health {
        Health::Healthy => "healthy",
        Health::Settling => "settling",
        Health::Degraded => "degraded",
    };
    agent.console.say("state", &format!("state {word}"));
    // A version on trial is judged by what worked before it.
    let judged = agent.updates.record().trial.is_none() && !agent.updates.unread();
    if health == Health::Healthy && !addresses.is_empty() && judged {
        confirm_slot(agent);
    }
}

/// The host keys, for the first login.
pub(crate) fn host_keys(agent: &Agent) {
    for fingerprint in host_key_fingerprints() {
        agent.console.say("host-key", &format!("host-key {fingerprint}"));
    }
}

/// Once a boot: this slot has proved itself.
fn confirm_slot(agent: &Agent) {
    {
        let mut live = agent.live();
        if std::mem::replace(&mut live.slot_confirmed, true) {
            return;
        }
    }
    // What was begun as a trial of which nothing is on record ends here too.
    let proved = slots::healthy(agent.boot.slot()).and_then(|()| Ok(files::remove(paths::TRIAL).map(drop)?));
    match proved {
        Ok(()) => update::settle_state(agent),
        Err(error) => tracing::warn!("the slot was not marked as good: {error:#}"),
    }
}

/// Addresses of the box, without prefix lengths, IPv4 first.
fn addresses(live: &Live) -> Vec<String> {
    let all = live.network.nics.iter().flat_map(|nic| &nic.addresses).map(|cidr| cidr.address());
    let mut all: Vec<std::net::IpAddr> = all.filter(|address| !is_link_local(*address)).collect();
    all.sort_by_key(|address| address.is_ipv6());
    all.iter().map(ToString::to_string).collect()
}

fn is_link_local(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(v4) => v4.is_link_local(),
        std::net::IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
