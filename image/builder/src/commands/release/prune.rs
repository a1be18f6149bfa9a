//! `release prune`: old releases go.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Result;

use super::signing::{self, Signing};
use crate::context::Context;
use crate::output;
use crate::release::prune;

const EXAMPLES: &str = "\
Releases that a channel is at stay, and so does all root metadata. `release publish` then removes the files at
the place that it publishes to, when nothing there leads to them any more.

Examples:
  holdfast-image release prune --repository releases --keys ~/holdfast-keys --keep 3";

/// Arguments of `release prune`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    signing: Signing,
    /// How many of the newest releases stay.
    #[arg(long, value_name = "N")]
    keep: NonZeroUsize,
}

/// Runs `release prune`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let (keys, mut repository) = args.signing.open()?;
    let old = prune::old(&repository, args.keep.get())?;
    let steps = prune::forget(&repository, &keys, &old, args.signing.expires)?;
    repository.apply(&steps, &keys)?;
    let removals = prune::sweep(&repository)?;
    repository.apply(&removals, &keys)?;
    for version in &old {
        output::print(&format!("removed {version}\n"))?;
    }
    output::print(&format!("{} files removed\n", removals.len()))?;
    signing::say_until(context, &keys, &repository)?;
    Ok(ExitCode::SUCCESS)
}
