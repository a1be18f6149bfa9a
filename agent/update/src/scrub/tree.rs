//! The shape of a root's dm-verity tree, and its hashes.
//!
//! Format 1 of the kernel's `Documentation/admin-guide/device-mapper/verity.rst`, as the image is built: SHA-256,
//! blocks of 4096 bytes, the salt in front of each block, no superblock, the tree behind the data with the level
//! of the root first.

use image_layout::block_map::{Hash, MAX_BLOCKS};
use image_layout::disk::BLOCK;
use image_layout::kernel::Verity;
use sha2::{Digest, Sha256};

use crate::error::UpdateError;

/// Bytes of a block.
pub(crate) const BYTES: usize = BLOCK as usize;
/// Bytes of a hash.
pub(crate) const HASH: usize = 32;

/// A root's tree. Level 0 is the data, the last level has one block, whose hash is the root hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    root: Hash,
    salt: Hash,
    levels: Vec<Level>,
}

/// Blocks side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// The first one's place in the partition.
    pub(crate) at: u64,
    /// How many there are.
    pub(crate) blocks: u64,
}

impl Tree {
    /// The tree that these parameters speak of.
    pub(crate) fn new(verity: &Verity) -> Result<Tree, UpdateError> {
        let hash = |text: &str| -> Option<Hash> {
            let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
            let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
            bytes?.try_into().ok()
        };
        let parsed = hash(&verity.root_hash).zip(hash(&verity.salt));
        let usable = (1..=MAX_BLOCKS).contains(&verity.data_blocks);
        let (root, salt) = parsed
            .filter(|_| usable)
            .ok_or_else(|| UpdateError::local(format!("`{verity}` are no parameters of a root")))?;
        let mut levels = vec![Level { at: 0, blocks: verity.data_blocks }];
        let mut blocks = verity.data_blocks;
        while blocks > 1 {
            blocks = blocks.div_ceil((BYTES / HASH) as u64);
            levels.push(Level { at: 0, blocks });
        }
        let mut at = verity.data_blocks;
        for level in levels[1..].iter_mut().rev() {
            level.at = at;
            at += level.blocks;
        }
        Ok(Tree { root, salt, levels })
    }

    /// The root hash.
    pub(crate) fn root(&self) -> Hash {
        self.root
    }

    /// From the data upwards.
    pub(crate) fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Blocks of data and tree.
    pub(crate) fn blocks(&self) -> u64 {
        self.levels.iter().map(|level| level.blocks).sum()
    }

    /// What stands for a block in the level above.
    pub(crate) fn hash(&self, block: &[u8]) -> Hash {
        Sha256::new().chain_update(self.salt).chain_update(block).finalize().into()
    }

    /// The hashes of these blocks, as the blocks of the level above hold them: the last one is filled up with
    /// zeroes.
    pub(crate) fn above(&self, blocks: &[u8]) -> Vec<u8> {
        let mut hashes: Vec<u8> = blocks.chunks_exact(BYTES).flat_map(|block| self.hash(block)).collect();
        hashes.resize(hashes.len().next_multiple_of(BYTES), 0);
        hashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_lie_behind_the_data_from_the_root_downwards() {
        let check = |data_blocks, expect: &[(u64, u64)]| {
            let verity = Verity { data_blocks, root_hash: "ab".repeat(32), salt: "0f".repeat(32) };
            let tree = Tree::new(&verity).unwrap();
            let levels: Vec<_> = tree.levels().iter().map(|level| (level.at, level.blocks)).collect();
            assert_eq!(levels, expect);
            assert_eq!((tree.root(), tree.salt), ([0xab; 32], [0x0f; 32]));
        };
        check(1, &[(0, 1)]);
        check(2, &[(0, 2), (2, 1)]);
        check(128, &[(0, 128), (128, 1)]);
        check(129, &[(0, 129), (130, 2), (129, 1)]);
        check(16385, &[(0, 16385), (16388, 129), (16386, 2), (16385, 1)]);
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        for (data_blocks, root) in [(0, "ab".repeat(32)), (u64::MAX, "ab".repeat(32)), (1, "é".repeat(32))] {
            let verity = Verity { data_blocks, root_hash: root.clone(), salt: root };
            assert!(Tree::new(&verity).is_err(), "{verity}");
        }
    }
}
