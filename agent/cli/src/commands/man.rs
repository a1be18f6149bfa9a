//! `man`: manual pages, for a workstation.

use std::path::PathBuf;

use clap::CommandFactory;

use super::Outcome;
use crate::cli::Cli;
use crate::error::{DONE, Failure};

const AFTER: &str = "\
Examples:
  holdfast man ~/.local/share/man/man1";

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The folder that gets a page for each command
    folder: PathBuf,
}

/// Runs `man`.
pub(crate) fn run(args: &Args) -> Outcome {
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.folder))
        .map_err(|error| {
            Failure::failed(format!("failed to write to `{}`: {error}", args.folder.display()))
        })?;
    Ok(DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_gets_a_page_with_its_examples() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(run(&Args { folder: folder.path().join("man1") }).unwrap(), DONE);
        let page = |name: &str| std::fs::read_to_string(folder.path().join("man1").join(name)).unwrap();
        assert!(page("holdfast.1").contains("holdfast\\-apply(1)"), "{}", page("holdfast.1"));
        let commands = Cli::all();
        assert!(commands.len() > 30, "{commands:?}");
        for words in commands {
            let page = page(&format!("holdfast-{}.1", words.join("-")));
            let example = format!("holdfast {}", words.join(" "));
            assert!(words.len() > 1 || page.contains(&example), "{example}: {page}");
        }
    }
}
