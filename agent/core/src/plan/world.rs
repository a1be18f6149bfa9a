//! A box that only exists in tests: does what a plan says and can be observed again.

use std::collections::{BTreeMap, BTreeSet};

use recipes::Secret;
use recipes::resolve::ResolvedInstance;

use super::plan;
use crate::action::{Action, Plan};
use crate::allocate::{Taken, allocate, extend};
use crate::container::ContainerName;
use crate::desired::{Desired, Facts, StepPlace, build};
use crate::healing::Millis;
use crate::memory::{Memory, Notice};
use crate::observed::{Exit, Observed, UnitState};
use crate::state::{Counters, InstanceRecord, Pin, StepRecord, VolumeId, VolumeRecord};

/// The box, its memory and its clock.
#[derive(Default)]
pub(super) struct World {
    pub(super) observed: Observed,
    pub(super) memory: Memory,
    pub(super) now: Millis,
    /// Everything done so far, by id.
    pub(super) done: Vec<String>,
    /// Actions that fail, by id.
    pub(super) failing: BTreeSet<String>,
    /// What references mean outside.
    pub(super) registry: BTreeMap<String, String>,
    settings: recipes::model::BoxSettings,
    pub(super) instances: Vec<ResolvedInstance>,
    pub(super) facts: Facts,
    counters: Counters,
}

impl World {
    /// A new box with this user-data.
    pub(super) fn new(user_data: &str) -> World {
        let mut world = World::default();
        world.observed.boot = "boot-1".into();
        world.observed.hostname = "localhost".into();
        world.facts.hostname = "hub1".into();
        world.accept(user_data);
        world
    }

    /// Takes other user-data.
    pub(super) fn accept(&mut self, user_data: &str) {
        let document = recipes::user_data::parse("test", user_data).unwrap_or_else(|e| panic!("{e:?}"));
        let resolve = |declared: &recipes::model::InstanceDecl| {
            let recipes::model::InstanceSource::Inline(recipe) = &declared.source else {
                panic!("not inline")
            };
            declared.resolve(recipe, &document.settings).unwrap_or_else(|e| panic!("{e:?}"))
        };
        self.instances = document.instances.iter().map(resolve).collect();
        self.settings = document.settings;
    }

    pub(super) fn desired(&self) -> Desired {
        build(&self.settings, &self.instances, &self.facts)
    }

    pub(super) fn plan(&self) -> Plan {
        plan(&self.desired(), &self.observed, &self.memory, self.now)
    }

    /// Looks, as each round does.
    pub(super) fn note(&mut self) -> Vec<Notice> {
        let desired = self.desired();
        self.memory.note(&desired, &self.observed, self.now, 0)
    }

    /// One round; says whether anything was done.
    pub(super) fn round(&mut self) -> bool {
        self.note();
        let desired = self.desired();
        let plan = self.plan();
        let ids = plan.actions.iter().map(|planned| planned.action.id()).collect();
        self.memory.forget_unplanned(&ids);
        let ready: Vec<_> = plan.ready(self.now).cloned().collect();
        for planned in &ready {
            let id = planned.action.id();
            self.memory.begin(planned);
            let result = if self.failing.contains(&id) { Err("told to fail".into()) } else { Ok(()) };
            if result.is_ok() {
                self.perform(&planned.action, &desired);
            }
            self.done.push(id);
            self.memory.end(&planned.action, result, self.now, 0);
        }
        !ready.is_empty()
    }

    /// Rounds until nothing can be done; gives what was done, in order.
    pub(super) fn settle(&mut self) -> Vec<String> {
        let before = self.done.len();
        for _ in 0..100 {
            if !self.round() {
                return self.done[before..].to_vec();
            }
        }
        panic!("does not settle: {:#?}", self.plan());
    }

