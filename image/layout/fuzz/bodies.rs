//! What the fuzz target does with an input. An ordinary test replays the corpus through the same function.

use image_layout::block_map::{BlockMap, MAX_BLOCKS, MAX_BYTES};
use image_layout::disk::BLOCK;

/// Reads a block map; whether it was accepted.
pub(crate) fn block_map(data: &[u8]) -> bool {
    let Ok(map) = BlockMap::decode(data) else { return false };
    assert_eq!(map.encode(), data, "there is one way to write a map");
    assert!(data.len() as u64 <= MAX_BYTES && map.blocks().len() as u64 <= MAX_BLOCKS);
    assert_eq!(map.size(), map.blocks().len() as u64 * BLOCK);
    let mut end = 0;
    for block in map.blocks() {
        assert_eq!(block.stored.offset, end, "stored blocks follow each other");
        assert!(u64::from(block.stored.length) <= BLOCK);
        end += u64::from(block.stored.length);
    }
    assert_eq!(map.stored(), end);
    true
}
