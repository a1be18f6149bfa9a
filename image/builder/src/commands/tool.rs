//! `tool`: runs a program of the locked tools, or says where a file of theirs is.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::output;

const EXAMPLES: &str = "\
The program replaces this one, so its exit code, signals and standard streams are its own.

Examples:
  holdfast-image tool qemu-img -- info target/image/holdfast.raw
  holdfast-image tool docker-registry -- serve config.yml
  holdfast-image tool --path usr/share/OVMF/OVMF_CODE_4M.fd";

/// Arguments of `tool`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A program of the tools.
    #[arg(required_unless_present = "path", conflicts_with = "path")]
    name: Option<String>,
    /// Print where this file of the tools is.
    #[arg(long, value_name = "FILE")]
    path: Option<String>,
    /// The program's arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<std::ffi::OsString>,
}

/// Runs `tool`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let tools = context.tools()?;
    if let Some(path) = &args.path {
        output::print(&format!("{}\n", tools.file(path)?.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = args.name.unwrap_or_default();
    let error = tools.command(&name)?.args(&args.arguments).exec();
    Err(error).with_context(|| format!("failed to start `{name}`"))
}