    /// A container answers its probe with success, or not.
    pub(super) fn probe(&mut self, name: &str, result: Result<(), &str>) {
        let name = ContainerName::parse(name).unwrap();
        let config =
            self.desired().instances[&name.instance].containers[&name.container].health.clone().unwrap();
        self.note();
        let probed = self.memory.containers.get_mut(&name).unwrap().probed.as_mut().unwrap();
        probed.record(&config, result.map_err(str::to_owned), self.now);
    }

    /// A container ends by itself.
    pub(super) fn end(&mut self, name: &str, exit: Exit) {
        let name = ContainerName::parse(name).unwrap();
        self.note();
        self.observed.containers.get_mut(&name).unwrap().unit = UnitState::Ended(exit);
    }

    /// The power goes, and comes again.
    pub(super) fn reboot(&mut self) {
        self.observed.boot.push('x');
        self.memory = Memory::default();
        self.observed.bridges.clear();
        self.observed.firewall = None;
        self.observed.admin_keys = None;
        self.observed.network = None;
        self.observed.time_servers = None;
        self.observed.containers.retain(|_, c| {
            *c = crate::observed::ObservedContainer { layer: c.layer.clone(), ..Default::default() };
            c.layer.is_some()
        });
    }

    /// The agent is killed and started again; all else stays.
    pub(super) fn restart_agent(&mut self) {
        self.memory = Memory::default();
    }

    fn perform(&mut self, action: &Action, desired: &Desired) {
        let host = &desired.host;
        let seen = &mut self.observed;
        match action {
            Action::SetHostname(name) => seen.hostname = name.clone(),
            Action::WriteAdminKeys => seen.admin_keys = Some(host.admin_keys.clone()),
            Action::ConfigureTime => seen.time_servers = Some(host.time_servers.clone()),
            Action::ConfigureNetwork => seen.network = Some(host.network.clone()),
            Action::ApplyFirewall => seen.firewall = Some(super::firewall(desired, seen).1),
            Action::FetchImage { reference, .. } => drop(seen.fetched.insert(reference.clone())),
            Action::AdoptImage { reference } => self.adopt(reference),
            Action::RemoveDownload(id) => drop(seen.downloads.remove(id)),
            Action::PinImage { .. } | Action::RevertImage { .. } | Action::ConfirmImage { .. } => {
                self.change_pin(action);
            }
            Action::Allocate(name) => self.allocate(name, desired),
            Action::CreateVolume { instance, volume } | Action::ResizeVolume { instance, volume } => {
                self.volume(instance, volume, desired.instances[instance].volumes[volume]);
            }
            Action::GenerateSecret { instance, secret } => {
                seen.secrets.entry(instance.clone()).or_default().insert(secret.clone());
                let values = self.facts.secrets.entry(instance.clone()).or_default();
                values.insert(secret.clone(), Secret::new("hunter2"));
            }
            Action::SetupNetwork(name) => drop(seen.bridges.insert(seen.records[name].allocation.index)),
            Action::RunStep { instance, step } => self.step(instance, step, desired),
            Action::RemoveInstance(name) => {
                let record = seen.records.get_mut(name).unwrap();
                seen.bridges.remove(&record.allocation.index);
                record.in_force = false;
                if !seen.volumes.iter().any(|v| v.instance == *name) {
                    seen.records.remove(name);
                }
            }
            _ => self.container(action, desired),
        }
    }

    fn adopt(&mut self, reference: &str) {
        self.observed.fetched.remove(reference);
        let digest = self.registry.get(reference).cloned().unwrap_or_else(|| format!("sha256:{reference}"));
        self.observed.images.insert(digest.clone());
        self.observed.references.insert(reference.to_owned(), digest);
    }

    fn change_pin(&mut self, action: &Action) {
        let (Action::PinImage { instance, reference, .. }
        | Action::RevertImage { instance, reference }
        | Action::ConfirmImage { instance, reference }) = action
        else {
            unreachable!()
        };
        let pins = &mut self.observed.records.get_mut(instance).unwrap().pins;
        let pin = pins.entry(reference.clone()).or_insert(Pin { digest: String::new(), previous: None });
        match action {
            Action::PinImage { digest, .. } => pin.digest = digest.clone(),
            Action::RevertImage { .. } => pin.digest = pin.previous.take().unwrap(),
            _ => pin.previous = None,
        }
    }

