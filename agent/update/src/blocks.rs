//! Where the box already has the blocks of a release.
//!
//! Both slots are read once, block by block. A block that only the slot to be written has, and elsewhere than
//! where it belongs, would be written over sooner or later: it is put aside first, in a file of the folder,
//! which a run that was cut finds again. Whatever is found here is checked once more when it is used.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use image_layout::block_map::{BlockMap, Hash};
use image_layout::disk::BLOCK;
use sha2::{Digest, Sha256};

use crate::error::{UpdateError, chain};
use crate::slot::{Device, Slots};

/// Blocks that are read at once.
const AT_ONCE: u64 = 64;
/// Its name in the folder.
const ASIDE: &str = "aside";
/// A block of zeroes needs no place.
pub(crate) const ZEROES: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// A place that a block was seen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the slot that runs: its partition by index, and the block.
    Running(usize, u64),
    /// In what was put aside.
    Aside(u64),
}

/// The wanted blocks that the box has.
pub(crate) struct Blocks<'a> {
    slots: &'a Slots,
    places: HashMap<Hash, Place>,
    aside: File,
}

/// SHA-256 of a block.
pub(crate) fn hash(block: &[u8]) -> Hash {
    Sha256::digest(block).into()
}

impl<'a> Blocks<'a> {
    /// Looks for the blocks of `maps` in both slots and in what an earlier run put aside. `in_place` tells
    /// which blocks of a partition of the target are already what they should be.
    pub(crate) fn find(
        slots: &'a Slots,
        folder: &Path,
        maps: &[(&Device, &BlockMap)],
        in_place: &[Vec<bool>],
    ) -> Result<Blocks<'a>, UpdateError> {
        let mut wanted: HashMap<Hash, Option<Place>> = HashMap::new();
        for ((_, map), there) in maps.iter().zip(in_place) {
            let missing = map.blocks().iter().zip(there).filter(|(_, there)| !**there);
            wanted.extend(missing.map(|(block, _)| (block.hash, None)));
        }
        for (index, (_, device)) in slots.running.iter().enumerate() {
            scan(device, |at, hash, _| {
                if let Some(place @ None) = wanted.get_mut(&hash) {
                    *place = Some(Place::Running(index, at));
                }
                Ok(())
            })?;
        }
        let aside = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(ASIDE))
            .map_err(|error| put_aside(&error))?;
        let mut end = known(&aside, &mut wanted)?;
        for (_, device) in &slots.target {
            scan(device, |_, hash, bytes| {
                if let Some(place @ None) = wanted.get_mut(&hash) {
                    // Without room for it, it is fetched instead.
                    if aside.write_all_at(bytes, end * BLOCK).is_ok() {
                        *place = Some(Place::Aside(end));
                        end += 1;
                    }
                }
                Ok(())
            })?;
        }
        aside.sync_all().map_err(|error| put_aside(&error))?;
        let places = wanted.into_iter().filter_map(|(hash, place)| Some((hash, place?))).collect();
        Ok(Blocks { slots, places, aside })
    }

    /// Whether the box has a block.
    pub(crate) fn has(&self, hash: &Hash) -> bool {
        self.places.contains_key(hash)
    }

    /// Reads a block that the box has; `false` when it is not there any more.
    pub(crate) fn read(&self, wanted: &Hash, block: &mut [u8]) -> Result<bool, UpdateError> {
        match self.places.get(wanted) {
            None => return Ok(false),
            Some(Place::Running(index, at)) => self.slots.running[*index].1.read(*at, block)?,
            Some(Place::Aside(at)) => {
                self.aside.read_exact_at(block, at * BLOCK).map_err(|error| put_aside(&error))?;
            }
        }
        Ok(hash(block) == *wanted)
    }
}

/// Forgets what was put aside.
pub(crate) fn forget(folder: &Path) -> Result<(), UpdateError> {
    agent_system::files::remove(folder.join(ASIDE))?;
    Ok(())
}

/// Which blocks of `device` are already those of `map`.
pub(crate) fn in_place(device: &Device, map: &BlockMap) -> Result<Vec<bool>, UpdateError> {
    let mut there = vec![false; map.blocks().len()];
    let mut buffer = vec![0; (AT_ONCE * BLOCK) as usize];
    for (index, chunk) in there.chunks_mut(AT_ONCE as usize).enumerate() {
        let first = index as u64 * AT_ONCE;
        let bytes = &mut buffer[..chunk.len() * BLOCK as usize];
        device.read(first, bytes)?;
        for ((is, block), entry) in
            chunk.iter_mut().zip(bytes.chunks_exact(BLOCK as usize)).zip(&map.blocks()[first as usize..])
        {
            *is = hash(block) == entry.hash;
        }
    }
    Ok(there)
}

/// Reads what an earlier run put aside; gives the number of blocks there.
fn known(aside: &File, wanted: &mut HashMap<Hash, Option<Place>>) -> Result<u64, UpdateError> {
    let length = aside.metadata().map_err(|error| put_aside(&error))?.len();
    let blocks = length / BLOCK;
    let mut block = [0; BLOCK as usize];
    for at in 0..blocks {
        aside.read_exact_at(&mut block, at * BLOCK).map_err(|error| put_aside(&error))?;
        if let Some(place @ None) = wanted.get_mut(&hash(&block)) {
            *place = Some(Place::Aside(at));
        }
    }
    Ok(blocks)
}

/// Shows every block of a partition that is not all zeroes.
fn scan(
    device: &Device,
    mut see: impl FnMut(u64, Hash, &[u8]) -> Result<(), UpdateError>,
) -> Result<(), UpdateError> {
    let mut buffer = vec![0; (AT_ONCE * BLOCK) as usize];
    let mut at = 0;
    while at < device.blocks() {
        let count = AT_ONCE.min(device.blocks() - at);
        let bytes = &mut buffer[..(count * BLOCK) as usize];
        device.read(at, bytes)?;
        for (offset, block) in (0..).zip(bytes.chunks_exact(BLOCK as usize)) {
            if block != ZEROES {
                see(at + offset, hash(block), block)?;
            }
        }
        at += count;
    }
    Ok(())
}

fn put_aside(error: &std::io::Error) -> UpdateError {
    UpdateError::local(format!("failed to put blocks aside: {}", chain(error)))
}
