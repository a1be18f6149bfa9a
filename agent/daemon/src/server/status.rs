//! The state of the box, put together from the last round and from what the kernel says now.

use std::collections::BTreeMap;

use agent_api::types::{
    Container, ContainerState, Exit, Health, Instance, Interface, PublishedPort, Slots, Status, Step,
    StepState, UserDataStatus,
};
use agent_core::container::{Port, Protocol, Userns};
use agent_core::desired::{ContainerDesired, InstanceDesired};
use agent_core::health::Verdict;
use agent_core::network::{AddressSource, NicState};
use agent_core::observed::{self, UnitState};
use agent_core::standing::{self, Standing};
use agent_core::{Action, ContainerName, plan};
use image_layout::paths;

use super::measure;
use crate::agent::{Agent, Live};
use crate::{clock, host_keys, slots, update};

/// All of it.
pub(crate) async fn status(agent: &Agent) -> Status {
    let time = measure::time(agent).await;
    let memory = tokio::task::spawn_blocking(measure::memory).await;
    let memory = memory.unwrap_or_else(|_| measure::memory());
    let slots = slots::status(agent);
    let update = update::status(agent);
    let live = agent.live();
    let (health, problems) = health(agent, &live);
    Status {
        health,
        problems,
        warnings: warnings(agent, &live),
        hostname: live.observed.hostname.clone(),
        version: image_version(),
        uptime: clock::uptime() / 1000,
        user_data: UserDataStatus {
            channel: live.channel.clone(),
            generation: live.generation,
            errors: live.errors.clone(),
            notes: live.notes.iter().chain(&live.service_note).cloned().collect(),
        },
        instances: live.desired.instances.values().map(|wanted| instance(&live, wanted)).collect(),
        containers: containers(&live),
        interfaces: interfaces(&live),
        ports: ports(&live),
        time,
        disk: measure::disk(),
        memory,
        slots: slots.unwrap_or_else(no_slots),
        update,
        host_keys: host_key_fingerprints(),
    }
}

fn no_slots() -> Slots {
    Slots { running: String::new(), next: String::new(), good: String::new(), tries: BTreeMap::new() }
}

/// Fingerprints of the host keys in use.
pub(crate) fn host_key_fingerprints() -> Vec<String> {
    host_keys::fingerprints(paths::IDENTITY.as_ref())
}

/// The image's version, from `os-release`.
pub(crate) fn image_version() -> String {
    let text = std::fs::read_to_string("/usr/lib/os-release").unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    value("IMAGE_VERSION").or_else(|| value("VERSION_ID")).unwrap_or_default()
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What it is wrong with.
    pub(crate) of: Of,
    /// One sentence.
    pub(crate) text: String,
}

/// What something is wrong with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// An instance.
    Instance(String),
    /// A part of the box: `data`, `user-data`, `state`, `network`, a network interface, or an action by its id.
    Part(String),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.of {
            Of::Instance(name) => write!(f, "{name}: {}", self.text),
            Of::Part(_) => f.write_str(&self.text),
        }
    }
}

/// The worst of everything, and what is wrong.
pub(crate) fn health(agent: &Agent, live: &Live) -> (Health, Vec<String>) {
    let problems = problems(agent, live);
    let settling = !live.memory.running.is_empty()
        || !live.plan.is_empty()
        || live.desired.instances.values().any(|wanted| {
            let standing = standing::instance(wanted, &live.observed, &live.memory, &live.plan);
            matches!(standing, Standing::Settling(_))
        });
    let health = match (problems.is_empty(), settling) {
        (false, _) => Health::Degraded,
        (true, true) => Health::Settling,
        (true, false) => Health::Healthy,
    };
    (health, problems.iter().map(ToString::to_string).collect())
}

/// All that makes the box degraded.
pub(crate) fn problems(agent: &Agent, live: &Live) -> Vec<Problem> {
    let part = |part: &str, text: String| Problem { of: Of::Part(part.to_owned()), text };
    let mut problems = Vec::new();
    let data = agent.boot.data_problem().or_else(|| agent.data_failed.problem());
    problems.extend(data.map(|reason| part("data", reason)));
    problems.extend(live.network.unreachable(clock::uptime()).map(|reason| part("network", reason)));
    problems.extend(live.full.iter().map(|text| part("data", text.clone())));
    problems.extend(update::damage(agent).into_iter().map(|reason| part("slots", reason)));
    let invalid = live.errors.iter().map(|error| format!("user-data is not valid: {}", place(error)));
    problems.extend(invalid.chain(live.unusable.iter().cloned()).map(|text| part("user-data", text)));
    problems.extend(live.complaints.iter().map(|text| part("state", text.clone())));
    for nic in &live.network.nics {
        problems.extend(nic.problem.iter().map(|text| part(&nic.name, format!("{}: {text}", nic.name))));
    }
    let of_box = live.memory.failures.values().filter(|failure| {
        let action = &failure.action;
        action.instance().is_none()
            && !matches!(action, Action::FetchImage { .. } | Action::AdoptImage { .. })
    });
    problems.extend(of_box.map(|failure| {
        let action = &failure.action;
        part(&action.subject(), format!("{action}: {}", failure.error))
    }));
    for wanted in live.desired.instances.values() {
        let standing = standing::instance(wanted, &live.observed, &live.memory, &live.plan);
        if let Standing::Degraded(text) = standing {
            problems.push(Problem { of: Of::Instance(wanted.name.clone()), text });
        }
    }
    problems
}

