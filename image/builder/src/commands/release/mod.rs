//! `release`: a repository of releases that boxes update themselves to. One module per verb.

mod add;
mod keys;
mod point;
mod prune;
mod publish;
mod refresh;
mod signing;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::context::Context;

const EXAMPLES: &str = "\
A repository is a folder of plain files: any web server or S3 bucket can serve it. Its metadata are TUF's, so
that nobody but the holder of the keys can make a box run something, go back, or stay behind unnoticed.

Examples:
  holdfast-image release keys init --keys ~/holdfast-keys
  holdfast-image build --update-root ~/holdfast-keys/root.json
  holdfast-image release add --repository releases --keys ~/holdfast-keys target/image
  holdfast-image release verify --repository releases --root ~/holdfast-keys/root.json
  holdfast-image release publish --repository releases --to s3://my-bucket/holdfast

Every two weeks at most, so that boxes know that nothing is kept from them:
  holdfast-image release refresh --repository releases --keys ~/holdfast-keys

Keep the root key and the targets key off the machine that refreshes: it needs timestamp and snapshot keys only.";

/// Arguments of `release`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make and replace the keys that sign releases.
    Keys(keys::Args),
    /// Add a built image as a release, and point a channel at it.
    Add(add::Args),
    /// Point a channel at a release that is there.
    Point(point::Args),
    /// Make the repository valid for longer.
    Refresh(refresh::Args),
    /// Check a repository as a box does.
    Verify(verify::Args),
    /// Remove old releases.
    Prune(prune::Args),
    /// Copy the repository to a folder or an S3 bucket.
    Publish(publish::Args),
}

/// Runs `release`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Keys(args) => keys::run(context, args),
        Command::Add(args) => add::run(context, args),
        Command::Point(args) => point::run(context, args),
        Command::Refresh(args) => refresh::run(context, args),
        Command::Verify(args) => verify::run(context, args),
        Command::Prune(args) => prune::run(context, args),
        Command::Publish(args) => publish::run(context, args),
    }
}
