//! Blocks of the data file system that are kept back.
//!
//! ext4 gives its reserved blocks to nobody but CAP_SYS_RESOURCE of the host, and to one user and one group, which are
//! named at the mount or later. How many there are stands in the superblock. mke2fs counts them in hundredths of a
//! small file system, and growing it adds to them by that measure, rounded down: they are set anew before each mount,
//! whoever made the file system.
//!
//! Invariant: only a superblock whose checksum is right is changed, and only while nothing is mounted and the journal
//! is empty. Absent: inodes, of which ext4 keeps none back; see `quota`.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use image_layout::disk::data;
use rustix::fs::CWD;
use rustix::mount::{FsPickFlags, fsconfig_reconfigure, fsconfig_set_string, fspick};

use crate::resize::ext4_blocks;

/// Why the reserve is not what it should be.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ReserveError {
    /// The device cannot be opened.
    #[error("failed to open `{device}`")]
    Open { device: PathBuf, source: io::Error },
    /// The superblock cannot be read.
    #[error("failed to read the superblock of `{device}`")]
    Read { device: PathBuf, source: io::Error },
    /// It is none of ours, or not in order.
    #[error("the superblock of `{device}` is not one that can be changed")]
    Superblock { device: PathBuf },
    /// The superblock cannot be written.
    #[error("failed to write the superblock of `{device}`")]
    Write { device: PathBuf, source: io::Error },
    /// The group cannot be named.
    #[error("failed to name the group that may use what is kept back of `{mounted}`")]
    Group { mounted: PathBuf, source: io::Error },
}

/// Names the group that may use the blocks that are kept back of the ext4 that is mounted at a path, 0 for none; says
/// whether it was another one before.
pub fn give_to(mounted: &Path, group: u32) -> Result<bool, ReserveError> {
    let failed = |source| ReserveError::Group { mounted: mounted.to_owned(), source };
    if given_to(mounted).map_err(failed)? == group {
        return Ok(false);
    }
    let named = || -> rustix::io::Result<()> {
        let fs = fspick(CWD, mounted, FsPickFlags::FSPICK_CLOEXEC)?;
        fsconfig_set_string(&fs, "resgid", group.to_string())?;
        fsconfig_reconfigure(&fs)
    };
    named().map_err(|error| failed(error.into()))?;
    Ok(true)
}

/// The group that is named now: the kernel shows 0 by leaving it out. Fields are those of proc_pid_mounts(5).
fn given_to(mounted: &Path) -> io::Result<u32> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let line = mounts.lines().rfind(|line| line.split(' ').nth(1).map(Path::new) == Some(mounted));
    let options = line.and_then(|line| line.split(' ').nth(3)).ok_or(io::ErrorKind::NotFound)?;
    let group = options.split(',').find_map(|option| option.strip_prefix("resgid="));
    Ok(group.and_then(|group| group.parse().ok()).unwrap_or(0))
}

/// Keeps back [`data::reserve`] blocks of the ext4 on `device`, which is not mounted; says whether it was another
/// number before.
pub fn set(device: &Path) -> Result<bool, ReserveError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .map_err(|source| ReserveError::Open { device: device.to_owned(), source })?;
    let mut superblock = [0; LENGTH];
    file.read_exact_at(&mut superblock, START)
        .map_err(|source| ReserveError::Read { device: device.to_owned(), source })?;
    let changed =
        change(&mut superblock).ok_or_else(|| ReserveError::Superblock { device: device.to_owned() })?;
    if changed {
        file.write_all_at(&superblock, START)
            .and_then(|()| file.sync_all())
            .map_err(|source| ReserveError::Write { device: device.to_owned(), source })?;
    }
    Ok(changed)
}

/// Where the superblock begins, and its bytes.
const START: u64 = 1024;
const LENGTH: usize = 1024;