    fn allocate(&mut self, name: &str, desired: &Desired) {
        let names = desired.instances[name].addressed();
        if let Some(record) = self.observed.records.get_mut(name) {
            record.in_force = true;
            extend(&mut record.allocation, &names).unwrap();
            return;
        }
        let (allocation, counters) = allocate(&self.counters, &Taken::default(), &names, 7).unwrap();
        self.counters = counters;
        let record = InstanceRecord {
            name: name.to_owned(),
            in_force: true,
            allocation,
            pins: BTreeMap::new(),
            steps: BTreeMap::new(),
        };
        self.observed.records.insert(name.to_owned(), record);
    }

    fn volume(&mut self, instance: &str, name: &str, size: Option<u64>) {
        self.observed.volumes.retain(|v| (v.instance.as_str(), v.name.as_str()) != (instance, name));
        self.observed.volumes.push(VolumeRecord {
            id: VolumeId::from_random(1),
            instance: instance.into(),
            name: name.into(),
            size,
            project: 1,
            replaced: 0,
            created_at: 0,
        });
        self.facts.volumes.insert((instance.into(), name.into()), format!("/volumes/{instance}.{name}"));
    }

    fn step(&mut self, instance: &str, name: &str, desired: &Desired) {
        let wanted = &desired.instances[instance];
        let step = &wanted.steps[name];
        if matches!(step.place, StepPlace::OneOff { .. }) {
            self.observed.containers.remove(&ContainerName::new(instance, name));
        }
        let record = self.observed.records.get_mut(instance).unwrap();
        let outcome = StepRecord {
            succeeded: true,
            fingerprint: super::step_fingerprint(wanted, step, record),
            boot: Some(self.observed.boot.clone()),
            ended_at: 0,
            code: 0,
            output: Secret::new("8080"),
        };
        record.steps.insert(name.to_owned(), outcome);
        let outputs = self.facts.outputs.entry(instance.to_owned()).or_default();
        outputs.insert(name.to_owned(), Secret::new("8080"));
    }

    fn container(&mut self, action: &Action, desired: &Desired) {
        let name = action.container().unwrap().clone();
        let wanted = desired.instances.get(&name.instance);
        let record = self.observed.records.get(&name.instance).cloned();
        let resolver = crate::network::resolver(&self.observed.resolvers);
        let found = self.observed.containers.entry(name.clone()).or_default();
        match action {
            Action::AttachContainer(_) => found.attached = true,
            Action::WriteBundle(_) => {
                assert!(found.unit.is_down(), "{name}: the bundle of a running container is not written");
                let (container, record) = (&wanted.unwrap().containers[&name.container], record.unwrap());
                let digest = &record.pins[&container.image].digest;
                found.bundle = super::containers::fingerprint(container, Some(digest), &record);
                assert!(found.bundle.is_some(), "{name}: something is not known yet");
                assert!(found.layer.is_none() || found.layer == found.bundle, "{name}: a stale layer");
                found.layer = found.bundle.clone();
                found.hosts = Some(record.allocation.hosts_file(&name.container));
                found.resolver = Some(resolver);
                found.started = false;
            }
            Action::WriteHosts(_) => {
                found.hosts = Some(record.unwrap().allocation.hosts_file(&name.container));
                found.resolver = Some(resolver);
            }
            Action::StartContainer(_) => {
                assert!(found.unit.is_down() && found.attached && found.bundle.is_some(), "{name}");
                found.unit = UnitState::Running { pid: Some(1), since: self.now };
                found.started = true;
            }
            Action::StopContainer(_) => found.unit = UnitState::Absent,
            Action::RemoveContainer(_) => {
                assert!(found.unit.is_down(), "{name} is removed while it runs");
                self.observed.containers.remove(&name);
            }
            other => panic!("{other}"),
        }
    }
}
