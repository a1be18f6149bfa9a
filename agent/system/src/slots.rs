//! The slot state on the disk: read and written through the ESP's block device, at offsets that never
//! change.
//!
//! Invariant: one whole copy is on the disk at every moment: the copies are written and synced one after
//! the other, the one that is not whole first. Nothing is written over bytes that are neither a slot
//! state nor zeroes; what the disk does not give is written over beside a slot state only. One copy that fails does
//! not keep from the other. Absent: the file system; nothing mounts the ESP writable.

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

/// Why a copy was not written.
#[derive(Debug, thiserror::Error)]
pub enum Skipped {
    /// It is none of ours.
    #[error("holds something else and was left alone")]
    Foreign,
    /// The disk did not take it.
    #[error("cannot be written: {0}")]
    Failed(io::Error),
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

    /// Reads both copies; an error when neither can be.
    pub fn read(&self) -> Result<Copies, SlotsError> {
        let file = File::open(&self.device)
            .map_err(|source| SlotsError::Open { device: self.device.clone(), source })?;
        let copies = self.blocks(&file)?;
        Ok(copies.map(|block| SlotState::parse(&block.ok_or(StateError::Unreadable)?)))
    }

    /// Writes both copies; says which of them, by index, were not written, and why. An error when neither was.
    pub fn write(&self, state: &SlotState) -> Result<Vec<(usize, Skipped)>, SlotsError> {
        let device = || self.device.clone();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.device)
            .map_err(|source| SlotsError::Open { device: device(), source })?;
        let blocks = self.blocks(&file)?;
        let (mine, foreign): (Vec<usize>, Vec<usize>) = (0..2).partition(|&i| may_replace(i, &blocks));
        if mine.is_empty() {
            return Err(SlotsError::Foreign { device: device() });
        }
        let mut skipped: Vec<_> = foreign.into_iter().map(|index| (index, Skipped::Foreign)).collect();
        for index in write_order(&mine, &blocks) {
            let put = file.write_all_at(&state.encode(), esp::GRUBENV_OFFSETS[index]);
            if let Err(source) = put.and_then(|()| file.sync_all()) {
                skipped.push((index, Skipped::Failed(source)));
            }
        }
        match skipped.pop() {
            Some((index, Skipped::Failed(source))) if skipped.len() == 1 => {
                Err(SlotsError::Write { device: device(), copy: COPIES[index], source })
            }
            last => Ok(skipped.into_iter().chain(last).collect()),
        }
    }

    /// What stands in the places of the copies, where it can be read; an error when neither can be.
    fn blocks(&self, file: &File) -> Result<[Block; 2], SlotsError> {
        let mut blocks = [None; 2];
        let mut failed = None;
        for (index, found) in blocks.iter_mut().enumerate() {
            let mut block = [0; BLOCK_SIZE];
            match file.read_exact_at(&mut block, esp::GRUBENV_OFFSETS[index]) {
                Ok(()) => *found = Some(block),
                Err(source) => failed = Some((COPIES[index], source)),
            }
        }
        match failed {
            Some((copy, source)) if blocks == [None; 2] => {
                Err(SlotsError::Read { device: self.device.clone(), copy, source })
            }
            _ => Ok(blocks),
        }
    }
}

/// What stands in the place of a copy; none where the disk does not give it.
type Block = Option<[u8; BLOCK_SIZE]>;

/// Text for [`SlotState::boot`] that no other boot of any box has: 32 hex digits from the kernel.
pub fn new_boot_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Whether the place of a copy is ours to write: its first sector starts as a slot state does, or is zeroes, or
/// cannot be read while the other one starts so.
fn may_replace(index: usize, blocks: &[Block; 2]) -> bool {
    let is_state = |block: &[u8; BLOCK_SIZE]| block.starts_with(HEADER.as_bytes());
    match &blocks[index] {
        Some(block) => is_state(block) || block[..SECTOR as usize].iter().all(|&b| b == 0),
        None => blocks[1 - index].as_ref().is_some_and(is_state),
    }
}

/// The copies to write, one that is not whole first: were the power to go, the whole one is still there.
fn write_order(mine: &[usize], blocks: &[Block; 2]) -> Vec<usize> {
    let mut order = mine.to_vec();
    order.sort_by_key(|&i| blocks[i].is_some_and(|block| SlotState::parse(&block).is_ok()));
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
            assert!(store.write(&state()).unwrap().is_empty());
            assert_eq!(store.read().unwrap(), [Ok(state()), Ok(state())]);
        }
    }

    #[test]
    fn leaves_foreign_bytes_alone() {
        let (_file, store) = esp_with([b"MZ a program", &[]]);
        assert!(matches!(store.write(&state()).unwrap()[..], [(0, Skipped::Foreign)]));
        assert_eq!(store.read().unwrap(), [Err(StateError::Header), Ok(state())]);
        let (_file, store) = esp_with([b"MZ", b"MZ"]);
        assert!(matches!(store.write(&state()), Err(SlotsError::Foreign { .. })));
    }

    #[test]
    fn a_copy_that_cannot_be_read_is_written_beside_a_slot_state_only() {
        // What lies behind the end of a file cannot be read.
        let cut = |store: &SlotStore| {
            let file = OpenOptions::new().write(true).open(store.device()).unwrap();
            file.set_len(esp::GRUBENV_OFFSETS[1] + 100).unwrap();
        };
        let (_file, store) = esp_with([&state().encode(), &[]]);
        cut(&store);
        assert_eq!(store.read().unwrap(), [Ok(state()), Err(StateError::Unreadable)]);
        assert!(store.write(&state()).unwrap().is_empty());
        assert_eq!(store.read().unwrap(), [Ok(state()), Ok(state())]);
        let (_file, store) = esp_with([&[], &[]]);
        cut(&store);
        assert!(matches!(store.write(&state()).unwrap()[..], [(1, Skipped::Foreign)]));
        let (file, store) = esp_with([&[], &[]]);
        file.as_file().set_len(0).unwrap();
        assert!(matches!(store.read(), Err(SlotsError::Read { .. })));
    }

    #[test]
    fn the_copy_that_is_not_whole_is_written_first() {
        let whole = Some(state().encode());
        let lost = Some([0; BLOCK_SIZE]);
        for (blocks, expect) in [
            ([whole, None], [1, 0]),
            ([None, whole], [0, 1]),
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
