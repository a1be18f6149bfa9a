//! Where the box already has the blocks of a release.
//!
//! Both slots are read once, block by block. A block that only the slot to be written has, and elsewhere than
//! where it belongs, would be written over sooner or later: it is put aside first, in a file of the folder,
//! which a run that was cut finds again. Whatever is found here is checked once more when it is used, and what
//! cannot be read is as good as not there: it is fetched.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use image_layout::block_map::{Block, BlockMap, Hash};
use image_layout::disk::BLOCK;
use sha2::{Digest, Sha256};

use crate::error::{UpdateError, chain};
use crate::slot::{Device, Slots};

/// Blocks that are read at once.
const AT_ONCE: u64 = 64;
/// Its name in the folder.
const ASIDE: &str = "aside";
/// Bytes that are enough to leave on a large file system.
const LEFT: u64 = 1 << 28;
/// A block of zeroes needs no place.
pub(crate) const ZEROES: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// A place that a block was seen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nowhere yet.
    Unseen,
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
    /// Looks for blocks in both slots and in what an earlier run put aside.
    pub(crate) fn find<'b>(
        slots: &'a Slots,
        folder: &Path,
        wanted: impl Iterator<Item = &'b Block>,
    ) -> Result<Blocks<'a>, UpdateError> {
        let mut places: HashMap<Hash, Place> = wanted.map(|block| (block.hash, Place::Unseen)).collect();
        for (index, (_, device)) in slots.running.iter().enumerate() {
            scan(device, |at, hash, _| {
                if let Some(place @ Place::Unseen) = places.get_mut(&hash) {
                    *place = Place::Running(index, at);
                }
            });
        }
        let aside = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(ASIDE))
            .map_err(|error| put_aside(&error))?;
        let mut end = known(&aside, &mut places)?;
        let most = end + room(&aside);
        for (_, device) in &slots.target {
            scan(device, |_, hash, bytes| {
                // Without room for it, it is fetched instead.
                if let Some(place @ Place::Unseen) = places.get_mut(&hash)
                    && end < most
                    && aside.write_all_at(bytes, end * BLOCK).is_ok()
                {
                    *place = Place::Aside(end);
                    end += 1;
                }
            });
        }
        aside.sync_all().map_err(|error| put_aside(&error))?;
        places.retain(|_, place| *place != Place::Unseen);
        places.shrink_to_fit();
        Ok(Blocks { slots, places, aside })
    }

    /// Reads a block that the box has; `false` when it has not, or not any more.
    pub(crate) fn read(&self, wanted: &Hash, block: &mut [u8]) -> bool {
        let read = match self.places.get(wanted) {
            None | Some(Place::Unseen) => return false,
            Some(Place::Running(index, at)) => self.slots.running[*index].1.read(*at, block).is_ok(),
            Some(Place::Aside(at)) => self.aside.read_exact_at(block, at * BLOCK).is_ok(),
        };
        read && hash(block) == *wanted
    }
}

/// Blocks that may be put aside: a tenth of the file system, or [`LEFT`], is left to what the box is there for.
fn room(aside: &File) -> u64 {
    rustix::fs::fstatvfs(aside)
        .map_or(0, |all| spare(all.f_blocks * all.f_frsize, all.f_bavail * all.f_frsize))
}

/// The same of a file system of so many bytes, of which so many are available.
fn spare(size: u64, available: u64) -> u64 {
    available.saturating_sub((size / 10).min(LEFT)) / BLOCK
}

/// Forgets what was put aside.
pub(crate) fn forget(folder: &Path) -> Result<(), UpdateError> {
    agent_system::files::remove(folder.join(ASIDE))?;
    Ok(())
}

/// Which blocks of `device` are already those of `map`.
pub(crate) fn in_place(device: &Device, map: &BlockMap) -> Vec<bool> {
    let mut there = vec![false; map.blocks().len()];
    each(device, map.blocks().len() as u64, |at, block| {
        there[at as usize] = hash(block) == map.blocks()[at as usize].hash;
    });
    there
}

/// Reads what an earlier run put aside; gives the number of blocks there.
fn known(aside: &File, places: &mut HashMap<Hash, Place>) -> Result<u64, UpdateError> {
    let length = aside.metadata().map_err(|error| put_aside(&error))?.len();
    let blocks = length / BLOCK;
    let mut block = [0; BLOCK as usize];
    for at in 0..blocks {
        aside.read_exact_at(&mut block, at * BLOCK).map_err(|error| put_aside(&error))?;
        if let Some(place @ Place::Unseen) = places.get_mut(&hash(&block)) {
            *place = Place::Aside(at);
        }
    }
    Ok(blocks)
}

/// Shows every block of a partition that is not all zeroes.
fn scan(device: &Device, mut see: impl FnMut(u64, Hash, &[u8])) {
    each(device, device.blocks(), |at, block| {
        if block != ZEROES {
            see(at, hash(block), block);
        }
    });
}

/// Shows the first `blocks` blocks of a partition, but for those that cannot be read.
pub(crate) fn each(device: &Device, blocks: u64, mut see: impl FnMut(u64, &[u8])) {
    let mut buffer = vec![0; (AT_ONCE * BLOCK) as usize];
    let mut at = 0;
    while at < blocks {
        let count = AT_ONCE.min(blocks - at);
        let bytes = &mut buffer[..(count * BLOCK) as usize];
        let whole = device.read(at, bytes).is_ok();
        for (offset, block) in (0..).zip(bytes.chunks_exact_mut(BLOCK as usize)) {
            if whole || device.read(at + offset, block).is_ok() {
                see(at + offset, block);
            }
        }
        at += count;
    }
}

fn put_aside(error: &std::io::Error) -> UpdateError {
    UpdateError::local(format!("failed to put blocks aside: {}", chain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_layout::block_map::Stored;
    use image_layout::release::Part;

    #[test]
    fn a_tenth_or_what_is_enough_is_left() {
        const GIB: u64 = 1 << 30;
        assert_eq!(spare(10 * BLOCK, 3 * BLOCK), 2);
        assert_eq!(spare(10 * BLOCK, BLOCK / 2), 0);
        assert_eq!(spare(252 * GIB, 25 * GIB), (25 * GIB - LEFT) / BLOCK);
    }

    #[test]
    fn a_block_that_has_changed_since_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let partition = |name: &str, block: u8| {
            let path = folder.path().join(name);
            std::fs::write(&path, [block; BLOCK as usize]).unwrap();
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            (Part::Root, Device::new(file, name).unwrap())
        };
        let slots = Slots { target: vec![partition("target", 1)], running: vec![partition("running", 2)] };
        let wanted = [1, 2, 3].map(|block| {
            let hash = hash(&[block; BLOCK as usize]);
            Block { hash, stored: Stored { offset: 0, length: 0 } }
        });
        let blocks = Blocks::find(&slots, folder.path(), wanted.iter()).unwrap();
        let mut block = vec![0; BLOCK as usize];
        let mut check = |expect: [bool; 3]| {
            assert_eq!(wanted.map(|wanted| blocks.read(&wanted.hash, &mut block)), expect);
        };
        check([true, true, false]);
        // What was put aside stays when its place is written over.
        slots.target[0].1.write(0, &[9; BLOCK as usize]).unwrap();
        check([true, true, false]);
        slots.running[0].1.write(0, &[9; BLOCK as usize]).unwrap();
        check([true, false, false]);
        File::create(folder.path().join(ASIDE)).unwrap();
        check([false; 3]);
    }
}
