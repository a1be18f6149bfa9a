//! Runs one container, or one more command in a running one, and ends as it ends.
//!
//! `run` is the main process of a container's unit: it builds the root, hands the bundle to
//! libcontainer, forwards signals, carries output to the journal and exits with the container's
//! code. `exec` joins a running container with every protection its first process has.
//!
//! The program has one thread, always: libcontainer clones the container out of it. It knows
//! nothing of recipes, images or instances; its whole input is an OCI bundle with the annotations
//! described in [`annotations`]. What it tells the agent besides its exit code is in [`exit`].

mod annotations;
mod args;
mod bundle;
mod cause;
mod cgroup;
mod command;
mod exec;
mod exit;
mod filter;
mod idmap;
mod inside;
mod join;
mod mounts;
mod relay;
mod root;
mod run;
mod signals;
mod spec;
mod users;

use std::process::ExitCode;

use args::Command;

/// Exit code of every failure before the container's or the command's own program runs.
const SETUP_FAILED: u8 = 125;

fn main() -> ExitCode {
    let outcome = match args::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            print!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Command::Run(run)) => run::run(&run),
        Ok(Command::Exec(exec)) => exec::exec(&exec),
        Err(error) => {
            eprint!("holdfast-shim: {error}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            exit::say(&exit::one_line(&error));
            ExitCode::from(SETUP_FAILED)
        }
    }
}
