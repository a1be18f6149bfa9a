//! `release add`: a built image becomes a release.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use image_layout::release::DEFAULT_CHANNEL;

use super::signing::{self, Signing};
use crate::context::Context;
use crate::error::{HintExt, Invalid};
use crate::output;
use crate::progress::size;
use crate::release::add::{self, AddError, Images};
use crate::release::catalogue;
use crate::release::image::Built;
use crate::release::keys::Keys;
use crate::release::repository::Repository;
use crate::steps::guest;

const EXAMPLES: &str = "\
What boxes fetch of a release are the 4 KiB blocks of its root and boot partitions that they do not have.

Examples:
  holdfast-image release add --repository releases --keys ~/holdfast-keys target/image
  holdfast-image release add --repository releases --keys ~/holdfast-keys --channel beta target/image

Exit codes: 0 added, or there already and the same; 1 failed; 2 usage, or an older version.";

/// Arguments of `release add`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    signing: Signing,
    /// The channel whose boxes are to run it.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_CHANNEL, value_parser = catalogue::channel_name)]
    channel: String,
    /// Let the channel go back to an older version, as to `point` it does.
    #[arg(long)]
    allow_older: bool,
    /// What `holdfast-image build --output` wrote.
    #[arg(value_name = "IMAGE_DIR")]
    image: PathBuf,
}

/// Runs `release add`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let progress = &context.progress;
    let built = Built::open(&args.image)?;
    let disk = progress.step("check the image", || built.disk())?;
    let scratch = tempfile::Builder::new().prefix("holdfast-release-").tempdir()?;
    let raw = guest::raw(context, &disk, scratch.path())?;
    let images = Images::read(&built, &raw)?;

    let mut keys = Keys::open(&args.signing.keys)?;
    let mut repository = Repository::create(&args.signing.repository, &mut keys)?;
    let version = &built.version;
    let there = add::release(&repository, version)?;
    if there.as_ref().is_some_and(|release| !images.are_of(release)) {
        return Err(AddError::Other(version.clone())).hint("give the image another --image-version");
    }
    let current = add::channel(&repository, &args.channel)?;
    if there.is_some() && current.as_ref() == Some(version) {
        output::print(&format!("{}: unchanged at {version}\n", args.channel))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(current) = current.filter(|current| current > version && !args.allow_older) {
        let channel = args.channel.clone();
        let error = AddError::Older { channel, current, version: version.clone() };
        return Err(Invalid(error.to_string())).hint("--allow-older adds it nevertheless");
    }
    let mut files = match there {
        Some(_) => Vec::new(),
        None => progress.step("compress the blocks", || images.targets(&built))?,
    };
    let bytes = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    files.push(catalogue::channel(&args.channel, version)?);
    let mut contents = repository.contents();
    let files = add::insert(&mut contents, files)?;
    args.signing.write(&keys, &mut repository, contents, files)?;
    output::print(&format!("{}: {version}, {}\n", args.channel, size(bytes)))?;
    signing::say_until(context, &keys, &repository)?;
    Ok(ExitCode::SUCCESS)
}
