//! `holdfast-update FOLDER`: looks for, stages or verifies a release or scrubs the slots, as its own user without rights.
//!
//! The partitions are descriptors that systemd hands over by name: `target-boot`, `target-root`,
//! `running-boot`, `running-root`. Exit code 0 when it was done, 1 when not: `FOLDER/result.json` says why.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use agent_update::{Device, Outcome, Patience, Slots};
use anyhow::Context;
use image_layout::release::Part;

fn main() -> ExitCode {
    match update() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("holdfast-update: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn update() -> anyhow::Result<ExitCode> {
    let folder = std::env::args_os().nth(1).context("usage: holdfast-update FOLDER")?;
    let slots = slots()?;
    let outcome =
        agent_update::run(Path::new(&folder), &slots, Patience::default(), &mut |line| println!("{line}"))?;
    Ok(match outcome {
        Outcome::Error(error) => {
            eprintln!("holdfast-update: {error}");
            ExitCode::FAILURE
        }
        Outcome::Found(_) | Outcome::Staged(_) | Outcome::Verified | Outcome::Scrubbed(_) => {
            ExitCode::SUCCESS
        }
    })
}

/// The partitions that were handed over.
fn slots() -> anyhow::Result<Slots> {
    let mut slots = Slots { target: Vec::new(), running: Vec::new() };
    for (name, descriptor) in agent_system::handed::descriptors() {
        let part = |slot: &str| match name.strip_prefix(slot) {
            Some("-boot") => Some(Part::Boot),
            Some("-root") => Some(Part::Root),
            _ => None,
        };
        let (target, running) = (part("target"), part("running"));
        let device = Device::new(descriptor.into(), name)?;
        match (target, running) {
            (Some(part), _) => slots.target.push((part, device)),
            (None, Some(part)) => slots.running.push((part, device)),
            (None, None) => {}
        }
    }
    Ok(slots)
}
