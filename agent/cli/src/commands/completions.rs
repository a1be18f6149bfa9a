//! `completions`: for the shell of a workstation.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Outcome, print};
use crate::cli::Cli;
use crate::error::DONE;

const AFTER: &str = "\
Examples:
  holdfast completions bash > ~/.local/share/bash-completion/completions/holdfast
  holdfast completions zsh > ~/.zfunc/_holdfast
  holdfast completions fish > ~/.config/fish/completions/holdfast.fish";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Runs `completions`.
pub(crate) fn run(args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "holdfast", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(DONE)
}
