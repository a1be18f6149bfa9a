//! Growing the data partition and its file system to the disk's end, with the disk in use.
//!
//! Invariant: what is in `gpt` on the order of writes. Absent: shrinking anything.

use crate::block::{self, BlockError, Disk};
use crate::gpt::{self, Found, GptError, Reason};
use crate::ioctl::{self, BlkpgArgument, BlkpgPartition};
use image_layout::disk::{BLOCK, Role, SECTOR};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Why a disk cannot be read or grown.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ResizeError {
    /// The device cannot be opened.
    #[error("failed to open `{device}`")]
    Open { device: PathBuf, source: io::Error },
    /// The table cannot be read.
    #[error("failed to read the partition table of `{device}`")]
    Read { device: PathBuf, source: io::Error },
    /// There is no table to go by.
    #[error("`{device}` cannot be used")]
    Table { device: PathBuf, source: GptError },
    /// The table cannot be written.
    #[error("failed to write the partition table of `{device}`")]
    Write { device: PathBuf, source: io::Error },
    /// The kernel does not take the new table over.
    #[error("the kernel refused the new partition table of `{device}`")]
    Kernel { device: PathBuf, source: io::Error },
    /// A partition is not there.
    #[error("failed to find the data partition")]
    Partition(#[from] BlockError),
    /// The device holds no ext4 of ours.
    #[error("`{device}` holds no ext4 file system")]
    NotExt4 { device: PathBuf },
    /// The file system cannot be grown.
    #[error("failed to grow the file system of `{device}`")]
    Grow { device: PathBuf, source: io::Error },
}

/// Reads both partition tables of a disk.
pub fn read_table(disk: &Disk) -> Result<Found, ResizeError> {
    let device = disk.node();
    let file = File::open(&device).map_err(|source| ResizeError::Open { device: device.clone(), source })?;
    gpt::read(disk.sectors, |sector, count| block::read_sectors(&file, sector, count))
        .map_err(|source| ResizeError::Read { device, source })
}

/// Makes both partition tables valid and the data partition as long as the disk allows, and tells the
/// kernel. Says why anything was written; nothing when all was well.
pub fn grow_partition(disk: &Disk) -> Result<Vec<Reason>, ResizeError> {
    let found = read_table(disk)?;
    let device = disk.node();
    let change = found.change().map_err(|source| ResizeError::Table { device: device.clone(), source })?;
    let Some(change) = change else { return Ok(Vec::new()) };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&device)
        .map_err(|source| ResizeError::Open { device: device.clone(), source })?;
    for write in change.table.writes(disk.sectors) {
        file.write_all_at(&write.bytes, write.sector * SECTOR)
            .and_then(|()| file.sync_all())
            .map_err(|source| ResizeError::Write { device: device.clone(), source })?;
    }
    let told = match found.primary {
        // The kernel does not look at the backup: it knows no partition of this disk yet.
        Err(_) => reread(&file),
        Ok(_) => match change.table.partition(Role::Data) {
            Some(data) => resize_partition(&file, data.number, data.start, data.sectors()),
            None => Ok(()),
        },
    };
    told.map_err(|source| ResizeError::Kernel { device, source })?;
    Ok(change.reasons)
}

/// Grows the ext4 mounted at `mountpoint` to the length of its `device`; says whether it grew.
pub fn grow_ext4(device: &Path, mountpoint: &Path) -> Result<bool, ResizeError> {
    let failed = |source| ResizeError::Grow { device: device.to_owned(), source };
    let open = |path: &Path| {
        File::open(path).map_err(|source| ResizeError::Open { device: path.to_owned(), source })
    };
    let file = open(device)?;
    let name = device.file_name().unwrap_or_default();
    let sectors = block::number_in(&Path::new("/sys/class/block").join(name).join("size")).unwrap_or(0);
    let mut superblock = [0; 1024];
    file.read_exact_at(&mut superblock, 1024)
        .map_err(|source| ResizeError::Read { device: device.to_owned(), source })?;
    let now = ext4_blocks(&superblock).ok_or_else(|| ResizeError::NotExt4 { device: device.to_owned() })?;
    let wanted = sectors * SECTOR / BLOCK;
    // A group that would be too short to be used is not worth a call at each boot.
    if wanted < now + MIN_GROWTH {
        return Ok(false);
    }
    let directory = open(mountpoint)?;
    // SAFETY: the descriptor is open, and the call reads one u64 through a pointer that is valid for it.
    unsafe { ioctl::ext4_resize_fs(directory.as_raw_fd(), &wanted) }.map_err(|e| failed(e.into()))?;
    Ok(true)
}

/// Blocks by which it is worth growing: 1 MiB.
const MIN_GROWTH: u64 = 256;

/// The length in blocks that an ext4 superblock states; `None` when it is none with 4 KiB blocks.
pub(crate) fn ext4_blocks(superblock: &[u8; 1024]) -> Option<u64> {
    let at = |at: usize| u32::from_le_bytes(superblock[at..at + 4].try_into().expect("four bytes"));
    let magic = u16::from_le_bytes([superblock[0x38], superblock[0x39]]);
    const INCOMPAT_64BIT: u32 = 0x80;
    let high = if at(0x60) & INCOMPAT_64BIT != 0 { u64::from(at(0x150)) } else { 0 };
    (magic == 0xef53 && at(0x18) == 2).then(|| u64::from(at(0x4)) | high << 32)
}

fn resize_partition(disk: &File, number: u32, start: u64, sectors: u64) -> io::Result<()> {
    const RESIZE_PARTITION: i32 = 3;
    let bytes = |sectors: u64| i64::try_from(sectors * SECTOR).map_err(io::Error::other);
    let partition = BlkpgPartition {
        start: bytes(start)?,
        length: bytes(sectors)?,
        number: i32::try_from(number).map_err(io::Error::other)?,
        names: [0; 128],
    };
    let argument = BlkpgArgument {
        op: RESIZE_PARTITION,
        flags: 0,
        length: size_of::<BlkpgPartition>() as i32,
        data: &partition,
    };
    // SAFETY: the descriptor is open; both structures have the kernel's layout and outlive the call, which
    // only reads them.
    unsafe { ioctl::blkpg(disk.as_raw_fd(), &argument) }?;
    Ok(())
}

fn reread(disk: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open and the call takes no argument.
    unsafe { ioctl::blkrrpart(disk.as_raw_fd()) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_ext4_has_64_bits_where_the_feature_says_so() {
        let mut superblock = [0; 1024];
        assert_eq!(ext4_blocks(&superblock), None);
        superblock[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
        superblock[0x18] = 2;
        superblock[0x4..0x8].copy_from_slice(&7u32.to_le_bytes());
        superblock[0x150] = 1;
        assert_eq!(ext4_blocks(&superblock), Some(7));
        superblock[0x60] = 0x80;
        assert_eq!(ext4_blocks(&superblock), Some((1 << 32) + 7));
        superblock[0x18] = 0;
        assert_eq!(ext4_blocks(&superblock), None);
    }

    #[test]
    fn structures_have_the_kernels_size() {
        assert_eq!(size_of::<BlkpgPartition>(), 152);
        assert_eq!(size_of::<BlkpgArgument>(), 24);
    }
}
