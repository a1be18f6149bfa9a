//! A release written to the slot that does not run.
//!
//! Order, so that a cut at any instant leaves a slot that either starts whole or does not start: the first
//! block of the boot partition is made zeroes; root and the rest of boot are written and compared as a whole
//! with the signed sums; the first block of the boot partition is written last. A run after a cut finds what
//! is already in place and goes on from there.

use std::path::Path;

use agent_system::files;
use image_layout::block_map::BlockMap;
use image_layout::disk::BLOCK;
use image_layout::release::{Part, PartitionImage};

use crate::blocks::{self, Blocks, ZEROES};
use crate::error::{UpdateError, UpdateErrorKind};
use crate::fetch::{Stored, Wanted};
use crate::message::{Found, Progress, Staged, WrittenPart};
use crate::repository::Repository;
use crate::slot::{Device, Slots};
use crate::verify;

/// Bytes fetched between two notes of the progress.
const NOTE: u64 = 256 << 10;

/// A partition that is being written.
struct Writing<'a> {
    part: Part,
    image: &'a PartitionImage,
    device: &'a Device,
    map: BlockMap,
    in_place: Vec<bool>,
}

/// Writes the repository's release; all of it is in the slot when this returns.
pub(crate) fn stage(
    repository: &Repository,
    found: &Found,
    slots: &Slots,
    folder: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<Staged, UpdateError> {
    let mut writing = Vec::new();
    let mut counted = Counted { folder, progress: Progress::default(), noted: 0, start: 0 };
    for part in Part::ALL {
        let image = repository
            .release()
            .image(part)
            .ok_or_else(|| UpdateError::damaged(format!("the release has no {} image", part.as_str())))?;
        let device = slots.target(part)?;
        fits(image, device)?;
        let map = repository.map(&image.map)?;
        if map.size() != image.size {
            let message = format!(
                "`{}` is the map of {} bytes, and the image has {}",
                image.map,
                map.size(),
                image.size
            );
            return Err(UpdateError::damaged(message));
        }
        counted.start += map.encode().len() as u64;
        let in_place = blocks::in_place(device, &map)?;
        writing.push(Writing { part, image, device, map, in_place });
    }
    counted.progress = Progress { needed: counted.start, fetched: counted.start };
    let missing = |w: &Writing<'_>| w.in_place.iter().filter(|there| !**there).count();
    if writing.iter().map(missing).sum::<usize>() > 0 {
        write(repository, slots, folder, &mut writing, &mut counted, say)?;
    } else {
        for w in &writing {
            finish(w, None)?;
        }
    }
    blocks::forget(folder)?;
    files::remove(folder.join(Progress::FILE))?;
    let parts = writing.iter().map(|w| WrittenPart {
        part: w.part,
        size: w.image.size,
        sha256: w.image.sha256.clone(),
    });
    Ok(Staged {
        found: found.clone(),
        parts: parts.collect(),
        needed: counted.progress.needed,
        fetched: counted.progress.fetched,
    })
}

fn fits(image: &PartitionImage, device: &Device) -> Result<(), UpdateError> {
    let room = device.blocks() * BLOCK;
    if image.size > room {
        let message = format!(
            "the {} image has {} bytes, and {} has {room}",
            image.part.as_str(),
            image.size,
            device.name()
        );
        return Err(UpdateError::new(UpdateErrorKind::TooBig, message));
    }
    Ok(())
}

fn write(
    repository: &Repository,
    slots: &Slots,
    folder: &Path,
    writing: &mut [Writing<'_>],
    counted: &mut Counted<'_>,
    say: &mut dyn FnMut(&str),
) -> Result<(), UpdateError> {
    let boot = slots.target(Part::Boot)?;
    // Before that is gone its blocks are found.
    let maps: Vec<(&Device, &BlockMap)> = writing.iter().map(|w| (w.device, &w.map)).collect();
    let there: Vec<Vec<bool>> = writing.iter().map(|w| w.in_place.clone()).collect();
    let known = Blocks::find(slots, folder, &maps, &there)?;
    boot.write(0, &ZEROES)?;
    boot.sync()?;
    if let Some(w) = writing.iter_mut().find(|w| w.part == Part::Boot)
        && let Some(first) = w.in_place.first_mut()
    {
        *first = false;
    }
    let plans: Vec<Vec<Wanted>> = writing.iter().map(|w| to_fetch(w, &known)).collect();
    let stored = |wanted: &Vec<Wanted>| wanted.iter().map(|w| u64::from(w.block.stored.length)).sum::<u64>();
    counted.progress.needed += plans.iter().map(stored).sum::<u64>();
    counted.note(true)?;
    say(&format!("{} bytes to fetch", counted.progress.needed));
    for (w, wanted) in writing.iter().zip(&plans) {
        let first = one(repository, &known, w, wanted, counted)?;
        finish(w, first)?;
        say(&format!("{} is written and verified", w.device.name()));
    }
    counted.note(true)
}

/// The blocks that must be fetched, in the order of their file: each stored one once.
fn to_fetch(w: &Writing<'_>, known: &Blocks<'_>) -> Vec<Wanted> {
    let zeroes = blocks::hash(&ZEROES);
    let mut needed: std::collections::HashSet<_> = std::collections::HashSet::new();
    for (block, there) in w.map.blocks().iter().zip(&w.in_place) {
        if !there && block.hash != zeroes && !known.has(&block.hash) {
            needed.insert(block.hash);
        }
    }
    let stored = (0..).zip(w.map.blocks()).filter(|(_, block)| block.stored.length > 0);
    stored
        .filter(|(_, block)| needed.remove(&block.hash))
        .map(|(index, block)| Wanted { block: *block, index })
        .collect()
}

/// Writes one partition but for the first block of boot, which it gives back.
fn one(
    repository: &Repository,
    known: &Blocks<'_>,
    w: &Writing<'_>,
    wanted: &[Wanted],
    counted: &mut Counted<'_>,
) -> Result<Option<Vec<u8>>, UpdateError> {
    let mut first = None;
    let held_back = |index: u64| w.part == Part::Boot && index == 0;
    let mut places: std::collections::HashMap<_, Vec<u64>> = std::collections::HashMap::new();
    let fetched: std::collections::HashSet<_> = wanted.iter().map(|wanted| wanted.block.hash).collect();
    let mut buffer = vec![0; BLOCK as usize];
    let zeroes = blocks::hash(&ZEROES);
    for (index, (block, there)) in (0..).zip(w.map.blocks().iter().zip(&w.in_place)) {
        if *there {
            continue;
        }
        if fetched.contains(&block.hash) {
            places.entry(block.hash).or_default().push(index);
        } else if block.hash == zeroes {
            w.device.write(index, &ZEROES)?;
        } else if known.read(&block.hash, &mut buffer)? {
            match held_back(index) {
                true => first = Some(buffer.clone()),
                false => w.device.write(index, &buffer)?,
            }
        } else {
            return Err(UpdateError::slot(format!(
                "block {index} of the {} image was there a moment ago and is not what it was",
                w.part.as_str()
            )));
        }
    }
    let (url, length) = repository.address(&w.image.blocks)?;
    if length != w.map.stored() {
        let message = format!("`{}` has {length} bytes, and its map says {}", w.image.blocks, w.map.stored());
        return Err(UpdateError::damaged(message));
    }
    let stored = Stored { http: repository.http(), url, name: w.image.blocks.clone() };
    let mut failed = None;
    let mut count = |bytes| {
        counted.progress.fetched += bytes;
        failed = failed.take().or(counted.note(false).err());
    };
    stored.fetch(wanted, &mut count, &mut |index, block| {
        let hash = w.map.blocks()[index as usize].hash;
        for index in places.get(&hash).into_iter().flatten() {
            match held_back(*index) {
                true => first = Some(block.to_vec()),
                false => w.device.write(*index, block)?,
            }
        }
        Ok(())
    })?;
    failed.map_or(Ok(first), Err)
}

/// Compares the partition as a whole, and writes the block that was held back.
fn finish(w: &Writing<'_>, first: Option<Vec<u8>>) -> Result<(), UpdateError> {
    w.device.sync()?;
    if !verify::matches(w.device, w.image.size, &w.image.sha256, first.as_deref())? {
        return Err(UpdateError::slot(format!("{} does not hold what was written to it", w.device.name())));
    }
    if let Some(first) = first {
        w.device.write(0, &first)?;
        w.device.sync()?;
        if !verify::matches(w.device, w.image.size, &w.image.sha256, None)? {
            return Err(UpdateError::slot(format!(
                "{} does not hold what was written to it",
                w.device.name()
            )));
        }
    }
    Ok(())
}

/// Bytes fetched, and where that is noted.
struct Counted<'a> {
    folder: &'a Path,
    progress: Progress,
    noted: u64,
    start: u64,
}

impl Counted<'_> {
    fn note(&mut self, now: bool) -> Result<(), UpdateError> {
        if !now && self.progress.fetched < self.noted + NOTE {
            return Ok(());
        }
        self.noted = self.progress.fetched;
        let text = serde_json::to_vec(&self.progress).unwrap_or_default();
        let (path, beside) = (self.folder.join(Progress::FILE), self.folder.join("progress.new"));
        // It is for looking at, and not missed after a power cut.
        let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &path));
        written.map_err(|error| UpdateError::local(format!("failed to note the progress: {error}")))
    }
}
