//! What the agent remembers between two plans: failures, probes, and what it was asked for.
//!
//! Nothing here is needed after a restart of the agent: it starts empty, and what matters for longer is in
//! the records.

use std::collections::{BTreeMap, BTreeSet};

use recipes::model::Restart;

use crate::action::{Action, Planned};
use crate::container::ContainerName;
use crate::desired::{ContainerDesired, Desired};
use crate::healing::{Healing, Millis};
use crate::health::{Probed, Verdict};
use crate::observed::{Exit, Observed, UnitState};

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// By container.
    pub containers: BTreeMap<ContainerName, ContainerMemory>,
    /// Actions that failed, by id.
    pub failures: BTreeMap<String, Failure>,
    /// Ids of the actions that are being done.
    pub running: BTreeMap<String, Action>,
}

/// What is remembered of a container.
#[derive(Clone, Debug, Default)]
pub struct ContainerMemory {
    /// How often it failed and when it is tried again.
    pub healing: Healing,
    /// What its probes said since it came up; `None` while it is down.
    pub probed: Option<Probed>,
    /// When it came up, as last seen.
    pub since: Option<Millis>,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// Its end was asked for and is no failure.
    pub stopping: bool,
    /// It was found unhealthy, and its end is a failure whatever its code.
    pub unhealthy: bool,
    /// An admin asked for it to be stopped and started.
    pub restart: bool,
    /// It is to be started whatever its restart policy says.
    pub start: bool,
}

/// An action that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What.
    pub action: Action,
    /// When it is tried again.
    pub healing: Healing,
    /// Why it failed.
    pub error: String,
}

/// Something that the owner should find among the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A container ended without being asked to.
    Ended(ContainerName, Option<Exit>),
    /// A container was found unhealthy.
    Unhealthy(ContainerName, String),
    /// Failed too often in a row; is still tried.
    Degraded(ContainerName, u32),
    /// Healthy for ten minutes after having been degraded.
    Recovered(ContainerName),
}

impl Memory {
    /// Takes in what was observed. `random` is the jitter of this round.
    pub fn note(&mut self, desired: &Desired, observed: &Observed, now: Millis, random: u32) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (instance, wanted) in &desired.instances {
            for (name, container) in &wanted.containers {
                let name = ContainerName::new(instance, name);
                let unit = observed.containers.get(&name).map_or(&UnitState::Absent, |c| &c.unit);
                let memory = self.containers.entry(name.clone()).or_default();
                memory.note(&name, container, unit, now, random, &mut notices);
            }
        }
        let known: BTreeSet<ContainerName> = desired
            .instances
            .iter()
            .flat_map(|(i, wanted)| wanted.containers.keys().map(move |c| ContainerName::new(i, c)))
            .collect();
        self.containers.retain(|name, _| known.contains(name));
        notices
    }

    /// An action is about to be done.
    pub fn begin(&mut self, planned: &Planned) {
        self.running.insert(planned.action.id(), planned.action.clone());
        if let Action::StopContainer(name) = &planned.action
            && let Some(memory) = self.containers.get_mut(name)
        {
            memory.stopping = !memory.unhealthy;
        }
    }

    /// An action was done. A container whose start failed is healed like one that ended.
    pub fn end(&mut self, action: &Action, result: Result<(), String>, now: Millis, random: u32) {
        let id = action.id();
        self.running.remove(&id);
        match (action, result) {
            (Action::StartContainer(name), result) => {
                let memory = self.containers.entry(name.clone()).or_default();
                memory.start = false;
                match result {
                    Ok(()) => {
                        memory.unhealthy = false;
                        memory.since.get_or_insert(now);
                        self.failures.remove(&id);
                    }
                    Err(error) => {
                        memory.healing.failed(now, random);
                        let healing = memory.healing.clone();
                        self.failures.insert(id, Failure { action: action.clone(), healing, error });
                    }
                }
            }
            (_, Ok(())) => drop(self.failures.remove(&id)),
            (_, Err(error)) => {
                let failure = self.failures.entry(id).or_insert_with(|| Failure {
                    action: action.clone(),
                    healing: Healing::default(),
                    error: String::new(),
                });
                failure.healing.failed(now, random);
                failure.error = error;
            }
        }
    }

    /// Forgets failures of actions that no plan wants any more.
    pub fn forget_unplanned(&mut self, planned: &BTreeSet<String>) {
        let running = &self.running;
        self.failures.retain(|id, _| planned.contains(id) || running.contains_key(id));
    }

    /// An admin wants everything tried now.
    pub fn retry_now(&mut self) {
        for memory in self.containers.values_mut() {
            memory.healing.not_before = 0;
        }
        for failure in self.failures.values_mut() {
            failure.healing.not_before = 0;
        }
    }

    /// An admin wants these containers stopped and started.
    pub fn restart(&mut self, names: impl IntoIterator<Item = ContainerName>) {
        for name in names {
            let memory = self.containers.entry(name).or_default();
            memory.restart = true;
            memory.healing.not_before = 0;
        }
    }

    /// How a container that runs stands; `None` while it is down or has no probe.
    pub fn verdict(&self, name: &ContainerName, wanted: &ContainerDesired) -> Option<Verdict> {
        let probed = self.containers.get(name)?.probed.as_ref()?;
        wanted.health.as_ref().map(|config| probed.verdict(config))
    }
}

