//! `holdfast-fetch STAGING`: fetches one image into a staging folder.
//!
//! Exit code 0 when the image is there, 1 when it is not: `STAGING/result.json` says which and why.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use agent_containers::Limits;
use agent_containers::fetch::{self, Outcome};
use anyhow::bail;

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let [staging] = words else { bail!("usage: holdfast-fetch STAGING") };
    let outcome = fetch::run(Path::new(staging), &Limits::default(), &mut |line| println!("{line}"))?;
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
