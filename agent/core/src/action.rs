//! What can be done to a box, as data.
//!
//! An action names its subject and holds no values: what is written or started is looked up in the desired
//! state it was planned from, so that a plan can be shown and logged whole. Each is idempotent.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::container::ContainerName;
use crate::healing::Millis;

/// One thing that can be done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Set the kernel's host name.
    SetHostname(String),
    /// Write the keys that may log in as `admin`.
    WriteAdminKeys,
    /// Give timesyncd its servers.
    ConfigureTime,
    /// Hand the interfaces' settings to the network.
    ConfigureNetwork,
    /// Put the whole nftables table in force.
    ApplyFirewall,
    /// Download an image, or take it from the embedded ones, and convert its layers in a sandbox.
    FetchImage {
        /// As the recipe has it.
        reference: String,
        /// Only this digest will do.
        digest: Option<String>,
        /// Whether it comes with the box.
        embedded: bool,
    },
    /// Seal what was fetched and take it into the store.
    AdoptImage {
        /// As the recipe has it.
        reference: String,
    },
    /// Remove what a fetch had downloaded when it was cut.
    RemoveDownload(String),
    /// Record what a reference means to an instance.
    PinImage {
        /// The instance.
        instance: String,
        /// As the recipe has it.
        reference: String,
        /// What it means.
        digest: String,
    },
    /// Go back to what a reference meant before a pull.
    RevertImage {
        /// The instance.
        instance: String,
        /// As the recipe has it.
        reference: String,
    },
    /// Keep what a pull brought.
    ConfirmImage {
        /// The instance.
        instance: String,
        /// As the recipe has it.
        reference: String,
    },
    /// Give an instance its ids and addresses, or a new container of it an address.
    Allocate(String),
    /// Make a volume.
    CreateVolume {
        /// The instance.
        instance: String,
        /// The volume's name.
        volume: String,
    },
    /// Change a volume's quota.
    ResizeVolume {
        /// The instance.
        instance: String,
        /// The volume's name.
        volume: String,
    },
    /// Make a secret and keep it.
    GenerateSecret {
        /// The instance.
        instance: String,
        /// The parameter's name.
        secret: String,
    },
    /// Make an instance's bridge.
    SetupNetwork(String),
    /// Make a container's network namespace and connect it.
    AttachContainer(ContainerName),
    /// Write what the shim starts a container from.
    WriteBundle(ContainerName),
    /// Tell a container, which may run, the addresses of its siblings and the name servers.
    WriteHosts(ContainerName),
    /// Start a container's unit.
    StartContainer(ContainerName),
    /// Stop a container's unit.
    StopContainer(ContainerName),
    /// Remove a stopped container's writable layer, bundle and network namespace.
    RemoveContainer(ContainerName),
    /// Run a step.
    RunStep {
        /// The instance.
        instance: String,
        /// The step's name.
        step: String,
    },
    /// Remove an instance's network and take it out of force; volumes and secrets stay.
    RemoveInstance(String),
}

impl Action {
    /// Unique in a plan, and the same in the next plan for the same work.
    pub fn id(&self) -> String {
        match self {
            Action::SetHostname(_) => "hostname".into(),
            Action::WriteAdminKeys => "admin-keys".into(),
            Action::ConfigureTime => "time".into(),
            Action::ConfigureNetwork => "network".into(),
            Action::ApplyFirewall => "firewall".into(),
            Action::FetchImage { reference, .. } => format!("fetch:{reference}"),
            Action::AdoptImage { reference } => format!("adopt:{reference}"),
            Action::RemoveDownload(id) => format!("download:{id}"),
            Action::PinImage { instance, reference, .. } => format!("pin:{instance}:{reference}"),
            Action::RevertImage { instance, reference } => format!("revert:{instance}:{reference}"),
            Action::ConfirmImage { instance, reference } => format!("confirm:{instance}:{reference}"),
            Action::Allocate(instance) => format!("allocate:{instance}"),
            Action::CreateVolume { instance, volume } => format!("volume:{instance}.{volume}"),
            Action::ResizeVolume { instance, volume } => format!("resize:{instance}.{volume}"),
            Action::GenerateSecret { instance, secret } => format!("secret:{instance}.{secret}"),
            Action::SetupNetwork(instance) => format!("network:{instance}"),
            Action::AttachContainer(name) => format!("attach:{name}"),
            Action::WriteBundle(name) => format!("bundle:{name}"),
            Action::WriteHosts(name) => format!("hosts:{name}"),
            Action::StartContainer(name) => format!("start:{name}"),
            Action::StopContainer(name) => format!("stop:{name}"),
            Action::RemoveContainer(name) => format!("remove:{name}"),
            Action::RunStep { instance, step } => format!("step:{instance}.{step}"),
            Action::RemoveInstance(instance) => format!("remove:{instance}"),
        }
    }

