//! `holdfast-fetch STAGING`: fetches one image into a staging folder, as its own user without rights.
//!
//! Exit code 0 when the image is there, 1 when it is not: `STAGING/result.json` says which and why.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use agent_containers::Limits;
use agent_containers::fetch::{self, Outcome};
use anyhow::Context;

fn main() -> ExitCode {
    match fetch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("holdfast-fetch: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn fetch() -> anyhow::Result<ExitCode> {
    let staging = std::env::args_os().nth(1).context("usage: holdfast-fetch STAGING")?;
    let outcome = fetch::run(Path::new(&staging), &Limits::default(), &mut |line| println!("{line}"))?;
    Ok(match outcome {
        Outcome::Image(image) => {
            println!("{}: done", image.reference);
            ExitCode::SUCCESS
        }
        Outcome::Error(error) => {
            eprintln!("holdfast-fetch: {error}");
            ExitCode::FAILURE
        }
    })
}
