//! Partition images, and what a publisher makes of them.

use image_layout::block_map::BlockMap;
use sha2::{Digest, Sha256};
use std::collections::HashSet;

pub const BLOCK: usize = 4096;

/// Hex SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The block number `seed`: hardly compressible, as most of a root is.
pub fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(word).take(BLOCK / 8).flatten().collect()
}

/// The block number `seed`: text, which is stored as a zstd frame.
pub fn text(seed: u64) -> Vec<u8> {
    format!("line {seed} of a configuration file\n").into_bytes().into_iter().cycle().take(BLOCK).collect()
}

/// An image of these blocks. 0 is a block of zeroes, an odd number one of noise, an even one of text.
pub fn image(blocks: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let block = |seed| match seed {
        0 => vec![0; BLOCK],
        odd if odd % 2 == 1 => noise(odd),
        even => text(even),
    };
    blocks.into_iter().flat_map(block).collect()
}

/// A block map and the stored blocks.
pub fn pack(image: &[u8]) -> (BlockMap, Vec<u8>) {
    let (mut map, mut stored, mut seen) = (BlockMap::default(), Vec::new(), HashSet::new());
    for block in image.chunks(BLOCK) {
        let hash = Sha256::digest(block).into();
        if block.iter().all(|byte| *byte == 0) || !seen.insert(hash) {
            map.push(hash, 0);
            continue;
        }
        let frame = zstd::bulk::compress(block, 19).unwrap();
        let bytes = if frame.len() < BLOCK { &frame } else { block };
        map.push(hash, bytes.len() as u16);
        stored.extend_from_slice(bytes);
    }
    (map, stored)
}

/// Bytes of these blocks as they are stored, each once.
pub fn stored(blocks: impl IntoIterator<Item = u64>) -> u64 {
    pack(&image(blocks)).0.stored()
}

/// Bytes of an image's block map.
pub fn map_bytes(image: &[u8]) -> u64 {
    (image.len() / BLOCK * 34 + 32) as u64
}
