//! Looks at a disk after a cut while no machine runs: whether it would boot, and what of it is lost.
//!
//! A slot that can be started has a root that is whole. Absent: GRUB itself; no recording writes there, which is
//! checked.

mod boot;
mod data;
mod root;
mod state;
mod table;
mod verity;

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use image_layout::Slot;
use image_layout::disk::Role;

use super::cut::Cut;
use super::recording::Recording;
use crate::disk::Disk;
use crate::lab::Lab;

/// Checks the cuts of one recording.
#[derive(Debug)]
pub struct Checker<'a> {
    lab: &'a Lab,
    recording: &'a Recording,
    /// The slots whose boot partition no entry of the log touches, and which can be started.
    untouched: Vec<Slot>,
    /// Where files are read out to.
    dir: PathBuf,
}

impl<'a> Checker<'a> {
    /// Looks at what is the same in all cuts.
    pub fn new(lab: &'a Lab, recording: &'a Recording) -> Result<Checker<'a>> {
        ensure!(!recording.touches(Role::BiosBoot), "{} writes to GRUB", recording.name);
        let mut untouched = vec![];
        for slot in [Slot::A, Slot::B] {
            if !recording.touches(Role::Boot(slot)) && boot::starts(&recording.base, slot)? {
                untouched.push(slot);
            }
        }
        let dir = recording.base.path().with_extension("read");
        Ok(Checker { lab, recording, untouched, dir })
    }

    /// What is wrong with the disk after `cut`; it is left as it is.
    pub fn problems(&self, disk: &Disk, cut: &Cut) -> Result<Vec<String>> {
        let size = fs::metadata(disk.path())?.len();
        let mut problems = table::problems(size, |at, length| disk.read(at, length))?;
        problems.extend(boot::problems(disk, &self.untouched)?);
        for slot in [Slot::A, Slot::B] {
            if self.recording.touches(Role::Root(slot)) || self.recording.touches(Role::Boot(slot)) {
                problems.extend(root::problem(disk, slot)?);
            }
        }
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir)?;
        }
        fs::create_dir(&self.dir)?;
        let data = self.dir.join("data.img");
        data::take(disk, &data)?;
        if let Some(problem) = data::repair(self.lab, &data)? {
            problems.push(problem);
            return Ok(problems);
        }
        let root = data::read_out(self.lab, &data, &self.dir)?;
        problems.extend(state::problems(&root)?);
        for acknowledged in self.recording.acknowledged.iter().filter(|a| a.holds_at(cut.entry)) {
            problems.extend(boot::missing(disk, &acknowledged.record)?);
            problems.extend(acknowledged.record.missing(|path| state::read(&root.join(path)))?);
        }
        Ok(problems)
    }
}
