//! `release point`: another release for a channel.

use std::process::ExitCode;

use anyhow::Result;
use image_layout::release::DEFAULT_CHANNEL;
use image_layout::version::Version;

use super::signing::{self, Signing};
use crate::context::Context;
use crate::output;
use crate::release::add::{self, AddError};
use crate::release::catalogue;

const EXAMPLES: &str = "\
To withdraw a bad release, point its channel at the one before it; to promote one that proved good, point the
other channel at it.

Examples:
  holdfast-image release point --repository releases --keys ~/holdfast-keys 0.2.0.20261127
  holdfast-image release point --repository releases --keys ~/holdfast-keys --channel beta 0.2.0.20261127";

/// Arguments of `release point`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    signing: Signing,
    /// The channel.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_CHANNEL, value_parser = catalogue::channel_name)]
    channel: String,
    /// The release that its boxes are to run.
    #[arg(value_name = "VERSION")]
    version: Version,
}

/// Runs `release point`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let (keys, mut repository) = args.signing.open()?;
    let Args { signing, channel, version } = args;
    if add::release(&repository, &version)?.is_none() {
        return Err(AddError::Unknown { version, known: add::releases(&repository.contents()) }.into());
    }
    if add::channel(&repository, &channel)?.as_ref() == Some(&version) {
        output::print(&format!("{channel}: unchanged at {version}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut contents = repository.contents();
    let files = add::insert(&mut contents, vec![catalogue::channel(&channel, &version)?])?;
    signing.write(&keys, &mut repository, contents, files)?;
    output::print(&format!("{channel}: {version}\n"))?;
    signing::say_until(context, &keys, &repository)?;
    Ok(ExitCode::SUCCESS)
}
