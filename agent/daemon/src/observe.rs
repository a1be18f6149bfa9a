//! Reads what is: units, bundles, writable layers, networks, images, records.

use std::collections::BTreeMap;
use std::path::Path;

use agent_core::observed::{Exit, ObservedContainer, UnitState};
use agent_core::{ContainerName, Observed};
use agent_system::files;
use agent_system::systemd::{self, ActiveState, UnitStatus};
use anyhow::Context;

use crate::agent::{Agent, bundles};
use crate::images;

/// Names of our containers' units.
pub(crate) const UNITS: &str = "holdfast-*.*.service";
/// Fingerprint of the configuration that a bundle or a writable layer was made from.
pub(crate) const FINGERPRINT: &str = "fingerprint";
/// Says that a container was started from its bundle.
pub(crate) const STARTED: &str = "started";
/// A bundle's hosts file.
pub(crate) const HOSTS: &str = "hosts";
/// A bundle's resolver file.
pub(crate) const RESOLVER: &str = "resolv.conf";

/// Everything a plan is made of.
pub(crate) async fn observe(agent: &Agent) -> anyhow::Result<Observed> {
    let (records, mut complaints) = agent.records.instances();
    let (volumes, more) = agent.records.volumes();
    complaints.extend(more);
    let (secrets, more) = agent.records.all_secrets();
    complaints.extend(more);
    let networks = agent.networks.lock().await.observe().await;
    let networks = networks.context("failed to read the instances' networks")?;
    let mut containers = folders(agent);
    // What an earlier agent left may be half made: only what this one has finished counts as there.
    let (bridges, attached) = {
        let live = agent.live();
        (&networks.bridges & &live.bridges, live.attached.clone())
    };
    for name in networks.containers {
        containers.entry(name.clone()).or_default().attached = attached.contains(&name);
    }
    for (name, unit) in units(agent).await? {
        containers.entry(name).or_default().unit = unit;
    }
    let images = images::observe(agent).await?;
    complaints.extend(images.complaint);
    let mut live = agent.live();
    live.complaints = complaints;
    Ok(Observed {
        boot: agent.boot.id.clone(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        admin_keys: admin_keys(),
        time_servers: live.time_servers.clone(),
        network: live.network_given.clone(),
        resolvers: live.network.dns.clone(),
        firewall: live.firewall.clone(),
        images: images.digests,
        references: images.references,
        fetched: images.fetched,
        downloads: images.downloads,
        embedded: images.embedded,
        records,
        volumes,
        secrets: secrets.into_iter().map(|(i, values)| (i, values.into_keys().collect())).collect(),
        containers,
        bridges,
    })
}

fn admin_keys() -> Option<Vec<String>> {
    let text = files::read_text(image_layout::paths::ADMIN_KEYS, 1 << 20).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

/// Containers by their bundles and writable layers.
fn folders(agent: &Agent) -> BTreeMap<ContainerName, ObservedContainer> {
    let mut found: BTreeMap<ContainerName, ObservedContainer> = BTreeMap::new();
    for name in names(&bundles()) {
        let bundle = agent.bundle(&name);
        let entry = found.entry(name).or_default();
        entry.bundle = small(&bundle.join(FINGERPRINT));
        entry.hosts = small(&bundle.join(HOSTS));
        entry.resolver = small(&bundle.join(RESOLVER));
        entry.started = bundle.join(STARTED).exists();
    }
    for name in names(&agent.records.path("containers")) {
        let layer = small(&agent.layer(&name).join(FINGERPRINT)).unwrap_or_default();
        found.entry(name).or_default().layer = Some(layer);
    }
    found
}

/// Containers that have an entry in a folder.
pub(crate) fn names(folder: &Path) -> Vec<ContainerName> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| ContainerName::parse(entry.file_name().to_str()?)).collect()
}

fn small(path: &Path) -> Option<String> {
    files::read_text(path, 1 << 20).ok()
}

/// Our containers' units.
async fn units(agent: &Agent) -> anyhow::Result<BTreeMap<ContainerName, UnitState>> {
    let mut found = BTreeMap::new();
    for listed in agent.systemd.list(&[UNITS]).await.context("failed to list the units")? {
        let Some(name) = container_of(&listed.name) else { continue };
        let status = agent.systemd.status(&listed.name).await?;
        let state = status.map_or(UnitState::Absent, |status| state(&status));
        found.insert(name, state);
    }
    Ok(found)
}

/// The container that a unit runs, if it is one of ours.
pub(crate) fn container_of(unit: &str) -> Option<ContainerName> {
    ContainerName::parse(unit.strip_prefix("holdfast-")?.strip_suffix(".service")?)
}

fn state(status: &UnitStatus) -> UnitState {
    match status.active {
        ActiveState::Active | ActiveState::Reloading => {
            UnitState::Running { pid: status.main_pid, since: status.active_since / 1000 }
        }
        ActiveState::Activating => UnitState::Starting,
        ActiveState::Deactivating => UnitState::Stopping,
        ActiveState::Inactive | ActiveState::Failed => match exit(status) {
            Some(exit) => UnitState::Ended(exit),
            None => UnitState::Absent,
        },
    }
}

/// How a unit ended. The shim ends with 128 + n for a container that signal n ended.
pub(crate) fn exit(status: &UnitStatus) -> Option<Exit> {
    if status.result == "oom-kill" {
        return Some(Exit::OutOfMemory);
    }
    status.exit.map(|exit| match exit {
        systemd::Exit::Code(code) if code > 128 && code < 128 + 65 => Exit::Signal(code - 128),
        systemd::Exit::Code(code) => Exit::Code(code),
        systemd::Exit::Signal(signal) => Exit::Signal(signal),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_containers_are_told_from_others() {
        let check = |unit: &str, expect: Option<&str>| {
            assert_eq!(container_of(unit).map(|n| n.to_string()).as_deref(), expect, "{unit}");
        };
        check("holdfast-site.web.service", Some("site.web"));
        check("holdfast-fetch-0123456789abcdef.service", None);
        check("holdfast-site.web.scope", None);
        check("sshd.service", None);
    }
}
