//! One module per verb.

pub(crate) mod app;
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod cloud;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod lock;
pub(crate) mod release;
pub(crate) mod run;
pub(crate) mod shell;
pub(crate) mod tool;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::context::Context;

/// The verbs.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Resolve Debian packages from signed releases into lock files.
    Lock(lock::Args),
    /// Build the image from the lock file.
    Build(build::Args),
    /// Say what an image consists of.
    Inspect(inspect::Args),
    /// Boot an image in the locked QEMU, on a throw-away overlay.
    Run(run::Args),
    /// Write a first user-data document, by asking.
    Init(init::Args),
    /// Check recipes and user-data as the box does.
    Check(check::Args),
    /// Build OCI images of apps from Debian packages, and push them.
    App(app::Args),
    /// Publish images as releases that boxes update themselves to.
    Release(release::Args),
    /// Bring an image to a provider.
    Upload(cloud::upload::Args),
    /// Make a box of an image at a provider.
    Launch(cloud::launch::Args),
    /// List the images at a provider.
    Images(cloud::list::Args),
    /// List the boxes at a provider.
    Boxes(cloud::list::Args),
    /// Remove images or boxes at a provider.
    Destroy(cloud::destroy::Args),
    /// Run a program of the locked tools, or say where a file of theirs is.
    Tool(tool::Args),
    /// Write completions for a shell.
    Completions(shell::Completions),
    /// Write manual pages.
    Man(shell::Man),
}

/// Runs one verb.
pub(crate) fn run(context: &Context, command: Command) -> Result<ExitCode> {
    match command {
        Command::Lock(args) => lock::run(context, args),
        Command::Build(args) => build::run(context, args),
        Command::Inspect(args) => inspect::run(context, args),
        Command::Run(args) => run::run(context, args),
        Command::Init(args) => init::run(context, args),
        Command::Check(args) => check::run(context, args),
        Command::App(args) => app::run(context, args),
        Command::Release(args) => release::run(context, args),
        Command::Upload(args) => cloud::upload::run(context, args),
        Command::Launch(args) => cloud::launch::run(context, args),
        Command::Images(args) => cloud::list::images(args),
        Command::Boxes(args) => cloud::list::boxes(args),
        Command::Destroy(args) => cloud::destroy::run(args),
        Command::Tool(args) => tool::run(context, args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    }
}
