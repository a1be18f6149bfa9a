//! `holdfast-update FOLDER`: looks for, stages or verifies a release or scrubs the slots.
//! `holdfast-update notify FOLDER`: sends a message to the box's owner.
//!
//! The partitions are descriptors that systemd hands over by name: `target-boot`, `target-root`,
//! `running-boot`, `running-root`. Exit code 0 when it was done, 1 when not: `FOLDER/result.json` says why.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use agent_update::notify::{self, Delivery};
use agent_update::{Device, Outcome, Patience, Slots};
use anyhow::bail;
use image_layout::release::Part;

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    match words {
        [verb, folder] if verb == "notify" => send(Path::new(folder)),
        [folder] => update(Path::new(folder)),
        _ => bail!("usage: holdfast-update [notify] FOLDER"),
    }
}

fn send(folder: &Path) -> anyhow::Result<ExitCode> {
    Ok(match notify::run(folder)? {
        Delivery::Delivered(_) => ExitCode::SUCCESS,
        Delivery::Refused(reason) | Delivery::Failed(reason) => {
            eprintln!("holdfast-update: the message was not delivered: {reason}");
            ExitCode::FAILURE
        }
    })
}

fn update(folder: &Path) -> anyhow::Result<ExitCode> {
    let slots = slots()?;
    let outcome = agent_update::run(folder, &slots, Patience::default(), &mut |line| println!("{line}"))?;
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
