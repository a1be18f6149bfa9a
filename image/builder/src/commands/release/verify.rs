//! `release verify`: a repository as a box sees it.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::output;
use crate::progress::size;
use crate::release::verify::{self, Report};

const EXAMPLES: &str = "\
Everything is fetched and checked: signatures, ends of validity, the hash of each file, and that the images of
each release come back from their blocks.

Examples:
  holdfast-image release verify --repository releases --root ~/holdfast-keys/root.json
  holdfast-image release verify --url https://releases.example.org/holdfast --root root.json --json

Exit codes: 0 a box accepts it, 1 it does not.";

/// Arguments of `release verify`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("place").required(true))]
pub(crate) struct Args {
    /// The repository's folder.
    #[arg(long, value_name = "DIR", group = "place")]
    repository: Option<PathBuf>,
    /// Where the repository is served.
    #[arg(long, value_name = "URL", group = "place")]
    url: Option<String>,
    // It stands in the place of the option that every command has, which means nothing here.
    /// The root.json that the boxes were built with.
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Runs `release verify`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let root =
        std::fs::read(&args.root).with_context(|| format!("failed to read `{}`", args.root.display()))?;
    let report = context.progress.step("check the repository", || match (&args.repository, &args.url) {
        (Some(folder), _) => verify::folder(folder, &root),
        (None, url) => verify::served(url.as_deref().unwrap_or_default(), &root),
    })?;
    output::print(&if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { page(&report)? })?;
    Ok(ExitCode::SUCCESS)
}

fn page(report: &Report) -> Result<String, std::fmt::Error> {
    let mut page = "channels\n".to_owned();
    for (name, version) in &report.channels {
        writeln!(page, "  {name:12} {version}")?;
    }
    page += "releases\n";
    for release in &report.releases {
        let (images, stored) = (size(release.size), size(release.stored + release.maps));
        writeln!(page, "  {:24} images {images}, stored {stored}", release.version.to_string())?;
    }
    writeln!(page, "valid until (root.json is version {})", report.root)?;
    for (role, end) in &report.expires {
        writeln!(page, "  {role:12} {end}")?;
    }
    Ok(page)
}
