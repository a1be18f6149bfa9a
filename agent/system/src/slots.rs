//! The slot state on the disk: read and written through the ESP's block device, at offsets that never
//! change.
//!
//! Invariant: one whole copy is on the disk at every moment: the copies are written and synced one after
//! the other, the one that is not whole first. Nothing is written over bytes that are neither a slot
//! state nor zeroes. Absent: the file system; nothing mounts the ESP writable.

use crate::block::{self, BlockError};
use image_layout::disk::{Role, SECTOR, esp, partition};
use image_layout::slots::{BLOCK_SIZE, HEADER, SlotState, StateError};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Names of the two copies, as `hf.env` gives them.
pub const COPIES: [&str; 2] = ["grubenv", "grubenv2"];

/// Why the slot state cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SlotsError {
    /// The disk that booted cannot be told.
    #[error("failed to find the disk that booted")]
    Disk(#[from] BlockError),
    /// The device cannot be opened.
    #[error("failed to open `{device}`")]
    Open { device: PathBuf, source: io::Error },
    /// A copy cannot be read.
    #[error("failed to read {copy} on `{device}`")]
    Read { device: PathBuf, copy: &'static str, source: io::Error },
    /// A copy cannot be written.
    #[error("failed to write {copy} on `{device}`")]
    Write { device: PathBuf, copy: &'static str, source: io::Error },
    /// Neither place holds a slot state or zeroes: this is another partition, or another layout.
    #[error("`{device}` holds something else where the slot state belongs")]
    Foreign { device: PathBuf },
}

/// The two copies as read.
pub type Copies = [Result<SlotState, StateError>; 2];

/// The ESP that holds the slot state.
#[derive(Clone, Debug)]
pub struct SlotStore {
    device: PathBuf,
}

impl SlotStore {
    /// The state on this ESP.
    pub fn on(device: impl Into<PathBuf>) -> SlotStore {
        SlotStore { device: device.into() }
    }

    /// The state on the disk that booted.
    pub fn booted() -> Result<SlotStore, SlotsError> {
        let disk = block::booted_disk()?;
        Ok(SlotStore::on(disk.partition(partition(Role::Esp).number)?))
    }

    /// Where it is.
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Reads both copies.
    pub fn read(&self) -> Result<Copies, SlotsError> {
        let file = File::open(&self.device)
            .map_err(|source| SlotsError::Open { device: self.device.clone(), source })?;
        let copies = self.blocks(&file)?;
        Ok(copies.map(|block| SlotState::parse(&block)))
    }

    /// Writes both copies; says which of them, by index, were left alone because their place holds
    /// something else.
    pub fn write(&self, state: &SlotState) -> Result<Vec<usize>, SlotsError> {
        let device = || self.device.clone();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.device)
            .map_err(|source| SlotsError::Open { device: device(), source })?;
        let blocks = self.blocks(&file)?;
        let (mine, foreign): (Vec<usize>, Vec<usize>) = (0..2).partition(|&i| may_replace(&blocks[i]));
        if mine.is_empty() {
            return Err(SlotsError::Foreign { device: device() });
        }
        for index in write_order(&mine, &blocks) {
            file.write_all_at(&state.encode(), esp::GRUBENV_OFFSETS[index])
                .and_then(|()| file.sync_all())
                .map_err(|source| SlotsError::Write { device: device(), copy: COPIES[index], source })?;
        }
        Ok(foreign)
    }

    fn blocks(&self, file: &File) -> Result<[[u8; BLOCK_SIZE]; 2], SlotsError> {
        let mut blocks = [[0; BLOCK_SIZE]; 2];
        for (index, block) in blocks.iter_mut().enumerate() {
            file.read_exact_at(block, esp::GRUBENV_OFFSETS[index]).map_err(|source| SlotsError::Read {
                device: self.device.clone(),
                copy: COPIES[index],
                source,
            })?;
        }
        Ok(blocks)
    }
}

/// Text for [`SlotState::boot`] that no other boot of any box has: 32 hex digits from the kernel.
pub fn new_boot_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Whether a block is ours to write: its first sector starts as a slot state does, or is zeroes.
fn may_replace(block: &[u8; BLOCK_SIZE]) -> bool {
    let sector = &block[..SECTOR as usize];
    sector.starts_with(HEADER.as_bytes()) || sector.iter().all(|&b| b == 0)
}

/// The copies to write, one that is not whole first: were the power to go, the whole one is still there.
fn write_order(mine: &[usize], blocks: &[[u8; BLOCK_SIZE]; 2]) -> Vec<usize> {
    let mut order = mine.to_vec();
    order.sort_by_key(|&i| SlotState::parse(&blocks[i]).is_ok());
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_layout::Slot;

    fn state() -> SlotState {
        SlotState { slot: Slot::B, good: Slot::A, tries_a: 3, tries_b: 1, boot: "abc".into() }
    }

    fn esp_with(copies: [&[u8]; 2]) -> (tempfile::NamedTempFile, SlotStore) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(2 << 20).unwrap();
        for (offset, bytes) in esp::GRUBENV_OFFSETS.into_iter().zip(copies) {
            file.as_file().write_all_at(bytes, offset).unwrap();
        }
        let store = SlotStore::on(file.path());
        (file, store)
    }

    #[test]
    fn writes_both_copies_over_states_whole_torn_and_zeroed() {
        let whole = SlotState { boot: "old".into(), ..state() }.encode();
        let torn = [HEADER.as_bytes(), &[0; BLOCK_SIZE][HEADER.len()..]].concat();
        for copies in [[&whole[..], &whole[..]], [&torn, &whole], [&whole, &[]], [&[], &[]]] {
            let (_file, store) = esp_with(copies);
            assert_eq!(store.write(&state()).unwrap(), Vec::<usize>::new());
            assert_eq!(store.read().unwrap(), [Ok(state()), Ok(state())]);
        }
    }

    #[test]
    fn leaves_foreign_bytes_alone() {
        let (_file, store) = esp_with([b"MZ a program", &[]]);
        assert_eq!(store.write(&state()).unwrap(), [0]);
        assert_eq!(store.read().unwrap(), [Err(StateError::Header), Ok(state())]);
        let (_file, store) = esp_with([b"MZ", b"MZ"]);
        assert!(matches!(store.write(&state()), Err(SlotsError::Foreign { .. })));
    }

    #[test]
    fn the_copy_that_is_not_whole_is_written_first() {
        let whole = state().encode();
        let lost = [0; BLOCK_SIZE];
        for (blocks, expect) in [
            ([whole, lost], [1, 0]),
            ([lost, whole], [0, 1]),
            ([whole, whole], [0, 1]),
            ([lost, lost], [0, 1]),
        ] {
            assert_eq!(write_order(&[0, 1], &blocks), expect);
        }
    }

    #[test]
    fn boot_ids_are_accepted_by_the_format_and_differ() {
        let (one, two) = (new_boot_id().unwrap(), new_boot_id().unwrap());
        assert_ne!(one, two);
        let state = SlotState { boot: one, ..state() };
        assert_eq!(SlotState::parse(&state.encode()), Ok(state));
    }
}
