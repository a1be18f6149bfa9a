//! A root compared with its verity tree, block by block, and put right.
//!
//! From the root hash downwards: a block of the tree that is right says what the blocks below it have to be. One
//! that is not is made anew from the data below it, and counts only when its own hash is right then; what lies
//! below one that is lost cannot be judged.

use image_layout::block_map::Hash;

use super::elsewhere::Elsewhere;
use super::tree::{BYTES, HASH, Tree};
use crate::blocks;
use crate::error::UpdateError;
use crate::slot::Device;

/// Stands for the hash of a block that could not be read, and of one of which nothing is known.
const NONE: [u8; HASH] = [0; HASH];

/// A block that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its place in the partition.
    pub(crate) at: u64,
    /// What its hash should be.
    pub(crate) hash: Hash,
}

/// What was found, and done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Blocks that were judged.
    pub(crate) checked: u64,
    /// Those that were not what they should be.
    pub(crate) damaged: u64,
    /// Those of them that are now.
    pub(crate) repaired: u64,
    /// Blocks that could not be judged.
    pub(crate) unknown: u64,
}

/// Compares, and with `elsewhere` repairs what is damaged.
pub(crate) fn scrub(
    device: &Device,
    tree: &Tree,
    mut elsewhere: Option<&mut Elsewhere<'_>>,
) -> Result<Found, UpdateError> {
    if device.blocks() < tree.blocks() {
        return Err(UpdateError::slot(format!(
            "{} has {} blocks, and its root needs {}",
            device.name(),
            device.blocks(),
            tree.blocks()
        )));
    }
    // What is cached may be right where the disk is not.
    device.forget();
    let computed = computed(device, tree);
    let mut found = Found::default();
    let mut written = Vec::new();
    let mut expected = tree.root().to_vec();
    for (depth, level) in tree.levels().iter().enumerate().rev() {
        let mut right = if depth == 0 { Vec::new() } else { read(device, level.at, level.blocks) };
        let mut wanted = Vec::new();
        for (index, hash) in (0..level.blocks as usize).zip(expected.chunks_exact(HASH)) {
            let hash: Hash = hash.try_into().unwrap_or(NONE);
            let is = match depth {
                0 => computed[0][index * HASH..][..HASH].try_into().unwrap_or(NONE),
                _ => tree.hash(&right[index * BYTES..][..BYTES]),
            };
            found.unknown += u64::from(hash == NONE);
            found.checked += u64::from(hash != NONE);
            if hash != NONE && is != hash {
                wanted.push(Wanted { at: level.at + index as u64, hash });
            }
        }
        found.damaged += wanted.len() as u64;
        let range = |at: u64| (at - level.at) as usize * BYTES..(at - level.at + 1) as usize * BYTES;
        // Nothing but a block of the right hash is ever written.
        let repairs = elsewhere.is_some();
        let mut put = |wanted: &Wanted, block: &[u8]| -> Result<bool, UpdateError> {
            if tree.hash(block) != wanted.hash {
                return Ok(false);
            }
            if depth > 0 {
                right[range(wanted.at)].copy_from_slice(block);
            }
            if repairs {
                device.write(wanted.at, block)?;
                written.push(*wanted);
            }
            Ok(true)
        };
        let mut left = Vec::new();
        for wanted in wanted {
            let made = depth > 0 && put(&wanted, &computed[depth - 1][range(wanted.at)])?;
            if !made {
                left.push(wanted);
            }
        }
        if let Some(elsewhere) = elsewhere.as_deref_mut() {
            left = elsewhere.find(tree, left, &mut put)?;
        }
        if depth > 0 {
            left.iter().for_each(|lost| right[range(lost.at)].fill(0));
        }
        expected = right;
    }
    found.repaired = read_back(device, tree, &written)?;
    Ok(found)
}

/// The hashes of the data as it is, and of these, and so on: those of a level are the blocks of the one above it.
fn computed(device: &Device, tree: &Tree) -> Vec<Vec<u8>> {
    let data = tree.levels()[0].blocks;
    let mut hashes = vec![0; (data as usize * HASH).next_multiple_of(BYTES)];
    blocks::each(device, data, |at, block| {
        hashes[at as usize * HASH..][..HASH].copy_from_slice(&tree.hash(block));
    });
    let mut all = vec![hashes];
    for _ in 2..tree.levels().len() {
        let above = tree.above(&all[all.len() - 1]);
        all.push(above);
    }
    all
}

/// Blocks side by side; zeroes for those that cannot be read.
fn read(device: &Device, from: u64, count: u64) -> Vec<u8> {
    let mut bytes = vec![0; count as usize * BYTES];
    for (at, block) in (from..).zip(bytes.chunks_exact_mut(BYTES)) {
        if device.read(at, block).is_err() {
            block.fill(0);
        }
    }
    bytes
}

/// How many of these blocks the disk holds.
fn read_back(device: &Device, tree: &Tree, written: &[Wanted]) -> Result<u64, UpdateError> {
    if written.is_empty() {
        return Ok(0);
    }
    device.sync()?;
    let mut block = [0; BYTES];
    let holds =
        |wanted: &&Wanted| device.read(wanted.at, &mut block).is_ok() && tree.hash(&block) == wanted.hash;
    Ok(written.iter().filter(holds).count() as u64)
}
