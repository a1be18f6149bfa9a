//! A recipe as a whole, its volumes and its steps.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Container, File, Mount, Param};
use crate::diagnostic::Anchor;
use crate::shape::{ImageRef, Template, Templated, User};

/// How long a step may run when it does not say.
pub const DEFAULT_STEP_TIMEOUT: Duration = Duration::from_secs(600);
/// How often a failed step is tried again when it does not say.
pub const DEFAULT_STEP_RETRIES: u32 = 3;

/// The definition of an application: what runs, in which order, with which volumes and parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Its name, and the default name of its instances.
    pub name: String,
    /// Semantic version of the recipe itself.
    pub version: Option<semver::Version>,
    /// One line for people.
    pub description: Option<String>,
    /// Whether containers and steps start side by side or as written.
    pub order: Order,
    /// What the owner may set.
    pub params: BTreeMap<String, Param>,
    /// Named volumes.
    pub volumes: BTreeMap<String, Volume>,
    /// Containers, in the order of their first headers.
    pub containers: Vec<Container>,
    /// Steps, in the order of their first headers.
    pub steps: Vec<Step>,
    /// Containers and steps together, in the order of their first headers.
    pub declared: Vec<Item>,
    /// Where the recipe begins in its document.
    pub at: Anchor,
}

impl Recipe {
    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The step of that name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|s| s.name == name)
    }
}

/// `order` of a recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Everything that requires nothing starts at once.
    #[default]
    Parallel,
    /// One after another, as written.
    Declared,
}

/// A container or a step: the two share one name space, and either can require the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Item {
    /// `containers.NAME`: required, it must be healthy, or running where it has no probe.
    Container(String),
    /// `steps.NAME`: required, it must have succeeded.
    Step(String),
}

impl Item {
    /// The name without its kind.
    pub fn name(&self) -> &str {
        match self {
            Item::Container(name) | Item::Step(name) => name,
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Container(name) => write!(f, "containers.{name}"),
            Item::Step(name) => write!(f, "steps.{name}"),
        }
    }
}

/// A named volume: a directory on the data partition that outlives its instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Its name within the recipe.
    pub name: String,
    /// Quota in bytes; none when absent.
    pub size: Option<Templated<u64>>,
    /// Where it is written.
    pub at: Anchor,
}

/// Ordered work: a command that runs and ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name, in one name space with the containers.
    pub name: String,
    /// The command and its arguments.
    pub run: Vec<Template>,
    /// Where it runs.
    pub place: StepPlace,
    /// What must hold before it starts: its own `require`, the `require_in` of others, what runs before it
    /// under `order = "declared"`, and the container it runs in.
    pub require: Vec<Item>,
    /// How often it runs.
    pub when: When,
    /// How long one run may take.
    pub timeout: Duration,
    /// How often a failed run is repeated.
    pub retries: u32,
    /// Where it is written.
    pub at: Anchor,
}

/// Where a step runs.
#[derive(Clone, Debug, PartialEq)]
pub enum StepPlace {
    /// In the running container of this name.
    In(String),
    /// As a container of its own, in the instance's network.
    OneOff(OneOff),
}

/// A container made for one step and removed after it.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOff {
    /// Its image.
    pub image: ImageRef,
    /// Its environment, beside the image's.
    pub env: BTreeMap<String, Template>,
    /// Secrets given as files under `/run/secrets`.
    pub secrets: Vec<String>,
    /// Files by absolute path.
    pub files: BTreeMap<String, File>,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Mount>,
    /// Whom it runs as; the image's user when absent.
    pub user: Option<Templated<User>>,
}

/// `when` of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Once in the life of an instance.
    #[default]
    Once,
    /// The first time, and after each change of image, parameters or files.
    Change,
    /// At each boot of the box.
    Boot,
}
