//! FAT file systems with given files, the same bytes each time.
//!
//! Fixed geometry (FAT16, clusters of 4 KiB that start at multiples of 4 KiB), fixed serial number, all
//! times the first of 1980. Files are made in the given order, so the first ones always land at the same
//! place.

use std::collections::BTreeSet;
use std::io::{self, Cursor, Read, Write};

use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};

const CLUSTER: u64 = 4096;
const SECTOR: u64 = 512;
const ENTRIES_PER_SECTOR: u64 = SECTOR / 32;

#[derive(Debug)]
struct Constant;

impl TimeProvider for Constant {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

static TIME: Constant = Constant;

/// What a file system is called.
pub struct Volume<'a> {
    /// Bytes of the whole.
    pub size: u64,
    /// Volume label, at most 11 characters.
    pub label: &'a str,
    /// Volume serial number.
    pub serial: u32,
}

/// Makes a file system that holds `files` (path, content); folders are made as they are needed.
pub fn build(volume: &Volume<'_>, files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut label = [b' '; 11];
    label[..volume.label.len()].copy_from_slice(volume.label.as_bytes());
    let size = usize::try_from(volume.size).map_err(io::Error::other)?;
    let mut disk = Cursor::new(vec![0u8; size]);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat16)
        .bytes_per_cluster(CLUSTER as u32)
        .max_root_dir_entries(root_entries(volume.size))
        .volume_id(volume.serial)
        .volume_label(label);
    fatfs::format_volume(&mut disk, options)?;
    disk.set_position(0);
    let mut folders = BTreeSet::new();
    {
        let system = open(&mut disk)?;
        let root = system.root_dir();
        for (path, content) in files {
            for (slash, _) in path.match_indices('/') {
                root.create_dir(&path[..slash])?;
                folders.insert(&path[..slash]);
            }
            root.create_file(path)?.write_all(content)?;
        }
    }
    let mut image = disk.into_inner();
    let repaired = image.chunks_exact_mut(CLUSTER as usize).filter_map(drop_long_dots).count();
    if repaired != folders.len() {
        return Err(io::Error::other("the folders are not as fatfs writes them"));
    }
    Ok(image)
}

/// fatfs gives the entries `.` and `..` of a folder long names as well, which `fsck.vfat` refuses: takes
/// those away, and gives `None` for a cluster that is not the first of a folder.
fn drop_long_dots(cluster: &mut [u8]) -> Option<()> {
    const ENTRY: usize = 32;
    let name = |index: usize| &cluster[index * ENTRY..][..11];
    let long = |index: usize| cluster[index * ENTRY + 11] == 0x0f;
    if name(1) != b".          " || name(3) != b"..         " || !long(0) || !long(2) {
        return None;
    }
    cluster.copy_within(ENTRY..2 * ENTRY, 0);
    cluster.copy_within(3 * ENTRY..4 * ENTRY, ENTRY);
    cluster.copy_within(4 * ENTRY.., 2 * ENTRY);
    let end = cluster.len() - 2 * ENTRY;
    cluster[end..].fill(0);
    Some(())
}

/// So many entries in the root folder that clusters start at a multiple of their size: one reserved
/// sector and two tables stand before it.
fn root_entries(size: u64) -> u16 {
    // fatfs may estimate a sector more or less per table than the exact quotient; `build`'s test sees it.
    let table_sectors = (size / CLUSTER * 2).div_ceil(SECTOR);
    let before = 1 + 2 * table_sectors;
    let sectors = (before + 16).next_multiple_of(CLUSTER / SECTOR) - before;
    (sectors * ENTRIES_PER_SECTOR) as u16
}

fn open<T: Read + Write + io::Seek>(disk: T) -> io::Result<FileSystem<T>> {
    FileSystem::new(disk, FsOptions::new().time_provider(&TIME).update_accessed_date(false))
}

/// The content of a file.
pub fn read(image: &[u8], path: &str) -> io::Result<Vec<u8>> {
    let system = open(Cursor::new(image.to_vec()))?;
    let mut content = Vec::new();
    system.root_dir().open_file(path)?.read_to_end(&mut content)?;
    Ok(content)
}

/// Whether the whole content of the file at `path` lies in the image from `offset` on: proved by
/// changing those bytes and reading the file.
pub fn lies_at(image: &[u8], path: &str, offset: u64) -> io::Result<bool> {
    let content = read(image, path)?;
    let (start, mut changed) = (offset as usize, image.to_vec());
    let Some(bytes) = changed.get_mut(start..start + content.len()) else { return Ok(false) };
    bytes.iter_mut().for_each(|b| *b = !*b);
    Ok(read(&changed, path)?.iter().zip(&content).all(|(new, old)| *new == !*old))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: Volume<'static> = Volume { size: 64 << 20, label: "LABEL", serial: 7 };

    #[test]
    fn holds_files_at_cluster_boundaries_and_is_reproducible() {
        let big = vec![9u8; 10_000];
        let files: [(&str, &[u8]); 3] =
            [("grub/one", b"1"), ("grub/two", b"22"), ("EFI/BOOT/BOOTX64.EFI", &big)];
        let image = build(&VOLUME, &files).unwrap();
        assert_eq!(image, build(&VOLUME, &files).unwrap());
        for (path, content) in files {
            assert_eq!(read(&image, path).unwrap(), content, "{path}");
            let offset = image.windows(content.len()).step_by(CLUSTER as usize).position(|w| w == content);
            let offset = offset.expect("files start at a multiple of the cluster size") as u64 * CLUSTER;
            assert!(lies_at(&image, path, offset).unwrap(), "{path}");
            assert!(!lies_at(&image, path, offset + CLUSTER).unwrap(), "{path} is elsewhere");
        }
        let dots = image.chunks_exact(32).filter(|e| e.starts_with(b"..         ")).count();
        assert_eq!(dots, 3, "each folder has its parent");
        let long_dots = image.chunks_exact(32).filter(|e| e[11] == 0x0f && e[1..6] == [b'.', 0, 0, 0, 0xff]);
        assert_eq!(long_dots.count(), 0);
    }
}