impl ContainerMemory {
    fn note(
        &mut self,
        name: &ContainerName,
        wanted: &ContainerDesired,
        unit: &UnitState,
        now: Millis,
        random: u32,
        notices: &mut Vec<Notice>,
    ) {
        match unit {
            UnitState::Running { since, .. } => {
                if self.since != Some(*since) || self.probed.is_none() {
                    self.since = Some(*since);
                    self.probed = Some(Probed::new(*since));
                    self.unhealthy = false;
                }
                self.while_running(name, wanted, now, notices);
            }
            UnitState::Starting | UnitState::Stopping => {}
            UnitState::Absent | UnitState::Ended(_) => {
                if self.since.take().is_some() {
                    let exit = match unit {
                        UnitState::Ended(exit) => Some(*exit),
                        _ => None,
                    };
                    self.ended(name, wanted, exit, now, random, notices);
                }
            }
        }
    }

    fn while_running(
        &mut self,
        name: &ContainerName,
        wanted: &ContainerDesired,
        now: Millis,
        notices: &mut Vec<Notice>,
    ) {
        let verdict = match (&wanted.health, &self.probed) {
            (Some(config), Some(probed)) => probed.verdict(config),
            _ => Verdict::Healthy,
        };
        match verdict {
            Verdict::Healthy => {
                if self.healing.healthy(now) {
                    notices.push(Notice::Recovered(name.clone()));
                }
            }
            Verdict::Starting => self.healing.healthy_since = None,
            Verdict::Unhealthy => {
                self.healing.healthy_since = None;
                if !self.unhealthy {
                    self.unhealthy = true;
                    let reason = self.probed.as_ref().and_then(|p| p.last_failure.clone());
                    notices.push(Notice::Unhealthy(name.clone(), reason.unwrap_or_default()));
                }
            }
        }
    }

    fn ended(
        &mut self,
        name: &ContainerName,
        wanted: &ContainerDesired,
        exit: Option<Exit>,
        now: Millis,
        random: u32,
        notices: &mut Vec<Notice>,
    ) {
        self.probed = None;
        self.last_exit = exit.or(Some(Exit::Code(0)));
        let asked = std::mem::take(&mut self.stopping);
        if std::mem::take(&mut self.restart) {
            self.start = true;
        }
        if asked && !self.unhealthy {
            self.healing.healthy_since = None;
            return;
        }
        if !self.unhealthy {
            notices.push(Notice::Ended(name.clone(), self.last_exit));
        }
        let failed = self.unhealthy || wanted.restart == Restart::Always || !self.ended_well();
        if failed {
            self.healing.failed(now, random);
            if self.healing.failures == crate::healing::DEGRADED_AFTER {
                notices.push(Notice::Degraded(name.clone(), self.healing.failures));
            }
        }
    }

    /// Whether it last ended by itself and with code 0.
    pub fn ended_well(&self) -> bool {
        self.last_exit.is_some_and(Exit::is_success) && !self.unhealthy
    }
}
