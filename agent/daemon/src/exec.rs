//! Commands in running containers, by `holdfast-shim exec`.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use agent_core::ContainerName;
use image_layout::paths;
use tokio::process::Command;

use crate::agent::{Agent, shim_state};

/// What a command may ask for beside its words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options<'a> {
    /// `USER[:GROUP]`; absent: the container's.
    pub(crate) user: Option<&'a str>,
    /// Added to the container's environment.
    pub(crate) env: Vec<(&'a str, &'a str)>,
    /// Absent: the container's.
    pub(crate) working_dir: Option<&'a str>,
    /// Whether standard input becomes the controlling terminal.
    pub(crate) tty: bool,
}

/// The shim that runs a command in a container, not started yet.
pub(crate) fn command(agent: &Agent, name: &ContainerName, words: &[String]) -> Command {
    command_with(agent, name, words, &Options::default())
}

/// As [`command`], with options.
pub(crate) fn command_with(
    agent: &Agent,
    name: &ContainerName,
    words: &[String],
    options: &Options<'_>,
) -> Command {
    let mut command = Command::new(format!("{}/holdfast-shim", paths::LIBEXEC));
    command.env_clear().arg("exec").arg("--state").arg(shim_state()).arg(agent.bundle(name));
    if let Some(user) = options.user {
        command.args(["--user", user]);
    }
    for (key, value) in &options.env {
        command.arg("--env").arg(format!("{key}={value}"));
    }
    if let Some(directory) = options.working_dir {
        command.args(["--cwd", directory]);
    }
    if options.tty {
        command.arg("--tty");
    }
    command.arg("--").args(words);
    command
}

/// The exit code, 128 + n for signal n.
pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