/// Sets the number of reserved blocks; says whether it was another. `None` for a superblock that must not be changed.
/// Fields are those of the kernel's `Documentation/filesystems/ext4/super.rst`.
fn change(superblock: &mut [u8; LENGTH]) -> Option<bool> {
    const RESERVED_LOW: usize = 0x8;
    const INCOMPATIBLE: usize = 0x60;
    const READ_ONLY: usize = 0x64;
    const RESERVED_HIGH: usize = 0x154;
    const CHECKSUM: usize = 0x3fc;
    const RECOVER: u32 = 0x4;
    const METADATA_CHECKSUMS: u32 = 0x400;
    let wanted = data::reserve(ext4_blocks(superblock)?);
    let at = |at: usize| u32::from_le_bytes(superblock[at..at + 4].try_into().expect("four bytes"));
    let whole = at(READ_ONLY) & METADATA_CHECKSUMS != 0
        && at(INCOMPATIBLE) & RECOVER == 0
        && at(CHECKSUM) == crc32c(&superblock[..CHECKSUM]);
    if !whole {
        return None;
    }
    if u64::from(at(RESERVED_LOW)) | u64::from(at(RESERVED_HIGH)) << 32 == wanted {
        return Some(false);
    }
    let mut put = |at: usize, value: u32| superblock[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(RESERVED_LOW, wanted as u32);
    put(RESERVED_HIGH, (wanted >> 32) as u32);
    let sum = crc32c(&superblock[..CHECKSUM]);
    superblock[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
    Some(true)
}

/// Castagnoli's CRC as ext4 has it: without the last inversion.
fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(superblock: &mut [u8; LENGTH], at: usize, value: u32) {
        superblock[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// So many blocks of 4 KiB, 491 of them reserved.
    fn superblock(blocks: u32) -> [u8; LENGTH] {
        let mut superblock = [0; LENGTH];
        put(&mut superblock, 0x38, 0xef53);
        put(&mut superblock, 0x18, 2);
        put(&mut superblock, 0x4, blocks);
        put(&mut superblock, 0x8, 491);
        put(&mut superblock, 0x60, 0x80);
        put(&mut superblock, 0x64, 0x400);
        let sum = crc32c(&superblock[..0x3fc]);
        put(&mut superblock, 0x3fc, sum);
        superblock
    }

    fn reserved(superblock: &[u8; LENGTH]) -> u32 {
        u32::from_le_bytes(superblock[0x8..0xc].try_into().unwrap())
    }

    #[test]
    fn checksums_are_those_of_ext4() {
        // RFC 3720, appendix B.4, which has the last inversion.
        assert_eq!(!crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn so_much_is_kept_back_once() {
        for (blocks, expect) in [(49_152, 6144), (1 << 20, 40_960), (1 << 30, 40_960)] {
            let mut superblock = superblock(blocks);
            assert_eq!(change(&mut superblock), Some(true));
            assert_eq!(reserved(&superblock), expect);
            assert_eq!(change(&mut superblock), Some(false));
        }
    }

    #[test]
    fn what_is_not_in_order_is_left_alone() {
        let mut torn = superblock(1 << 20);
        torn[0x88] ^= 1;
        let mut dirty = superblock(1 << 20);
        put(&mut dirty, 0x60, 0x84);
        let sum = crc32c(&dirty[..0x3fc]);
        put(&mut dirty, 0x3fc, sum);
        for mut superblock in [torn, dirty, [0; LENGTH]] {
            let before = superblock;
            assert_eq!(change(&mut superblock), None);
            assert_eq!(superblock, before);
        }
    }

    #[test]
    fn a_file_is_changed_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        std::fs::write(&path, [vec![7; 1024], superblock(1 << 20).to_vec(), vec![7; 1024]].concat()).unwrap();
        assert!(set(&path).unwrap());
        assert!(!set(&path).unwrap());
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((bytes[1023], bytes[2048], bytes.len()), (7, 7, 3072));
        std::fs::write(&path, vec![0; 4096]).unwrap();
        assert!(matches!(set(&path), Err(ReserveError::Superblock { .. })));
    }
}
