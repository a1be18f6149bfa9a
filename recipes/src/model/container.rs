//! A container of a recipe.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Item;
use crate::diagnostic::Anchor;
use crate::shape::{Cpus, ImageRef, Template, Templated, User};

/// Tasks a container may have when it does not say.
pub const DEFAULT_PIDS: u32 = 2048;
/// Time between the stop signal and KILL when the container does not say.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// One container, with its templates still to be filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Its name, in one name space with the steps, and its host name for the instance's other containers.
    pub name: String,
    /// Its image.
    pub image: ImageRef,
    /// Replaces the image's entrypoint; without a `command` it drops the image's command too.
    pub entrypoint: Option<Vec<Template>>,
    /// Replaces the image's command.
    pub command: Option<Vec<Template>>,
    /// Environment, beside the image's.
    pub env: BTreeMap<String, Template>,
    /// Secret parameters given as files `/run/secrets/NAME`, 0400, of the container's user.
    pub secrets: Vec<String>,
    /// Files by absolute path.
    pub files: BTreeMap<String, File>,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Mount>,
    /// Absolute paths that are a tmpfs.
    pub tmpfs: Vec<String>,
    /// Published ports; each renders to a [`crate::shape::Port`].
    pub ports: Vec<Template>,
    /// Whom it runs as; the image's user when absent.
    pub user: Option<Templated<User>>,
    /// Working directory; the image's when absent.
    pub working_dir: Option<String>,
    /// Whether the root is read-only.
    pub read_only: Templated<bool>,
    /// Memory limit in bytes.
    pub memory: Option<Templated<u64>>,
    /// Processor limit.
    pub cpus: Option<Templated<Cpus>>,
    /// Limit of tasks.
    pub pids: Templated<u32>,
    /// Capabilities beside the default ones, without `CAP_`.
    pub cap_add: BTreeSet<String>,
    /// Its user namespace.
    pub userns: Userns,
    /// No confinement at all; the box must allow it.
    pub privileged: bool,
    /// Signal that stops it, as `SIGTERM`; the image's when absent.
    pub stop_signal: Option<String>,
    /// Time between the stop signal and KILL.
    pub stop_timeout: Duration,
    /// What happens when it ends.
    pub restart: Restart,
    /// What must hold before it starts: its own `require`, the `require_in` of steps, and what runs before it
    /// under `order = "declared"`.
    pub require: Vec<Item>,
    /// How it is known to be well.
    pub health: Option<Health>,
    /// Where it is written.
    pub at: Anchor,
}

/// A file put into a container.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// What it holds.
    pub content: Template,
    /// Permission bits.
    pub mode: u32,
    /// Its owner inside the container.
    pub owner: Owner,
}

/// A numeric owner, `"UID:GID"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// Where a volume appears in a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub path: String,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// `userns` of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Userns {
    /// A user namespace with the instance's own id range.
    #[default]
    Auto,
    /// The box's own: root inside is root outside.
    Host,
}

/// `restart` of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Whenever it has ended.
    #[default]
    Always,
    /// When it has ended with another code than 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// How a container's health is found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// Time between two probes.
    pub interval: Duration,
    /// Time one probe may take.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// Time after the start in which failures do not count.
    pub start_period: Duration,
}

/// What a health check asks, with its templates.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// `":PORT/PATH"`, healthy on 200 to 399; renders to an [`HttpProbe`].
    Http(Template),
    /// `":PORT"`, healthy when it accepts; renders to a port.
    Tcp(Template),
    /// A command in the container, healthy when it ends with 0.
    Command(Vec<Template>),
}

/// An HTTP probe with its templates filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpProbe {
    /// Port in the container.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
}