    /// What only one action at a time may touch.
    pub fn subject(&self) -> String {
        match self {
            Action::FetchImage { reference, .. } | Action::AdoptImage { reference } => reference.clone(),
            Action::AttachContainer(name)
            | Action::WriteBundle(name)
            | Action::WriteHosts(name)
            | Action::StartContainer(name)
            | Action::StopContainer(name)
            | Action::RemoveContainer(name) => format!("container {name}"),
            Action::RunStep { instance, step } => format!("container {instance}.{step}"),
            other => other.id(),
        }
    }

    /// The instance it serves, where it serves one.
    pub fn instance(&self) -> Option<&str> {
        match self {
            Action::PinImage { instance, .. }
            | Action::RevertImage { instance, .. }
            | Action::ConfirmImage { instance, .. }
            | Action::Allocate(instance)
            | Action::CreateVolume { instance, .. }
            | Action::ResizeVolume { instance, .. }
            | Action::GenerateSecret { instance, .. }
            | Action::SetupNetwork(instance)
            | Action::RunStep { instance, .. }
            | Action::RemoveInstance(instance) => Some(instance),
            _ => self.container().map(|name| name.instance.as_str()),
        }
    }

    /// The container it is about, where it is about one.
    pub fn container(&self) -> Option<&ContainerName> {
        match self {
            Action::AttachContainer(name)
            | Action::WriteBundle(name)
            | Action::WriteHosts(name)
            | Action::StartContainer(name)
            | Action::StopContainer(name)
            | Action::RemoveContainer(name) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::SetHostname(name) => write!(f, "set host name {name}"),
            Action::WriteAdminKeys => write!(f, "write the admins' keys"),
            Action::ConfigureTime => write!(f, "set the time servers"),
            Action::ConfigureNetwork => write!(f, "configure the interfaces"),
            Action::ApplyFirewall => write!(f, "apply the packet filter"),
            Action::FetchImage { reference, embedded: false, .. } => write!(f, "fetch image {reference}"),
            Action::FetchImage { reference, .. } => write!(f, "unpack embedded image {reference}"),
            Action::AdoptImage { reference } => write!(f, "store image {reference}"),
            Action::RemoveDownload(id) => write!(f, "remove the download {id}"),
            Action::PinImage { instance, reference, digest } => {
                write!(f, "record for {instance} that {reference} is {digest}")
            }
            Action::RevertImage { instance, reference } => {
                write!(f, "go back to the earlier {reference} for {instance}")
            }
            Action::ConfirmImage { instance, reference } => {
                write!(f, "keep the new {reference} for {instance}")
            }
            Action::Allocate(instance) => write!(f, "allocate ids and addresses for {instance}"),
            Action::CreateVolume { instance, volume } => write!(f, "create volume {instance}.{volume}"),
            Action::ResizeVolume { instance, volume } => write!(f, "resize volume {instance}.{volume}"),
            Action::GenerateSecret { instance, secret } => write!(f, "generate secret {instance}.{secret}"),
            Action::SetupNetwork(instance) => write!(f, "set up the network of {instance}"),
            Action::AttachContainer(name) => write!(f, "connect container {name}"),
            Action::WriteBundle(name) => write!(f, "write the bundle of container {name}"),
            Action::WriteHosts(name) => write!(f, "write the hosts and resolver files of container {name}"),
            Action::StartContainer(name) => write!(f, "start container {name}"),
            Action::StopContainer(name) => write!(f, "stop container {name}"),
            Action::RemoveContainer(name) => write!(f, "remove container {name}"),
            Action::RunStep { instance, step } => write!(f, "run step {instance}.{step}"),
            Action::RemoveInstance(instance) => write!(f, "remove instance {instance}"),
        }
    }
}

/// An action with its place in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What.
    pub action: Action,
    /// Why, as a clause: `not running`.
    pub reason: String,
    /// Ids of actions of the same plan that come before it.
    pub after: Vec<String>,
    /// What must become true by itself before it, for people: `site.app to be healthy`.
    pub waits: Vec<String>,
    /// Failed before and is not tried again before.
    pub not_before: Millis,
}

impl Planned {
    /// An action that nothing holds back.
    pub fn now(action: Action, reason: impl Into<String>) -> Planned {
        Planned { action, reason: reason.into(), after: Vec::new(), waits: Vec::new(), not_before: 0 }
    }

    /// Whether it can be done now.
    pub fn ready(&self, now: Millis) -> bool {
        self.after.is_empty() && self.waits.is_empty() && now >= self.not_before
    }
}

/// What is to be done, in an order in which it can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The actions.
    pub actions: Vec<Planned>,
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// What can be done now.
    pub fn ready(&self, now: Millis) -> impl Iterator<Item = &Planned> {
        self.actions.iter().filter(move |planned| planned.ready(now))
    }

    /// The actions about an instance.
    pub fn of_instance<'a>(&'a self, instance: &'a str) -> impl Iterator<Item = &'a Planned> {
        self.actions.iter().filter(move |planned| planned.action.instance() == Some(instance))
    }

    /// When the next action that only waits for its time can be tried.
    pub fn next_due(&self, now: Millis) -> Option<Millis> {
        let waiting = self.actions.iter().filter(|p| p.after.is_empty() && p.waits.is_empty());
        waiting.map(|p| p.not_before).filter(|at| *at > now).min()
    }
}
