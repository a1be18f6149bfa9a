//! The box as it should be: accepted user-data with every recipe resolved, and templates rendered as far
//! as what they need is there.

mod build;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use recipes::model::{Generator, Item, Restart, When};
use serde::{Deserialize, Serialize};

use crate::container::{ContainerConfig, Port};
use crate::health::HealthConfig;
use crate::network::HostConfig;

pub use build::{Facts, build, host, network_settings};

/// The whole box.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// The box itself.
    pub host: HostDesired,
    /// Instances by name.
    pub instances: BTreeMap<String, InstanceDesired>,
    /// Documents were accepted and none can be read: nothing is known to be no longer wanted.
    pub lost: bool,
}

/// The box itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostDesired {
    /// Kernel host name.
    pub hostname: String,
    /// Keys that may log in as `admin`.
    pub admin_keys: Vec<String>,
    /// Time servers; empty: the built-in ones.
    pub time_servers: Vec<String>,
    /// Interfaces and resolver.
    pub network: HostConfig,
}

/// An instance.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceDesired {
    /// Its name.
    pub name: String,
    /// Name of its recipe.
    pub recipe: String,
    /// Volumes by name, with their quotas in bytes.
    pub volumes: BTreeMap<String, Option<u64>>,
    /// Secrets that are to be generated.
    pub secrets: BTreeMap<String, Generator>,
    /// Containers by name.
    pub containers: BTreeMap<String, ContainerDesired>,
    /// Steps by name.
    pub steps: BTreeMap<String, StepDesired>,
    /// Fingerprint of the parameters' values.
    pub params: String,
    /// After an update of the box it has to be healthy again within this time.
    pub health_timeout: Duration,
}

impl InstanceDesired {
    /// Image references of its containers and one-off steps.
    pub fn references(&self) -> BTreeSet<&str> {
        let steps = self.steps.values().filter_map(|step| match &step.place {
            StepPlace::OneOff { image, .. } => Some(image.as_str()),
            StepPlace::In(_) => None,
        });
        self.containers.values().map(|c| c.image.as_str()).chain(steps).collect()
    }

    /// Names that need an address: containers and one-off steps.
    pub fn addressed(&self) -> Vec<String> {
        let steps = self.steps.iter().filter(|(_, s)| matches!(s.place, StepPlace::OneOff { .. }));
        self.containers.keys().chain(steps.map(|(name, _)| name)).cloned().collect()
    }
}

/// A container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerDesired {
    /// As the recipe has it.
    pub image: String,
    /// Published ports, once they are known.
    pub ports: Vec<Port>,
    /// Everything else.
    pub config: Rendered<ContainerConfig>,
    /// How it is probed.
    pub health: Option<HealthConfig>,
    /// What happens when it ends.
    pub restart: Restart,
    /// What must hold before it starts.
    pub require: Vec<Item>,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepDesired {
    /// Where it runs, and what.
    pub place: StepPlace,
    /// Program and arguments.
    pub run: Rendered<Vec<String>>,
    /// What must hold before it runs.
    pub require: Vec<Item>,
    /// How often it runs.
    pub when: When,
    /// How long one run may take.
    pub timeout: Duration,
    /// How often a failed run is repeated before the instance is degraded.
    pub retries: u32,
}

/// Where a step runs.
#[derive(Clone, Debug, PartialEq)]
pub enum StepPlace {
    /// In the running container of this name.
    In(String),
    /// As a container of its own.
    OneOff {
        /// As the recipe has it.
        image: String,
        /// Its configuration, with the command in it.
        config: Rendered<ContainerConfig>,
    },
}

/// Something made from templates.
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered<T> {
    /// All that it needs is there.
    Ready(Box<T>),
    /// Something is still missing.
    Waiting(BTreeSet<Missing>),
    /// It can never be rendered, as with a step's output that is no number.
    Failed(String),
}

impl<T> Rendered<T> {
    /// The value, when it is there.
    pub fn ready(&self) -> Option<&T> {
        match self {
            Rendered::Ready(value) => Some(value),
            Rendered::Waiting(_) | Rendered::Failed(_) => None,
        }
    }
}

/// What something waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Missing {
    /// A volume that has not been made.
    Volume(String),
    /// A secret that has not been generated.
    Secret(String),
    /// The output of a step that has not succeeded.
    Output(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Volume(name) => write!(f, "volume {name}"),
            Missing::Secret(name) => write!(f, "secret {name}"),
            Missing::Output(name) => write!(f, "the output of step {name}"),
        }
    }
}
