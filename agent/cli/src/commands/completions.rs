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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_completed() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "holdfast", &mut script);
            let script = String::from_utf8(script).unwrap();
            for words in Cli::all() {
                assert!(script.contains(words.last().unwrap()), "{shell}: {words:?}");
            }
        }
    }
}
