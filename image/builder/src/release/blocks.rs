//! The blocks of a partition image: map and stored bytes, and the way back.
//!
//! Each distinct block that is not all zeroes is stored once, as a zstd frame where that is smaller. The same
//! image gives the same bytes whatever the number of processors.

use std::collections::{HashMap, HashSet};
use std::io;

use image_layout::block_map::{BlockMap, Hash};
use image_layout::disk::BLOCK;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use zstd::bulk::{Compressor, Decompressor};

const SIZE: usize = BLOCK as usize;
const LEVEL: i32 = 19;

/// An image as it is published.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// What each block is.
    pub map: BlockMap,
    /// The stored blocks, one after the other.
    pub stored: Vec<u8>,
}

/// Stored blocks that are not those of their map.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlocksError {
    /// There are more or fewer bytes.
    #[error("there are {found} bytes of stored blocks, and the map speaks of {expected}")]
    Length {
        /// Bytes that there are.
        found: u64,
        /// Bytes that there should be.
        expected: u64,
    },
    /// A block is another one.
    #[error("block {0} is not the one that the map names")]
    Changed(usize),
    /// A block is in no place.
    #[error("block {0} is neither stored nor equal to one before it")]
    Missing(usize),
    /// There is no memory for it.
    #[error("failed to start zstd")]
    Zstd(#[source] io::Error),
}

/// Makes map and stored blocks of an image of whole blocks.
pub(crate) fn split(image: &[u8]) -> io::Result<Blocks> {
    assert!(image.len().is_multiple_of(SIZE), "an image has whole blocks");
    let hashes: Vec<Hash> = image.par_chunks(SIZE).map(hash).collect();
    let mut seen = HashSet::from([hash(&[0; SIZE])]);
    let new: Vec<bool> = hashes.iter().map(|hash| seen.insert(*hash)).collect();
    let pack = |compressor: &mut io::Result<Compressor<'_>>, (block, new): (&[u8], &bool)| {
        if !new {
            return Ok(Vec::new());
        }
        let compressor =
            compressor.as_mut().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        let frame = compressor.compress(block)?;
        Ok(if frame.len() < SIZE { frame } else { block.to_vec() })
    };
    let packed: io::Result<Vec<Vec<u8>>> =
        image.par_chunks(SIZE).zip(&new).map_init(|| Compressor::new(LEVEL), pack).collect();
    let packed = packed?;
    let mut map = BlockMap::default();
    for (hash, bytes) in hashes.iter().zip(&packed) {
        map.push(*hash, bytes.len() as u16);
    }
    Ok(Blocks { map, stored: packed.concat() })
}

/// Makes the image again, each block checked.
pub(crate) fn join(map: &BlockMap, stored: &[u8]) -> Result<Vec<u8>, BlocksError> {
    if stored.len() as u64 != map.stored() {
        return Err(BlocksError::Length { found: stored.len() as u64, expected: map.stored() });
    }
    let mut image = vec![0; map.blocks().len() * SIZE];
    let mut known = HashMap::from([(hash(&[0; SIZE]), None)]);
    let mut decompressor = Decompressor::new().map_err(BlocksError::Zstd)?;
    for (index, block) in map.blocks().iter().enumerate() {
        let at = index * SIZE;
        let (offset, length) = (block.stored.offset as usize, usize::from(block.stored.length));
        match length {
            0 => match known.get(&block.hash) {
                Some(Some(from)) => image.copy_within(*from..*from + SIZE, at),
                Some(None) => {}
                None => return Err(BlocksError::Missing(index)),
            },
            SIZE => image[at..at + SIZE].copy_from_slice(&stored[offset..offset + SIZE]),
            _ => {
                let block = &mut image[at..at + SIZE];
                let size = decompressor.decompress_to_buffer(&stored[offset..offset + length], block);
                if size.ok() != Some(SIZE) {
                    return Err(BlocksError::Changed(index));
                }
            }
        }
        if length > 0 && hash(&image[at..at + SIZE]) != block.hash {
            return Err(BlocksError::Changed(index));
        }
        known.entry(block.hash).or_insert(Some(at));
    }
    Ok(image)
}

