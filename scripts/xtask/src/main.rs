//! Checks of the repository, and the runner of its tests.

#![forbid(unsafe_code)]

mod faults;
mod generated;
mod imports;
mod licences;
mod results;
mod sources;
mod test;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks of the repository, and the runner of its tests.
#[derive(Parser)]
#[command(name = "xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check imports between crates, sources, tests that are named, licences and generated files.
    Check {
        /// Write generated files anew instead of failing on stale ones.
        #[arg(long)]
        fix: bool,
    },
    /// Run unit tests, then the tests in virtual machines.
    Test {
        /// Every test, on both firmwares; goes on where it stopped as long as the commit is the same.
        #[arg(long)]
        full: bool,
        /// Only tests whose name contains this.
        #[arg(long)]
        only: Option<String>,
    },
}

fn main() -> ExitCode {
    if let Err(error) = std::env::set_current_dir(root()) {
        eprintln!("error: cannot enter {}: {error}", root().display());
        return ExitCode::FAILURE;
    }
    let done = match Arguments::parse().command {
        Command::Check { fix } => check(fix),
        Command::Test { full, only } => test::run(full, only.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's top folder.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn check(fix: bool) -> anyhow::Result<()> {
    imports::check()?;
    sources::check()?;
    faults::check()?;
    generated::check(fix)?;
    licences::check()
}
