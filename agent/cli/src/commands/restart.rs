//! `restart`, `reboot` and `poweroff`.

use agent_api::routes;
use agent_api::types::Changed;

use super::{Outcome, print};
use crate::cli::Reach;
use crate::connect::{connect, path};
use crate::error::DONE;
use crate::text;

const AFTER: &str = "\
Examples:
  holdfast restart site.web
  holdfast restart --json site";

const AFTER_POWER: &str = "\
Containers are stopped first, each with its own stop signal and time.

Examples:
  holdfast reboot
  holdfast poweroff --json";

/// Arguments of `restart`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// An instance or INSTANCE.CONTAINER
    name: String,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `reboot` and `poweroff`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_POWER)]
pub(crate) struct PowerArgs {
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `restart`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    post(reach, &path(routes::RESTART, &[("name", &args.name)], &[]), args.json).await
}

/// Runs `reboot`.
pub(crate) async fn reboot(reach: &Reach, args: PowerArgs) -> Outcome {
    post(reach, routes::REBOOT, args.json).await
}

/// Runs `poweroff`.
pub(crate) async fn poweroff(reach: &Reach, args: PowerArgs) -> Outcome {
    post(reach, routes::POWEROFF, args.json).await
}

async fn post(reach: &Reach, path: &str, json: bool) -> Outcome {
    let changed: Changed = connect(reach).await?.post(path).await?;
    finish(&changed, json)
}

/// Prints what was done.
pub(super) fn finish(changed: &Changed, json: bool) -> Outcome {
    print(&if json { text::json(changed)? } else { text::plain(&changed.message) + "\n" })?;
    Ok(DONE)
}