fn hash(block: &[u8]) -> Hash {
    Sha256::digest(block).into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::context::{Context, GlobalOptions};
    use crate::steps::erofs;
    use crate::steps::rootfs::tree::Tree;
    use crate::tools::Tools;

    fn image() -> Vec<u8> {
        let noise = |seed: u8| (0..SIZE / 32).flat_map(move |n| Sha256::digest([seed, n as u8]));
        let text = [b"holdfast".repeat(SIZE / 8), vec![0; SIZE]].concat();
        [noise(1).collect(), text.clone(), noise(2).collect(), noise(1).collect(), text].concat()
    }

    #[test]
    fn an_image_comes_back_from_its_blocks() {
        let Blocks { map, stored } = split(&image()).unwrap();
        let lengths: Vec<u16> = map.blocks().iter().map(|block| block.stored.length).collect();
        assert!(lengths[1] > 0 && lengths[1] < 100, "{lengths:?}");
        assert_eq!([&lengths[..1], &lengths[2..]].concat(), [4096, 0, 4096, 0, 0, 0]);
        assert_eq!(map.stored(), stored.len() as u64);
        assert_eq!(join(&BlockMap::decode(&map.encode()).unwrap(), &stored).unwrap(), image());
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| split(&image())).unwrap().stored, stored, "the same with one thread");
        assert_eq!(split(&[]).unwrap().stored, b"");
    }

    /// Files of which one is another one with each seed, as the root with its verity tree.
    fn root(seed: u8, tools: &Tools, folder: &Path) -> Vec<u8> {
        let noise = |seed: u8, name: u8| {
            let block = move |n: u32| {
                Sha256::new().chain_update([seed, name]).chain_update(n.to_le_bytes()).finalize()
            };
            (0..4096).flat_map(block).collect::<Vec<u8>>()
        };
        let mut tree = Tree::merged();
        for name in 0..40 {
            tree.file(&format!("usr/lib/part-{name}"), 0o644, noise(0, name), "");
            tree.file(&format!("usr/share/text-{name}"), 0o644, format!("text {name}\n").repeat(5000), "");
        }
        tree.file("usr/lib/part-20", 0o644, noise(seed, 20), "");
        erofs::build(&tree, 1_700_000_000, tools, &folder.join("roots"), folder).unwrap().bytes
    }

    #[test]
    fn what_has_not_changed_is_not_fetched_again() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let relock = std::env::var_os("HOLDFAST_RELOCK").is_some();
        let options =
            GlobalOptions { root: Some(repository), cache: None, mirror: None, relock, verbose: false };
        let tools = Context::open(&options).unwrap().tools().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = [1, 2].map(|seed| split(&root(seed, &tools, folder.path())).unwrap());
        let known: HashSet<Hash> = old.map.blocks().iter().map(|block| block.hash).collect();
        let all = new.map.blocks();
        let changed = all.iter().filter(|block| !known.contains(&block.hash)).count();
        // The file's 32 blocks, its part of the verity tree, inodes.
        assert!((32..48).contains(&changed), "{changed} of {} blocks changed", all.len());
        assert!(changed * 10 < all.len(), "{changed} of {} blocks changed", all.len());
        let stay = old.map.blocks().iter().zip(all).filter(|(old, new)| old.hash == new.hash).count();
        assert!(stay * 10 > all.len() * 9, "{stay} of {} blocks are where they were", all.len());
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let Blocks { map, stored } = split(&image()).unwrap();
        assert!(matches!(join(&map, &stored[1..]), Err(BlocksError::Length { .. })));
        for (at, block) in [(0, 0), (4096 + 8, 1), (stored.len() - 1, 3)] {
            let mut bad = stored.clone();
            bad[at] ^= 1;
            assert!(matches!(join(&map, &bad), Err(BlocksError::Changed(index)) if index == block), "{at}");
        }
        let mut other = BlockMap::default();
        other.push([7; 32], 0);
        assert!(matches!(join(&other, &[]), Err(BlocksError::Missing(0))));
    }
}