fn place(error: &agent_api::types::Diagnostic) -> String {
    let place = match error.line {
        0 => error.file.clone(),
        line => format!("{}:{line}:{}", error.file, error.column),
    };
    let hint = error.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{place}: {}{hint}", error.message)
}

/// How an instance stands; settling when it is not listed yet.
pub(super) fn instance_health(live: &Live, name: &str) -> Health {
    live.desired.instances.get(name).map_or(Health::Settling, |wanted| instance(live, wanted).health)
}

fn instance(live: &Live, wanted: &InstanceDesired) -> Instance {
    let standing = standing::instance(wanted, &live.observed, &live.memory, &live.plan);
    let (health, reason) = match standing {
        Standing::Healthy => (Health::Healthy, None),
        Standing::Settling(reason) => (Health::Settling, Some(reason)),
        Standing::Degraded(reason) => (Health::Degraded, Some(reason)),
    };
    let steps = wanted.steps.keys().map(|name| step(live, wanted, name)).collect();
    Instance { name: wanted.name.clone(), recipe: wanted.recipe.clone(), health, reason, steps }
}

fn step(live: &Live, wanted: &InstanceDesired, name: &str) -> Step {
    let id = Action::RunStep { instance: wanted.name.clone(), step: name.to_owned() }.id();
    let failure = live.memory.failures.get(&id);
    let step = &wanted.steps[name];
    let record = live.observed.records.get(&wanted.name);
    let done = record.is_some_and(|r| plan::step_is_done(wanted, name, step, r, &live.observed.boot));
    let state = if done {
        StepState::Succeeded
    } else if live.memory.running.contains_key(&id) {
        StepState::Running
    } else if failure.is_some_and(|failure| failure.healing.failures > step.retries) {
        StepState::Failed
    } else {
        StepState::Pending
    };
    Step { name: name.to_owned(), state, reason: failure.filter(|_| !done).map(|f| f.error.clone()) }
}

/// Containers of all instances.
pub(super) fn containers(live: &Live) -> Vec<Container> {
    let mut all = Vec::new();
    for wanted in live.desired.instances.values() {
        for (name, desired) in &wanted.containers {
            all.push(container(live, wanted, name, desired));
        }
    }
    all
}

fn container(live: &Live, wanted: &InstanceDesired, name: &str, desired: &ContainerDesired) -> Container {
    let id = ContainerName::new(&wanted.name, name);
    let unit = live.observed.containers.get(&id).map(|c| c.unit.clone()).unwrap_or_default();
    let record = live.observed.records.get(&wanted.name);
    let remembered = live.memory.containers.get(&id);
    let (pid, since) = match unit {
        UnitState::Running { pid, since } => (pid, Some(since)),
        _ => (None, None),
    };
    let addresses = record.and_then(|r| r.allocation.addresses.get(name));
    Container {
        state: state(live, &id, desired, &unit),
        reason: match standing::container(wanted, name, &live.observed, &live.memory) {
            Standing::Healthy => None,
            Standing::Settling(reason) | Standing::Degraded(reason) => {
                Some(waits(live, &id).unwrap_or(reason))
            }
        },
        image: desired.image.clone(),
        digest: record.and_then(|r| r.pins.get(&desired.image)).map(|pin| pin.digest.clone()),
        pid: pid.map(|pid| first_process(&id).unwrap_or(pid)),
        uptime: since.map(|since| clock::uptime().saturating_sub(since) / 1000),
        restarts: remembered.map_or(0, |m| m.healing.failures),
        last_exit: remembered.and_then(|m| m.last_exit).map(exit),
        memory: measure::of_container(&id),
        addresses: addresses.map(|(v4, v6)| vec![v4.to_string(), v6.to_string()]).unwrap_or_default(),
        ports: desired.ports.iter().map(port_text).collect(),
        name: id.to_string(),
    }
}

/// What the start of a container waits for, if it does.
fn waits(live: &Live, id: &ContainerName) -> Option<String> {
    let start = Action::StartContainer(id.clone()).id();
    let planned = live.plan.actions.iter().find(|planned| planned.action.id() == start)?;
    (!planned.waits.is_empty()).then(|| format!("waits for {}", planned.waits.join(", ")))
}

