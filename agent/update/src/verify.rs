//! Partitions compared as a whole with what was signed.

use image_layout::disk::BLOCK;
use image_layout::release::{Part, WrittenPart};
use sha2::{Digest, Sha256};

use crate::error::UpdateError;
use crate::slot::{Device, Slots};

/// Blocks that are read at once.
const AT_ONCE: u64 = 64;

/// Compares all `parts` with what the disk has in the slot that does not run.
pub(crate) fn all(parts: &[WrittenPart], slots: &Slots) -> Result<(), UpdateError> {
    for part in Part::ALL {
        if !parts.iter().any(|written| written.part == part) {
            return Err(UpdateError::local(format!("the request has no {} image", part.as_str())));
        }
    }
    for part in parts {
        let device = slots.target(part.part)?;
        device.sync()?;
        if !matches(device, part.size, &part.sha256, None)? {
            return Err(UpdateError::slot(format!(
                "{} is not what was staged: it has changed since",
                device.name()
            )));
        }
    }
    Ok(())
}

/// Whether the first `size` bytes of a partition, in whole blocks, have this SHA-256. `first` stands for its first block.
pub(crate) fn matches(
    device: &Device,
    size: u64,
    sha256: &str,
    first: Option<&[u8]>,
) -> Result<bool, UpdateError> {
    let blocks = size / BLOCK;
    if !size.is_multiple_of(BLOCK) || blocks > device.blocks() {
        return Ok(false);
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; (AT_ONCE * BLOCK) as usize];
    let mut at = 0;
    while at < blocks {
        let count = AT_ONCE.min(blocks - at);
        let bytes = &mut buffer[..(count * BLOCK) as usize];
        device.read(at, bytes)?;
        if let (0, Some(first)) = (at, first) {
            bytes[..first.len()].copy_from_slice(first);
        }
        hash.update(&*bytes);
        at += count;
    }
    Ok(hex(&hash.finalize()) == sha256)
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
