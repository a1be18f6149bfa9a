//! The block map of a partition image: what each of its blocks is, and where it lies among the stored ones.
//!
//! Little-endian. A header of 32 bytes: magic `HFBLKMAP`, format 1 (u32), block size 4096 (u32), number of
//! blocks (u64), bytes of all stored blocks (u64). Then for each block its SHA-256 and how many bytes of it
//! are stored (u16): 0 none, since it is all zeroes or equals an earlier block; 4096 the block itself;
//! fewer a zstd frame of it. Stored blocks follow each other in a file of their own, in the order of the
//! map, so that each can be fetched by range and checked alone.

use crate::disk::BLOCK;

/// What every map starts with.
pub const MAGIC: [u8; 8] = *b"HFBLKMAP";
/// Version of the format.
pub const FORMAT: u32 = 1;
/// The most blocks of a map: those of the largest partition of a slot.
pub const MAX_BLOCKS: u64 = 512 * crate::disk::MIB / BLOCK;
/// The most bytes of a map.
pub const MAX_BYTES: u64 = HEADER as u64 + MAX_BLOCKS * ENTRY as u64;

const HEADER: usize = 32;
const ENTRY: usize = 34;

/// SHA-256 of a block.
pub type Hash = [u8; 32];

/// A block of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// SHA-256 of its 4096 bytes.
    pub hash: Hash,
    /// Where it is stored; 0 bytes when it is not.
    pub stored: Stored,
}

/// Bytes among the stored blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Bytes before it.
    pub offset: u64,
    /// Its bytes: 0 not stored, 4096 as it is, else a zstd frame.
    pub length: u16,
}

/// The map of a partition image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockMap {
    blocks: Vec<Block>,
    stored: u64,
}

/// Why bytes are no map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockMapError {
    /// The magic is missing.
    #[error("this is no block map")]
    Magic,
    /// It has another format or block size.
    #[error("the block map has format {format} and blocks of {block} bytes; known are format 1 and 4096")]
    Format {
        /// Its format.
        format: u32,
        /// Its block size.
        block: u32,
    },
    /// It has more blocks than any partition.
    #[error("the block map has {0} blocks, more than any partition")]
    Blocks(u64),
    /// Its length is not that of its blocks.
    #[error("the block map has {found} bytes, and its blocks need {needed}")]
    Length {
        /// Bytes that there are.
        found: u64,
        /// Bytes that there should be.
        needed: u64,
    },
    /// A block would be stored in more bytes than it has, or the sum of all is another.
    #[error("the block map's lengths of stored blocks are wrong at block {0}")]
    Stored(u64),
}

impl BlockMap {
    /// Adds a block, stored in `length` bytes behind those before it.
    pub fn push(&mut self, hash: Hash, length: u16) {
        self.blocks.push(Block { hash, stored: Stored { offset: self.stored, length } });
        self.stored += u64::from(length);
    }

    /// All blocks in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Bytes of the image.
    pub fn size(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK
    }

    /// Bytes of all stored blocks.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Writes a map.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.blocks.len() * ENTRY);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(BLOCK as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.blocks.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.stored.to_le_bytes());
        for block in &self.blocks {
            bytes.extend_from_slice(&block.hash);
            bytes.extend_from_slice(&block.stored.length.to_le_bytes());
        }
        bytes
    }

    /// Reads a map.
    pub fn decode(bytes: &[u8]) -> Result<BlockMap, BlockMapError> {
        let (header, entries) = bytes.split_at_checked(HEADER).ok_or(BlockMapError::Magic)?;
        if header[..8] != MAGIC {
            return Err(BlockMapError::Magic);
        }
        let small =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let large = |at: usize| u64::from(small(at)) | u64::from(small(at + 4)) << 32;
        let (format, block) = (small(8), small(12));
        if format != FORMAT || u64::from(block) != BLOCK {
            return Err(BlockMapError::Format { format, block });
        }
        let (blocks, stored) = (large(16), large(24));
        if blocks > MAX_BLOCKS {
            return Err(BlockMapError::Blocks(blocks));
        }
        let needed = HEADER as u64 + blocks * ENTRY as u64;
        if bytes.len() as u64 != needed {
            return Err(BlockMapError::Length { found: bytes.len() as u64, needed });
        }
        let mut map = BlockMap { blocks: Vec::with_capacity(blocks as usize), stored: 0 };
        for (index, entry) in entries.chunks_exact(ENTRY).enumerate() {
            let length = u16::from_le_bytes([entry[32], entry[33]]);
            if u64::from(length) > BLOCK {
                return Err(BlockMapError::Stored(index as u64));
            }
            let mut hash = Hash::default();
            hash.copy_from_slice(&entry[..32]);
            map.push(hash, length);
        }
        if map.stored != stored {
            return Err(BlockMapError::Stored(blocks));
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> BlockMap {
        let mut map = BlockMap::default();
        for (byte, length) in [(1, 4096), (2, 0), (3, 17), (1, 0)] {
            map.push([byte; 32], length);
        }
        map
    }

    #[test]
    fn reads_what_it_writes() {
        let read = BlockMap::decode(&map().encode()).unwrap();
        assert_eq!(read, map());
        assert_eq!((read.size(), read.stored()), (4 * 4096, 4113));
        assert_eq!(read.blocks()[2].stored, Stored { offset: 4096, length: 17 });
        assert_eq!(BlockMap::decode(&BlockMap::default().encode()), Ok(BlockMap::default()));
    }

    #[test]
    fn says_what_is_wrong() {
        let good = map().encode();
        let changed = |at: usize, with: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            BlockMap::decode(&bytes).unwrap_err()
        };
        assert_eq!(changed(0, b"X"), BlockMapError::Magic);
        assert_eq!(changed(8, &[2]), BlockMapError::Format { format: 2, block: 4096 });
        assert_eq!(changed(12, &[0, 32]), BlockMapError::Format { format: 1, block: 8192 });
        assert_eq!(changed(16, &[0xff; 8]), BlockMapError::Blocks(u64::MAX));
        assert_eq!(changed(16, &[5]), BlockMapError::Length { found: 168, needed: 202 });
        assert_eq!(changed(24, &[0]), BlockMapError::Stored(4));
        assert_eq!(changed(32 + 32, &[1, 0x10]), BlockMapError::Stored(0));
        for end in [0, 7, 31] {
            assert_eq!(BlockMap::decode(&good[..end]), Err(BlockMapError::Magic));
        }
        assert!(matches!(BlockMap::decode(&good[..100]), Err(BlockMapError::Length { found: 100, .. })));
    }
}
