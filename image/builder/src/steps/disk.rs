//! The disk: tables, boot code and partitions, written as a sparse file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use image_layout::disk::{self, Role};
use image_layout::slots::Slot;

use super::grub::Grub;
use super::table;

/// What the partitions of a new disk hold; slot b stays empty.
pub struct Contents<'a> {
    /// GRUB, for sector 0 and the BIOS boot partition.
    pub grub: &'a Grub,
    /// The ESP.
    pub esp: &'a [u8],
    /// boot-a.
    pub boot: &'a [u8],
    /// root-a.
    pub root: &'a [u8],
    /// A file with the data file system.
    pub data: &'a Path,
}

/// Writes the disk to a new file; its identifiers are derived from `seed`.
pub fn write(path: &Path, contents: &Contents<'_>, seed: &[u8]) -> Result<()> {
    let context = || format!("failed to write `{}`", path.display());
    let mut file =
        File::options().read(true).write(true).create_new(true).open(path).with_context(context)?;
    file.set_len(table::disk_size()).with_context(context)?;
    table::write(&mut file, seed).with_context(context)?;
    table::write_bios_loader(&mut file, &contents.grub.boot_img, &contents.grub.core_img)?;
    for (role, bytes) in [
        (Role::Esp, contents.esp),
        (Role::Boot(Slot::A), contents.boot),
        (Role::Root(Slot::A), contents.root),
    ] {
        ensure!(bytes.len() as u64 <= disk::partition(role).size, "a partition is larger than its place");
        copy_sparse(bytes, &mut file, disk::start(role)).with_context(context)?;
    }
    let data = File::open(contents.data)?;
    copy_sparse(data, &mut file, disk::start(Role::Data)).with_context(context)?;
    file.sync_all().with_context(context)?;
    Ok(())
}

/// Copies to `start`, leaving out blocks of zeroes; returns how many bytes there were.
pub fn copy_sparse(mut from: impl Read, to: &mut File, start: u64) -> io::Result<u64> {
    let mut block = vec![0u8; 64 * 1024];
    let mut at = start;
    loop {
        let mut filled = 0;
        while filled < block.len() {
            match from.read(&mut block[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            return Ok(at - start);
        }
        if block[..filled].iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(at))?;
            to.write_all(&block[..filled])?;
        }
        at += filled as u64;
    }
}
