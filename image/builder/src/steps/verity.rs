//! The dm-verity tree of a root, written behind its data.
//!
//! Format 1 of the kernel's `Documentation/admin-guide/device-mapper/verity.rst`: SHA-256, blocks of
//! 4096 bytes, the salt in front of each block, levels from the root downwards. There is no superblock:
//! what the kernel must know is on its command line, as [`image_layout::kernel::Verity`].

use image_layout::disk::BLOCK;
use image_layout::kernel::Verity;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

const BLOCK_BYTES: usize = BLOCK as usize;
const HASH_BYTES: usize = 32;

/// Computes the tree over `data`, whose length is a multiple of [`BLOCK`] and not zero, and returns the
/// parameters with the bytes that belong behind the data.
pub fn tree(data: &[u8], salt: &[u8; HASH_BYTES]) -> (Verity, Vec<u8>) {
    assert!(!data.is_empty() && data.len().is_multiple_of(BLOCK_BYTES), "verity wants whole blocks");
    let mut levels: Vec<Vec<u8>> = Vec::new();
    let mut hashes = hash_blocks(data, salt);
    while hashes.len() > HASH_BYTES {
        let padding = hashes.len().next_multiple_of(BLOCK_BYTES);
        hashes.resize(padding, 0);
        let above = hash_blocks(&hashes, salt);
        levels.push(hashes);
        hashes = above;
    }
    let verity =
        Verity { data_blocks: (data.len() / BLOCK_BYTES) as u64, root_hash: hex(&hashes), salt: hex(salt) };
    (verity, levels.into_iter().rev().flatten().collect())
}

/// The hash of every block of `data`, one after the other.
fn hash_blocks(data: &[u8], salt: &[u8; HASH_BYTES]) -> Vec<u8> {
    let hash = |block: &[u8]| Sha256::new().chain_update(salt).chain_update(block).finalize();
    data.par_chunks(BLOCK_BYTES).flat_map_iter(|block| hash(block).to_vec()).collect()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of data, root hash, blocks of tree.
    const VECTORS: [(usize, &str, usize); 5] = [
        (1, "4ce3ecf32c133bf6321901b6092219474b6ac91a19d0304621d629e6bb9987dc", 0),
        (2, "7c8420191d9250f8d75e13e56b300292afce0d0bf1c2515baf5a6326cc9ad89f", 1),
        (128, "4f1c23580fa1b601d08525c47b320f18c4029317a0d4b94f8776a9b7381be987", 1),
        (129, "8378b1c4c95bcbcb32a532e3f8a4a1e4bc5e97e04d700521feea295c6a330a5a", 3),
        (16385, "1ec0686634ff3b58444834dbb0b0509d3a9dc7ec03ad93b9a61d1394c1a6e616", 132),
    ];

    /// Root hashes by `veritysetup format --no-superblock --salt 00…1f` (cryptsetup 2.6) over blocks
    /// that hold their number as little-endian u32 and zeroes.
    #[test]
    fn agrees_with_veritysetup() {
        let salt: [u8; 32] = std::array::from_fn(|i| i as u8);
        for (blocks, root, tree_blocks) in VECTORS {
            let mut data = vec![0u8; blocks * BLOCK_BYTES];
            for (i, block) in data.chunks_mut(BLOCK_BYTES).enumerate() {
                block[..4].copy_from_slice(&(i as u32).to_le_bytes());
            }
            let (verity, tree) = tree(&data, &salt);
            assert_eq!(verity.root_hash, root, "{blocks} blocks");
            assert_eq!(verity.data_blocks, blocks as u64);
            assert_eq!(tree.len(), tree_blocks * BLOCK_BYTES, "{blocks} blocks");
            assert_eq!(Verity::parse(&verity.to_string()), Some(verity));
        }
    }
}
