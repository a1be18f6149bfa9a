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
    use clap::Parser;

    use super::*;

    /// Every command that people see, by its words.
    fn all(command: &clap::Command, words: &[String]) -> Vec<Vec<String>> {
        let seen = command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help");
        seen.flat_map(|command| {
            let words = [words, &[command.get_name().to_owned()]].concat();
            let below = all(command, &words);
            std::iter::once(words).chain(below)
        })
        .collect()
    }

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
        let commands = all(&Cli::command(), &[]);
        assert!(commands.len() > 25, "{commands:?}");
        for words in commands {
            let page = page(&format!("holdfast-image-{}.1", words.join("-")));
            assert!(words.len() > 1 || page.contains("Examples:"), "{words:?}: {page}");
        }
    }

    #[test]
    fn every_command_is_completed() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "holdfast-image", &mut script);
            let script = String::from_utf8(script).unwrap();
            for words in all(&Cli::command(), &[]) {
                assert!(script.contains(words.last().unwrap()), "{shell}: {words:?}");
            }
        }
    }

    /// Lines that people copy: `target/tool/holdfast-image …`, alone or behind a pipe.
    #[test]
    fn command_lines_of_the_documents_are_understood() {
        let documents = [include_str!("../../../../README.md"), include_str!("../../../README.md")];
        let lines =
            documents.iter().flat_map(|text| text.split("```").skip(1).step_by(2)).flat_map(str::lines);
        let mut seen = 0;
        for line in lines {
            let line = line.split(" # ").next().unwrap_or_default().split(" < ").next().unwrap_or_default();
            let line = line.rsplit(" | ").next().unwrap_or_default().trim().trim_end_matches(" &");
            let Some(rest) = line
                .strip_prefix("target/tool/")
                .or(Some(line))
                .filter(|line| line.starts_with("holdfast-image "))
            else {
                continue;
            };
            if let Err(error) = Cli::try_parse_from(rest.split_whitespace()) {
                panic!("{line}: {error}");
            }
            seen += 1;
        }
        assert!(seen > 20, "{seen}");
    }
}
