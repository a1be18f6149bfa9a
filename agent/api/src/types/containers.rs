//! Containers, their logs, and commands run in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Container {
    /// `INSTANCE.CONTAINER`.
    pub name: String,
    /// Where it stands.
    pub state: ContainerState,
    /// Why it stands there, when that needs saying.
    pub reason: Option<String>,
    /// Reference as the recipe has it.
    pub image: String,
    /// Digest that it was resolved to.
    pub digest: Option<String>,
    /// Host process id of its first process.
    pub pid: Option<u32>,
    /// Seconds since it started.
    pub uptime: Option<u64>,
    /// Starts after failures since it was last healthy for ten minutes.
    pub restarts: u32,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// Bytes of memory in use.
    pub memory: Option<u64>,
    /// Addresses on the instance's network.
    pub addresses: Vec<String>,
    /// Ports published on the box, as in a recipe.
    pub ports: Vec<String>,
}

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerState {
    /// Waits for its image or for what it requires.
    Waiting,
    /// Starts, or runs and has not been probed with success yet.
    Starting,
    /// Runs, and has no probe.
    Running,
    /// Runs and answers its probe.
    Healthy,
    /// Runs and does not answer its probe.
    Unhealthy,
    /// Is down and will be started again.
    Restarting,
    /// Ended and stays down.
    Exited,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Exit {
    /// `exited`, `signal` or `oom`.
    pub cause: String,
    /// Exit code, 128 + signal when it was killed.
    pub code: i32,
    /// Name of the signal.
    pub signal: Option<String>,
}

/// What to read of the logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogsQuery {
    /// `INSTANCE` or `INSTANCE.CONTAINER`; absent: the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only the last so many lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u32>,
    /// Only what is younger: a duration (`10m`) or an RFC 3339 time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Stay and send what comes.
    #[serde(default)]
    pub follow: bool,
}

/// A line of a log. Sent as JSON lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// RFC 3339 in UTC, with microseconds.
    pub time: String,
    /// `INSTANCE.CONTAINER`, or `holdfastd`.
    pub source: String,
    /// `stdout`, `stderr` or `journal`.
    pub stream: String,
    /// The text without its end of line.
    pub text: String,
}

/// A command to run in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecRequest {
    /// `INSTANCE.CONTAINER`, or an instance with one container.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// `UID[:GID]` or names; absent: the container's.
    #[serde(default)]
    pub user: Option<String>,
    /// Added to the container's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Absent: the container's.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Whether stdin is sent.
    #[serde(default)]
    pub stdin: bool,
    /// Whether it gets a terminal; stdout and stderr are one then.
    #[serde(default)]
    pub tty: Option<TerminalSize>,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TerminalSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}
