//! The partitions that a run is given: those of the slot that does not run, to write, and those of the one
//! that does, to read; for a repair to write too.

use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};

use image_layout::disk::BLOCK;
use image_layout::release::Part;
use rustix::fs::Advice;

use crate::error::{UpdateError, chain};

/// A partition.
#[derive(Debug)]
pub struct Device {
    file: File,
    name: String,
    blocks: u64,
}

/// The partitions of both slots.
#[derive(Debug)]
pub struct Slots {
    /// Of the slot that does not run, by part: opened to be written.
    pub target: Vec<(Part, Device)>,
    /// Of the slot that runs, by part: opened to be read, and to be written only for its repair.
    pub running: Vec<(Part, Device)>,
}

impl Device {
    /// A partition, or a file that stands for one; `name` is for messages.
    pub fn new(file: File, name: impl Into<String>) -> Result<Device, UpdateError> {
        use std::io::{Seek, SeekFrom};
        let name = name.into();
        let length = (&file).seek(SeekFrom::End(0)).map_err(|error| failed("measure", &name, &error))?;
        Ok(Device { file, name, blocks: length / BLOCK })
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whole blocks that it has.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Reads whole blocks from `block` on.
    pub(crate) fn read(&self, block: u64, bytes: &mut [u8]) -> Result<(), UpdateError> {
        self.file.read_exact_at(bytes, block * BLOCK).map_err(|error| failed("read", &self.name, &error))
    }

    /// Reads what there is from `byte` on.
    pub(crate) fn read_at(&self, byte: u64, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.file.read_at(bytes, byte)
    }

    /// Writes whole blocks from `block` on.
    pub(crate) fn write(&self, block: u64, bytes: &[u8]) -> Result<(), UpdateError> {
        self.file.write_all_at(bytes, block * BLOCK).map_err(|error| failed("write", &self.name, &error))
    }

    /// What tells it from every other: whether it is a block device, its device number, its inode.
    fn identity(&self) -> Result<(bool, u64, u64), UpdateError> {
        let meta = self.file.metadata().map_err(|error| failed("identify", &self.name, &error))?;
        let block = meta.file_type().is_block_device();
        Ok(if block { (true, meta.rdev(), 0) } else { (false, meta.dev(), meta.ino()) })
    }

    /// Makes what was written durable, and forgets it: what is read next comes from the disk.
    pub(crate) fn sync(&self) -> Result<(), UpdateError> {
        self.file.sync_data().map_err(|error| failed("sync", &self.name, &error))?;
        self.forget();
        Ok(())
    }

    /// Forgets what was read: what is read next comes from the disk. Where that cannot be had, what is cached is
    /// read.
    pub(crate) fn forget(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
    }
}

impl Slots {
    /// The target's partition for `part`.
    pub(crate) fn target(&self, part: Part) -> Result<&Device, UpdateError> {
        find(&self.target, part)
    }

    /// The partition for `part` of the slot that runs.
    pub(crate) fn running(&self, part: Part) -> Result<&Device, UpdateError> {
        find(&self.running, part)
    }

    /// Refuses to go on when what would be written is handed over twice.
    pub(crate) fn apart(&self) -> Result<(), UpdateError> {
        let mut seen = Vec::new();
        for (_, device) in self.running.iter().chain(&self.target) {
            seen.push((device.identity()?, device));
        }
        for (at, (identity, device)) in seen.iter().enumerate().skip(self.running.len()) {
            if let Some((_, same)) = seen[..at].iter().find(|(other, _)| other == identity) {
                let message = format!("{} is the same partition as {}", device.name, same.name);
                return Err(UpdateError::local(message));
            }
        }
        Ok(())
    }
}

fn find(slot: &[(Part, Device)], part: Part) -> Result<&Device, UpdateError> {
    let found = slot.iter().find(|(of, _)| *of == part);
    let missing = || UpdateError::local(format!("no {} partition was handed over", part.as_str()));
    found.map(|(_, device)| device).ok_or_else(missing)
}

fn failed(what: &str, name: &str, error: &std::io::Error) -> UpdateError {
    UpdateError::slot(format!("failed to {what} {name}: {}", chain(error)))
}
