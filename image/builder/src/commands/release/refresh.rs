//! `release refresh`: a repository that holds for longer.

use std::process::ExitCode;

use anyhow::Result;
use tough::schema::RoleType;

use super::signing::{self, Signing};
use crate::context::Context;
use crate::release::repository::Depth;

const EXAMPLES: &str = "\
A new timestamp, and new snapshot and targets metadata when theirs end within 30 days. The targets key is needed
only for that.

Examples:
  holdfast-image release refresh --repository releases --keys ~/holdfast-keys
  holdfast-image release refresh --repository releases --keys ~/holdfast-keys --expires 30d";

/// Arguments of `release refresh`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    signing: Signing,
}

/// Runs `release refresh`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let (keys, mut repository) = args.signing.open()?;
    let mut depth = repository.due(args.signing.expires);
    if let Some(state) =
        repository.state().filter(|_| depth == Depth::Targets && !keys.has(RoleType::Targets))
        && state.targets.expires > repository.now()
    {
        let end = state.targets.expires;
        context.progress.note(format!("note: the targets metadata end on {end}, and their key is not here"));
        depth = Depth::Snapshot;
    }
    let steps = repository.renew(&keys, depth, repository.contents(), Vec::new(), args.signing.expires)?;
    repository.apply(&steps, &keys)?;
    signing::say_until(context, &keys, &repository)?;
    Ok(ExitCode::SUCCESS)
}
