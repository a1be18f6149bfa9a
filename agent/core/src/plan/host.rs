//! The box itself.

use super::Planner;
use crate::action::Action;
use crate::desired::Desired;
use crate::fingerprint::fingerprint;
use crate::network::{InstanceNetwork, ruleset};
use crate::observed::Observed;

pub(super) fn plan(p: &mut Planner<'_>) {
    let (host, observed) = (&p.desired.host, p.observed);
    if observed.admin_keys.as_ref() != Some(&host.admin_keys) {
        p.push(Action::WriteAdminKeys, difference(observed.admin_keys.is_none(), "keys"), vec![]);
    }
    if observed.network.as_ref() != Some(&host.network) {
        p.push(Action::ConfigureNetwork, difference(observed.network.is_none(), "settings"), vec![]);
    }
    if !host.hostname.is_empty() && observed.hostname != host.hostname {
        p.push(Action::SetHostname(host.hostname.clone()), format!("it is {}", observed.hostname), vec![]);
    }
    if observed.time_servers.as_ref() != Some(&host.time_servers) {
        p.push(Action::ConfigureTime, difference(observed.time_servers.is_none(), "servers"), vec![]);
    }
    let (_, wanted) = firewall(p.desired, observed);
    // What runs is reached as before, though nobody knows any more what it is.
    let unknown = p.desired.lost && observed.containers.values().any(|found| !found.unit.is_down());
    if observed.firewall.as_ref() != Some(&wanted) && !unknown {
        p.push(Action::ApplyFirewall, difference(observed.firewall.is_none(), "rules"), vec![]);
    }
}

fn difference(first: bool, what: &str) -> String {
    if first { "not done since the start".into() } else { format!("the {what} changed") }
}

/// The ruleset as it should be, and its fingerprint. Instances that have no addresses yet are not in it.
pub fn firewall(desired: &Desired, observed: &Observed) -> (String, String) {
    let networks: Vec<InstanceNetwork> = desired
        .instances
        .iter()
        .filter_map(|(name, wanted)| {
            let record = observed.records.get(name)?;
            let ports = wanted.containers.iter().map(|(c, container)| (c.as_str(), &container.ports[..]));
            Some(InstanceNetwork::new(&record.allocation, ports))
        })
        .collect();
    let text = ruleset(&networks);
    let print = fingerprint(&text);
    (text, print)
}
