//! `holdfast-image`: locks, builds, checks, inspects and runs images of the box and of its apps.
//!
//! Everything runs as an ordinary user, without loop devices and without maintainer scripts. What
//! comes from outside is trusted only by signature or digest.

#![forbid(unsafe_code)]

mod app;
mod commands;
mod config;
mod context;
mod deb;
mod error;
mod fetch;
mod lock;
mod oci;
mod output;
mod plan;
mod progress;
mod release;
mod steps;
mod tools;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;
use crate::context::{Context, GlobalOptions};

/// Locks, builds, checks, inspects and runs Holdfast images.
#[derive(Parser)]
#[command(name = "holdfast-image", version, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  holdfast-image lock --update            take the newest packages and say what changed
  holdfast-image build --output target/image
  holdfast-image run target/image/holdfast.raw --user-data box.toml --forward 8080:80
  holdfast-image check box.toml
  holdfast-image app build nginx --output target/nginx
  holdfast-image release add --repository releases --keys ~/keys target/image

Exit codes: 0 done, 1 failed, 2 usage or invalid document.";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = Context::open(&cli.global).and_then(|context| commands::run(&context, cli.command));
    match result {
        Ok(code) => code,
        Err(error) => error::report(&error),
    }
}
