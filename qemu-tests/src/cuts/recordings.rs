//! What is recorded.

use anyhow::Result;

use super::recording::{Recorder, Recording};
use crate::documents::page;
use crate::lab::Lab;
use crate::machine::Setup;
use crate::registry::Registry;

/// Something that a box does while it is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// For messages and results.
    pub name: &'static str,
    /// Makes the recording.
    pub record: fn(&Lab, &Registry, &'static str) -> Result<Recording>,
}

/// All there are.
pub const RECORDINGS: [Subject; 1] = [Subject { name: "first-boot", record: first_boot }];

const TEXT: &str = "the first page";

/// A fresh disk is grown, the box gets its identity, its document is accepted and an image is pulled.
fn first_boot(lab: &Lab, registry: &Registry, name: &'static str) -> Result<Recording> {
    let mut recorder = Recorder::boot(lab, name, Setup::with(page(registry, TEXT)))?;
    recorder.wait_answer()?;
    recorder.acknowledge_fields("provider.json", &["/instance_id"])?;
    recorder.acknowledge_fields("generations/1.json", &["/number", "/document"])?;
    recorder.finish(Some(TEXT))
}
