//! Containers and steps with every template filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Secret;
use crate::model::{HttpProbe, Item, Mount, Owner, Restart, Userns, When};
use crate::shape::{Cpus, ImageRef, Port, User};

/// Text with its templates filled in, which knows whether it may be shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Text {
    /// May be shown.
    Plain(String),
    /// Made from a secret or from a step's output: never shown.
    Secret(Secret),
}

impl Text {
    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        match self {
            Text::Plain(text) => text,
            Text::Secret(secret) => secret.expose(),
        }
    }

    /// The text when it may be shown.
    pub fn plain(&self) -> Option<&str> {
        match self {
            Text::Plain(text) => Some(text),
            Text::Secret(_) => None,
        }
    }

    /// Whether it must not be shown.
    pub fn is_secret(&self) -> bool {
        matches!(self, Text::Secret(_))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text::Plain(text) => text.fmt(f),
            Text::Secret(secret) => secret.fmt(f),
        }
    }
}

/// A container to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedContainer {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: ImageRef,
    /// Replaces the image's entrypoint; without a `command` it drops the image's command too.
    pub entrypoint: Option<Vec<Text>>,
    /// Replaces the image's command.
    pub command: Option<Vec<Text>>,
    /// Environment, beside the image's.
    pub env: BTreeMap<String, Text>,
    /// Secrets given as files `/run/secrets/NAME`.
    pub secrets: BTreeMap<String, Secret>,
    /// Files by absolute path.
    pub files: BTreeMap<String, RenderedFile>,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Mount>,
    /// Absolute paths that are a tmpfs.
    pub tmpfs: Vec<String>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Whom it runs as; the image's user when absent.
    pub user: Option<User>,
    /// Working directory; the image's when absent.
    pub working_dir: Option<String>,
    /// Whether the root is read-only.
    pub read_only: bool,
    /// Memory limit in bytes.
    pub memory: Option<u64>,
    /// Processor limit.
    pub cpus: Option<Cpus>,
    /// Limit of tasks.
    pub pids: u32,
    /// Capabilities beside the default ones, without `CAP_`.
    pub cap_add: BTreeSet<String>,
    /// Its user namespace.
    pub userns: Userns,
    /// No confinement at all.
    pub privileged: bool,
    /// Signal that stops it; the image's when absent.
    pub stop_signal: Option<String>,
    /// Time between the stop signal and KILL.
    pub stop_timeout: Duration,
    /// What happens when it ends.
    pub restart: Restart,
    /// What must hold before it starts.
    pub require: Vec<Item>,
    /// How it is known to be well.
    pub health: Option<RenderedHealth>,
}

/// A file to put into a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedFile {
    /// What it holds.
    pub content: Text,
    /// Permission bits.
    pub mode: u32,
    /// Its owner inside the container.
    pub owner: Owner,
}

/// A health check to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedHealth {
    /// What is asked.
    pub probe: RenderedProbe,
    /// Time between two probes.
    pub interval: Duration,
    /// Time one probe may take.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// Time after the start in which failures do not count.
    pub start_period: Duration,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RenderedProbe {
    /// HTTP, healthy on 200 to 399.
    Http(HttpProbe),
    /// A TCP port of the container, healthy when it accepts.
    Tcp(u16),
    /// A command in the container, healthy when it ends with 0.
    Command(Vec<Text>),
}

/// A step to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedStep {
    /// Its name.
    pub name: String,
    /// The command and its arguments.
    pub run: Vec<Text>,
    /// Where it runs.
    pub place: RenderedPlace,
    /// What must hold before it starts.
    pub require: Vec<Item>,
    /// How often it runs.
    pub when: When,
    /// How long one run may take.
    pub timeout: Duration,
    /// How often a failed run is repeated.
    pub retries: u32,
}

/// Where a step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RenderedPlace {
    /// In the running container of this name.
    In(String),
    /// As a container of its own, in the instance's network.
    OneOff(RenderedOneOff),
}

/// A container made for one step and removed after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedOneOff {
    /// Its image.
    pub image: ImageRef,
    /// Its environment, beside the image's.
    pub env: BTreeMap<String, Text>,
    /// Secrets given as files `/run/secrets/NAME`.
    pub secrets: BTreeMap<String, Secret>,
    /// Files by absolute path.
    pub files: BTreeMap<String, RenderedFile>,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Mount>,
    /// Whom it runs as; the image's user when absent.
    pub user: Option<User>,
}