/// The container's own first process on the host.
fn first_process(id: &ContainerName) -> Option<u32> {
    let path = format!("/sys/fs/cgroup{}/ctr/cgroup.procs", id.cgroup());
    std::fs::read_to_string(path).ok()?.lines().filter_map(|line| line.parse().ok()).min()
}

fn state(live: &Live, id: &ContainerName, desired: &ContainerDesired, unit: &UnitState) -> ContainerState {
    match unit {
        UnitState::Running { .. } => match live.memory.verdict(id, desired) {
            _ if desired.health.is_none() => ContainerState::Running,
            Some(Verdict::Healthy) => ContainerState::Healthy,
            Some(Verdict::Unhealthy) => ContainerState::Unhealthy,
            Some(Verdict::Starting) | None => ContainerState::Starting,
        },
        UnitState::Starting => ContainerState::Starting,
        UnitState::Stopping => ContainerState::Restarting,
        UnitState::Absent | UnitState::Ended(_) => {
            let planned = live.plan.actions.iter().any(|p| p.action == Action::StartContainer(id.clone()));
            let started = live.observed.containers.get(id).is_some_and(|c| c.started);
            match (planned, started) {
                (true, true) => ContainerState::Restarting,
                (false, true) => ContainerState::Exited,
                _ => ContainerState::Waiting,
            }
        }
    }
}

fn exit(exit: observed::Exit) -> Exit {
    match exit {
        observed::Exit::Code(code) => Exit { cause: "exited".into(), code, signal: None },
        observed::Exit::Signal(number) => {
            let name = nix::sys::signal::Signal::try_from(number).map(|signal| signal.as_str().to_owned());
            Exit {
                cause: "signal".into(),
                code: 128 + number,
                signal: Some(name.unwrap_or_else(|_| number.to_string())),
            }
        }
        observed::Exit::OutOfMemory => {
            Exit { cause: "oom".into(), code: 137, signal: Some("SIGKILL".into()) }
        }
    }
}

fn port_text(port: &Port) -> String {
    let address = match port.address {
        Some(std::net::IpAddr::V6(v6)) => format!("[{v6}]:"),
        Some(v4) => format!("{v4}:"),
        None => String::new(),
    };
    format!("{address}{}:{}/{}", port.host, port.container, protocol(port.protocol))
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn ports(live: &Live) -> Vec<PublishedPort> {
    let mut all = Vec::new();
    for wanted in live.desired.instances.values() {
        for (name, container) in &wanted.containers {
            all.extend(container.ports.iter().map(|port| PublishedPort {
                container: format!("{}.{name}", wanted.name),
                address: port.address.map(|address| address.to_string()),
                host: port.host,
                to: port.container,
                protocol: protocol(port.protocol).into(),
                open: port.address.is_none_or(|address| !address.is_loopback()),
            }));
        }
    }
    all
}

/// What deserves a look but is no fault.
fn warnings(agent: &Agent, live: &Live) -> Vec<String> {
    let mut warnings = agent.records.notes().to_vec();
    for port in ports(live).iter().filter(|port| port.address.is_none()) {
        let (host, protocol) = (port.host, &port.protocol);
        warnings.push(format!("{} port {host}/{protocol} is open to the internet", port.container));
    }
    for wanted in live.desired.instances.values() {
        for (name, container) in &wanted.containers {
            let Some(config) = container.config.ready() else { continue };
            if config.privileged {
                warnings.push(format!("{}.{name} is privileged", wanted.name));
            } else if config.userns == Userns::Host {
                warnings.push(format!("{}.{name} has no user namespace", wanted.name));
            }
        }
    }
    warnings
}

pub(super) fn interfaces(live: &Live) -> Vec<Interface> {
    let interface = |nic: &agent_core::network::NicStatus| Interface {
        name: nic.name.clone(),
        mac: nic.mac.to_string(),
        up: nic.state != NicState::NoCarrier,
        addresses: nic.addresses.iter().map(ToString::to_string).collect(),
        gateways: nic.gateways.iter().map(ToString::to_string).collect(),
        source: match nic.source {
            _ if nic.addresses.is_empty() => "none",
            AddressSource::Dhcp => "dhcp",
            AddressSource::Fallback => "fallback",
            AddressSource::Provider => "provider",
            AddressSource::Settings => "static",
            AddressSource::LastGood => "last-good",
        }
        .into(),
        dns: nic.dns.iter().map(ToString::to_string).collect(),
        mtu: nic.mtu,
        problem: nic.problem.clone(),
    };
    live.network.nics.iter().map(interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_real_time_ones_their_number() {
        for (number, name) in [(9, "SIGKILL"), (11, "SIGSEGV"), (40, "40")] {
            let exit = exit(observed::Exit::Signal(number));
            assert_eq!((exit.code, exit.signal.as_deref()), (128 + number, Some(name)));
        }
    }
}
