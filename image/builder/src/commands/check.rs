//! `check`: the box's own parser on the workstation.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::context::Context;

/// Arguments of `check`.
#[derive(clap::Args)]
pub struct Args {
    /// Recipes and user-data documents.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `check`.
pub fn run(_context: &Context, _args: Args) -> Result<ExitCode> {
    anyhow::bail!("not built yet")
}
