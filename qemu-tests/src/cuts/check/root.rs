//! The roots of slots: what dm-verity would say of all their blocks (kernel's `verity.rst`, version 1).

use anyhow::{Context, Result};
use image_layout::Slot;
use image_layout::disk::{self, Role};
use image_layout::kernel::{self, Verity};
use sha2::{Digest, Sha256};

use super::boot;
use crate::disk::Disk;

const BLOCK: usize = 4096;

/// What is wrong with the root of a slot that can be started; such a slot is whole.
pub(super) fn problem(disk: &Disk, slot: Slot) -> Result<Option<String>> {
    let Some(arguments) = boot::arguments(disk, slot)? else { return Ok(None) };
    let verity = kernel::argument(&arguments, kernel::VERITY).and_then(Verity::parse);
    let verity = verity.with_context(|| format!("slot {slot} has no verity arguments"))?;
    let data = verity.data_blocks as usize * BLOCK;
    let bytes = disk.partition(Role::Root(slot))?.read(0, disk::partition(Role::Root(slot)).size as usize)?;
    let salt = unhex(&verity.salt);
    let mut hashes = level(&bytes[..data], &salt);
    let mut levels = vec![];
    while hashes.len() > 32 {
        hashes.resize(hashes.len().next_multiple_of(BLOCK), 0);
        let above = level(&hashes, &salt);
        levels.push(hashes);
        hashes = above;
    }
    // The tree lies behind the data, its top first.
    let tree: Vec<u8> = levels.into_iter().rev().flatten().collect();
    let whole = hashes == unhex(&verity.root_hash) && bytes[data..].starts_with(&tree);
    Ok((!whole).then(|| format!("slot {slot} can be started, and its root is not whole")))
}

fn level(bytes: &[u8], salt: &[u8]) -> Vec<u8> {
    let hash = |block: &[u8]| Sha256::new().chain_update(salt).chain_update(block).finalize();
    bytes.chunks(BLOCK).flat_map(|block| hash(block).to_vec()).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
