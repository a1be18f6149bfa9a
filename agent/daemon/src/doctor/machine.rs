//! Memory, what was killed for want of it, and the box's own units.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use agent_core::ContainerName;
use agent_core::doctor::{Kill, Machine, Unit};
use agent_system::systemd::ActiveState;

use crate::agent::{Agent, Live};
use crate::{journal, observe, server};

/// Units that the box cannot do without.
const OWN: [&str; 6] = [
    "dbus-broker.service",
    "holdfastd.service",
    "sshd.service",
    "systemd-journald.service",
    "systemd-timesyncd.service",
    "systemd-udevd.service",
];
/// Kills that are told of.
const KILLS: usize = 100;

/// All but what containers use.
pub(super) async fn look(agent: &Agent) -> Machine {
    let memory = server::memory();
    let pressure = std::fs::read_to_string("/proc/pressure/memory").unwrap_or_default();
    Machine {
        memory: memory.total,
        available: memory.available,
        stalled: stalled(&pressure),
        containers: BTreeMap::new(),
        kills: kills().await,
        units: units(agent).await,
    }
}

/// Bytes that containers use.
pub(super) fn containers(live: &Live) -> BTreeMap<String, u64> {
    let names = live.desired.instances.iter().flat_map(|(instance, wanted)| {
        wanted.containers.keys().map(move |name| ContainerName::new(instance, name))
    });
    names.filter_map(|name| Some((name.to_string(), server::of_container(&name)?))).collect()
}

/// When the image was made: all its files have that time.
pub(super) fn built() -> u64 {
    let made = std::fs::metadata("/usr/lib/os-release").map_or(0, |metadata| metadata.mtime());
    made.try_into().unwrap_or(0)
}

/// Of the kernel's pressure file, how much of the last minute some work stood still.
fn stalled(text: &str) -> u32 {
    let some = text.lines().find_map(|line| line.strip_prefix("some "));
    let average = some.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix("avg60=")));
    average.and_then(|number| number.parse::<f64>().ok()).map_or(0, |number| number as u32)
}

/// What the kernel says of the last day, if it killed anything at all since the start.
async fn kills() -> Vec<Kill> {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let killed = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    if killed.is_none_or(|number| number.trim() == "0") {
        return Vec::new();
    }
    let arguments = ["--dmesg", "--boot=0", "--since=-1d", "--output=cat", "--grep=oom-kill:constraint"];
    let said = journal::read(&arguments, KILLS, 1 << 20).await;
    let said = said.inspect_err(|error| tracing::warn!("the kernel's log: {error:#}")).unwrap_or_default();
    said.lines().filter_map(Kill::parse).collect()
}

/// Own units that failed or were started again. Containers are not among them.
async fn units(agent: &Agent) -> Vec<Unit> {
    let listed = agent.systemd.list(&["*"]).await;
    let listed = listed.inspect_err(|error| tracing::warn!("the units: {error}")).unwrap_or_default();
    let mut found = Vec::new();
    for unit in listed.into_iter().filter(|unit| observe::container_of(&unit.name).is_none()) {
        let failed = unit.active == ActiveState::Failed;
        let restarts = match OWN.contains(&unit.name.as_str()) {
            true => agent.systemd.restarts(&unit.name).await.ok().flatten().unwrap_or(0),
            false => 0,
        };
        if failed || restarts > 0 {
            found.push(Unit { name: unit.name, failed, restarts });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_that_of_the_last_minute() {
        let text = "some avg10=0.00 avg60=12.90 avg300=1.00 total=9\nfull avg10=0.00 avg60=50.00 avg300=0.00 total=0\n";
        assert_eq!(stalled(text), 12);
        assert_eq!(stalled(""), 0);
    }
}
