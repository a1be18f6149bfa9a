//! One file per command. A command returns its exit code; what it prints is made by functions of wire
//! values, which the tests call.

pub(crate) mod apply;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod data;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod metadata;
pub(crate) mod network;
pub(crate) mod notify;
pub(crate) mod plan;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod report;
pub(crate) mod restart;
pub(crate) mod status;
pub(crate) mod stdio;
pub(crate) mod update;
pub(crate) mod version;
pub(crate) mod volumes;

mod lines;
#[cfg(test)]
mod samples;
mod terminal;

use std::io::Write;

use agent_api::types::Health;
use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::error::{DEGRADED, DONE, Failure};

/// What a command ends with.
pub(crate) type Outcome = Result<u8, Failure>;

/// Runs the command.
pub(crate) async fn run(cli: Cli) -> Outcome {
    let reach = &cli.reach;
    let Some(command) = cli.command else {
        let outcome = status::run(reach, status::Args { json: false }).await;
        print(&format!("\n{}", Cli::command().render_help()))?;
        return outcome;
    };
    match command {
        Command::Status(args) => status::run(reach, args).await,
        Command::Doctor(args) => doctor::run(reach, args).await,
        Command::Ps(args) => ps::run(reach, args).await,
        Command::Plan(args) => plan::run(reach, args).await,
        Command::Apply(args) => apply::run(reach, args).await,
        Command::Check(args) => check::run(args),
        Command::Metadata(args) => metadata::run(&args),
        Command::Logs(args) => logs::run(reach, args).await,
        Command::Exec(args) => exec::run(reach, args).await,
        Command::Events(args) => events::run(reach, args).await,
        Command::Images(args) => images::run(reach, args).await,
        Command::Pull(args) => pull::run(reach, args).await,
        Command::Volumes(args) => volumes::run(reach, args).await,
        Command::Data(args) => data::run(reach, args).await,
        Command::Network(args) => network::run(reach, args).await,
        Command::Update(args) => update::run(reach, args).await,
        Command::Notify(args) => notify::run(reach, args).await,
        Command::Report(args) => report::run(reach, args).await,
        Command::Restart(args) => restart::run(reach, args).await,
        Command::Reboot(args) => restart::reboot(reach, args).await,
        Command::Poweroff(args) => restart::poweroff(reach, args).await,
        Command::Version(args) => version::run(reach, args).await,
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Stdio(args) => stdio::run(reach, args).await,
    }
}

/// Writes to standard output. Says whether anybody still reads it: one who has gone, as `head` does, is
/// no failure, but nothing more need be said.
fn print(text: &str) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("failed to write: {error}"))),
    }
}

/// The exit code for a state.
fn code_of(health: Health) -> u8 {
    match health {
        Health::Healthy | Health::Settling => DONE,
        Health::Degraded => DEGRADED,
    }
}

/// A state in a word.
fn word(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Settling => "settling",
        Health::Degraded => "degraded",
    }
}
