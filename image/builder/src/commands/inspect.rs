//! `inspect`: the box's own parser on the workstation.

use std::process::ExitCode;

use anyhow::Result;

use crate::context::Context;

/// Arguments of `inspect`.
#[derive(clap::Args)]
pub struct Args {
}

/// Runs `inspect`.
pub fn run(_context: &Context, _args: Args) -> Result<ExitCode> {
    anyhow::bail!("not built yet")
}
