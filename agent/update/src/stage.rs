//! A release written to the slot that does not run.
//!
//! Order, so that a cut at any instant leaves a slot that either starts whole or does not start: that the slot
//! is written over is noted; the first block of the boot partition is made zeroes; root and the rest of boot are
//! written and compared as a whole with the signed sums; the first block of the boot partition is written last. A
//! run after a cut finds what is already in place and goes on from there.

use std::path::Path;

use agent_system::files;
use image_layout::release::{Part, WrittenPart};

use crate::blocks::{self, Blocks, ZEROES};
use crate::error::UpdateError;
use crate::message::{Found, Progress, Staged};
use crate::repository::Repository;
use crate::slot::Slots;
use crate::writing::{Missing, Writing};

/// Bytes fetched between two notes of the progress.
const NOTE: u64 = 256 << 10;

/// Writes the repository's release; all of it is in the slot when this returns.
pub(crate) fn stage(
    repository: &Repository,
    found: &Found,
    slots: &Slots,
    folder: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<Staged, UpdateError> {
    slots.apart()?;
    let plans = Part::ALL.into_iter().map(|part| Writing::plan(repository, slots, part));
    let mut writing = plans.collect::<Result<Vec<_>, _>>()?;
    let maps = writing.iter().map(Writing::map_bytes).sum();
    let mut counted = Counted { folder, progress: Progress { needed: maps, fetched: maps }, noted: 0 };
    if writing.iter().any(|w| w.missing().next().is_some()) {
        write(repository, slots, folder, &mut writing, &mut counted, say)?;
    } else {
        writing.iter_mut().try_for_each(Writing::finish)?;
    }
    blocks::forget(folder)?;
    files::remove(folder.join(Progress::FILE))?;
    let parts = writing.iter().map(|w| WrittenPart {
        part: w.image().part,
        size: w.image().size,
        sha256: w.image().sha256.clone(),
    });
    Ok(Staged {
        found: found.clone(),
        parts: parts.collect(),
        needed: counted.progress.needed,
        fetched: counted.progress.fetched,
    })
}

fn write(
    repository: &Repository,
    slots: &Slots,
    folder: &Path,
    writing: &mut [Writing<'_>],
    counted: &mut Counted<'_>,
    say: &mut dyn FnMut(&str),
) -> Result<(), UpdateError> {
    // Its own first block too is found before it goes.
    writing.iter_mut().filter(|w| w.image().part == Part::Boot).for_each(Writing::take_first);
    let wanted = writing.iter().flat_map(|w| w.missing().map(|(_, block)| block));
    let known = Blocks::find(slots, folder, wanted)?;
    counted.begin()?;
    let boot = slots.target(Part::Boot)?;
    boot.write(0, &ZEROES)?;
    boot.sync()?;
    let missing = writing.iter_mut().map(|w| w.copy(&known)).collect::<Result<Vec<_>, _>>()?;
    drop(known);
    counted.progress.needed += missing.iter().map(Missing::bytes).sum::<u64>();
    counted.note();
    say(&format!("{} bytes to fetch", counted.progress.needed - counted.progress.fetched));
    for (w, missing) in writing.iter_mut().zip(missing) {
        w.fetch(repository, &missing, &mut |bytes| counted.count(bytes))?;
        w.finish()?;
        say(&format!("{} is written and verified", w.device().name()));
    }
    counted.note();
    Ok(())
}

/// Bytes fetched, and where that is noted.
struct Counted<'a> {
    folder: &'a Path,
    progress: Progress,
    noted: u64,
}

impl Counted<'_> {
    /// Notes for good that the slot is about to be written over.
    fn begin(&self) -> Result<(), UpdateError> {
        let text = serde_json::to_vec(&self.progress).unwrap_or_default();
        Ok(files::write_atomic(self.folder.join(Progress::FILE), text, 0o600)?)
    }

    fn count(&mut self, bytes: u64) {
        self.progress.fetched += bytes;
        if self.progress.fetched >= self.noted + NOTE {
            self.note();
        }
    }

    /// How far it is, is for looking at: neither missed after a power cut, nor worth ending a staging for.
    fn note(&mut self) {
        self.noted = self.progress.fetched;
        let text = serde_json::to_vec(&self.progress).unwrap_or_default();
        let (path, beside) = (self.folder.join(Progress::FILE), self.folder.join("progress.new"));
        let _ = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &path));
    }
}
