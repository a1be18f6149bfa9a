//! Interfaces, the way out, name servers, and ports that are published twice.

use super::{Facts, Finding, SETTLED, Severity};
use crate::container::Protocol;
use crate::network::{NicState, NicStatus};

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = facts.network.nics.iter().filter_map(|nic| interface(facts, nic)).collect();
    found.extend(way_out(facts));
    found.extend(name_servers(facts));
    found.extend(ports(facts));
    found
}

fn interface(facts: &Facts<'_>, nic: &NicStatus) -> Option<Finding> {
    let name = &nic.name;
    let settings = format!("[[box.interface]]\nmatch = {{ mac = \"{}\" }}", nic.mac);
    if let Some(problem) = &nic.problem {
        let message = format!("{name}: {problem}");
        return Some(
            Finding::new("interface-problem", Severity::Degraded, name, message)
                .act(format!("compare `[[box.interface]]` for {} with what the provider says", nic.mac)),
        );
    }
    if nic.state == NicState::NoCarrier {
        // The provider may have attached it for later.
        let message = format!("{name} ({}) has no carrier", nic.mac);
        return Some(
            Finding::new("interface-no-carrier", Severity::Notice, name, message)
                .act("attach it to a network at the provider, or detach it"),
        );
    }
    let without = nic.addresses.is_empty() && facts.now.uptime >= SETTLED;
    without.then(|| {
        let message = format!("{name} ({}) has no address: nothing answers DHCP there", nic.mac);
        let severity = if facts.network.online() { Severity::Notice } else { Severity::Degraded };
        Finding::new("interface-no-address", severity, name, message)
            .write(
                format!("{settings}\naddresses = [\"ADDRESS/PREFIX\"]\nroutes = [{{ to = \"default\", via = \"GATEWAY\" }}]"),
                "gives it the address that the provider has for it",
            )
    })
}

fn way_out(facts: &Facts<'_>) -> Option<Finding> {
    let nics = &facts.network.nics;
    if nics.iter().any(|nic| !nic.gateways.is_empty()) || facts.now.uptime < SETTLED {
        return None;
    }
    let finding = if nics.is_empty() {
        let message = "the box has no network interface";
        Finding::new("network-no-interface", Severity::Failed, "network", message)
            .act("attach one at the provider")
    } else if nics.iter().all(|nic| nic.addresses.is_empty()) {
        let message = "no network interface has an address";
        Finding::new("network-no-address", Severity::Failed, "network", message)
            .run("holdfast network show", "shows each interface, and how it comes by an address")
            .write(
                "[[box.interface]]\nmatch = { name = \"NAME\" }\naddresses = [\"ADDRESS/PREFIX\"]\n\
                 routes = [{ to = \"default\", via = \"GATEWAY\" }]",
                "gives one the address that the provider has for it",
            )
            .act("or attach one to a network at the provider")
    } else {
        let message = "there is no default route: nothing beyond the box's own networks is reached";
        Finding::new("network-no-default-route", Severity::Degraded, "network", message).write(
            "[[box.interface]]\nmatch = { name = \"NAME\" }\nroutes = [{ to = \"default\", via = \"GATEWAY\" }]",
            "names the way out, where DHCP gives none",
        )
    };
    Some(finding)
}

fn name_servers(facts: &Facts<'_>) -> Option<Finding> {
    let servers = &facts.network.dns;
    let lines = "[box]\ndns = [\"9.9.9.9\", \"2620:fe::fe\"]";
    if servers.is_empty() && facts.now.uptime >= SETTLED {
        let message = "the box knows no name server";
        return Some(
            Finding::new("name-servers-none", Severity::Degraded, "name servers", message)
                .write(lines, "names servers that the box can reach"),
        );
    }
    (facts.seen.resolved == Some(false)).then(|| {
        let names: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let message = format!("no name server answers: {}", names.join(", "));
        Finding::new("name-servers-silent", Severity::Degraded, "name servers", message)
            .write(lines, "names servers that the box can reach")
            .act("see that the provider's packet filter lets UDP port 53 out")
    })
}

/// Ports that two containers publish: the document is checked for that, but a port may be known only now.
fn ports(facts: &Facts<'_>) -> Vec<Finding> {
    let instances = facts.desired.instances.iter();
    let all: Vec<_> = instances
        .flat_map(|(instance, wanted)| {
            let containers = wanted.containers.iter();
            containers.flat_map(move |(name, container)| {
                container.ports.iter().map(move |port| (format!("{instance}.{name}"), port))
            })
        })
        .collect();
    let mut found = Vec::new();
    for (at, (owner, port)) in all.iter().enumerate() {
        let same = |other: &&(String, &crate::container::Port)| {
            let (_, other) = other;
            let apart = port.address.zip(other.address).is_some_and(|(a, b)| a != b);
            other.host == port.host && other.protocol == port.protocol && !apart
        };
        let Some((other, _)) = all[..at].iter().find(same) else { continue };
        let protocol = match port.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let message = format!("{owner} and {other} both publish port {}/{protocol} of the box", port.host);
        let container = owner.split_once('.').map_or("", |(_, container)| container);
        found.push(Finding::new("port-collides", Severity::Degraded, owner, message).write(
            format!("[recipe.containers.{container}]\nports = [\"PORT:{}\"]", port.container),
            "publishes it on another port",
        ));
    }
    found
}
