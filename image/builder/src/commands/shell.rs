//! `completions` and `man`: for the workstation's shell and its manual.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::Cli;

const COMPLETIONS: &str = "\
Examples:
  holdfast-image completions bash > ~/.local/share/bash-completion/completions/holdfast-image
  holdfast-image completions zsh > ~/.zfunc/_holdfast-image";

const MAN: &str = "\
Examples:
  holdfast-image man ~/.local/share/man/man1";

/// Arguments of `completions`.
#[derive(clap::Args)]
#[command(after_help = COMPLETIONS)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// Arguments of `man`.
#[derive(clap::Args)]
#[command(after_help = MAN)]
pub(crate) struct Man {
    /// The folder that gets a page for each command
    folder: PathBuf,
}

/// Runs `completions`.
pub(crate) fn completions(args: &Completions) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "holdfast-image", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `man`.
pub(crate) fn man(args: &Man) -> Result<ExitCode> {
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.folder))
        .with_context(|| format!("failed to write to `{}`", args.folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_gets_a_page_with_its_examples() {
        let folder = tempfile::tempdir().unwrap();
        man(&Man { folder: folder.path().to_owned() }).unwrap();
        let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(
            page("holdfast-image.1").contains("holdfast\\-image\\-run(1)"),
            "{}",
            page("holdfast-image.1")
        );
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let page = page(&format!("holdfast-image-{name}.1"));
            assert!(page.contains("Examples:"), "{name}: {page}");
        }
    }
}
