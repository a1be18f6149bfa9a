//! Block devices as sysfs shows them: disks in bus order, their partitions, the disk that booted.
//!
//! Absent: device mapper, loop, RAM and optical devices as disks; labels, which are in `mounts`.

use image_layout::disk::SECTOR;
use std::cmp::Ordering;
use std::fs::{self, File};
use std::io;
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Why a device cannot be told.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BlockError {
    /// sysfs cannot be read.
    #[error("failed to read `{path}`")]
    Sysfs { path: PathBuf, source: io::Error },
    /// The disk has no such partition, or not yet.
    #[error("disk `{disk}` has no partition {number}")]
    NoPartition { disk: String, number: u32 },
    /// `/` is on no partition of a disk.
    #[error("the root is on no disk")]
    NoDisk,
}

/// A whole disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name: `vda`, `nvme0n1`.
    pub name: String,
    /// Its length in sectors of 512 bytes.
    pub sectors: u64,
    /// Where it hangs: its path in sysfs.
    pub bus: String,
}

impl Disk {
    /// Its node.
    pub fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// The node of its partition `number`.
    pub fn partition(&self, number: u32) -> Result<PathBuf, BlockError> {
        let directory = Path::new("/sys/block").join(&self.name);
        for entry in list(&directory)? {
            if number_in(&directory.join(&entry).join("partition")) == Some(number.into()) {
                return Ok(Path::new("/dev").join(entry));
            }
        }
        Err(BlockError::NoPartition { disk: self.name.clone(), number })
    }
}

/// The disks, those first that come first on their bus. Empty drives are left out.
pub fn disks() -> Result<Vec<Disk>, BlockError> {
    let mut disks = Vec::new();
    for name in list(Path::new("/sys/block"))? {
        let directory = Path::new("/sys/block").join(&name);
        if !is_disk(&name) || number_in(&directory.join("hidden")) == Some(1) {
            continue;
        }
        // A disk that vanishes while it is looked at is none.
        let (Some(sectors), Ok(bus)) = (number_in(&directory.join("size")), fs::canonicalize(&directory))
        else {
            continue;
        };
        if sectors > 0 {
            disks.push(Disk { name, sectors, bus: bus.to_string_lossy().into_owned() });
        }
    }
    disks.sort_by(|a, b| bus_order(&a.bus, &b.bus));
    Ok(disks)
}

/// Everything that may hold a file system to read: disks, partitions and optical drives with a medium,
/// by name.
pub fn volumes() -> Result<Vec<PathBuf>, BlockError> {
    let all = Path::new("/sys/class/block");
    let mut names = list(all)?;
    names.retain(|name| {
        let whole = is_disk(name) || name.starts_with("sr");
        (whole || number_in(&all.join(name).join("partition")).is_some())
            && number_in(&all.join(name).join("hidden")) != Some(1)
            && number_in(&all.join(name).join("size")).is_some_and(|size| size > 0)
    });
    names.sort();
    Ok(names.into_iter().map(|name| Path::new("/dev").join(name)).collect())
}

/// The disk that the root is on, through dm-verity or not.
pub fn booted_disk() -> Result<Disk, BlockError> {
    let root = Path::new("/");
    let device =
        fs::metadata(root).map_err(|source| BlockError::Sysfs { path: root.to_owned(), source })?.st_dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let directory = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let slaves = list(&directory.join("slaves")).unwrap_or_default();
    let partition = match slaves.first() {
        Some(name) => Path::new("/sys/class/block").join(name),
        None => directory,
    };
    let path =
        fs::canonicalize(&partition).map_err(|source| BlockError::Sysfs { path: partition, source })?;
    let parent = path.parent().and_then(Path::file_name).ok_or(BlockError::NoDisk)?;
    disks()?.into_iter().find(|d| d.name.as_str() == parent).ok_or(BlockError::NoDisk)
}

/// Reads `count` sectors from `sector` on.
pub fn read_sectors(file: &File, sector: u64, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; (count * SECTOR) as usize];
    file.read_exact_at(&mut bytes, sector * SECTOR)?;
    Ok(bytes)
}

/// A number that sysfs shows; `None` when there is none.
pub fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn list(directory: &Path) -> Result<Vec<String>, BlockError> {
    let failed = |source| BlockError::Sysfs { path: directory.to_owned(), source };
    let names = fs::read_dir(directory).map_err(failed)?;
    Ok(names.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect())
}

/// Whether a name of `/sys/block` is that of a disk. `nvme0c0n1` is a path to `nvme0n1`.
fn is_disk(name: &str) -> bool {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| name.starts_with(p));
    if starts(&["nvme"]) {
        return !name["nvme".len()..].contains('c');
    }
    starts(&["vd", "sd", "xvd", "hd", "mmcblk"]) && !name.contains("boot") && !name.contains("rpmb")
}

/// Orders two paths in sysfs: PCI addresses by their text, which is hex of fixed width, everything else
/// with its numbers as numbers, so that `virtio10` follows `virtio9`.
fn bus_order(a: &str, b: &str) -> Ordering {
    let order = |(a, b): (&str, &str)| match (a.contains(':'), b.contains(':')) {
        (true, true) if a.len() == b.len() => a.cmp(b),
        _ => natural(a).cmp(&natural(b)),
    };
    let differing = a.split('/').zip(b.split('/')).map(order).find(|o| o.is_ne());
    differing.unwrap_or_else(|| a.cmp(b))
}

/// Text and the numbers in it, in order.
fn natural(text: &str) -> Vec<(&str, u64)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(digits);
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        parts.push((word, number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_from_what_is_none() {
        let names = [
            "vda",
            "sdaa",
            "nvme0n1",
            "nvme0c0n1",
            "xvda",
            "loop0",
            "dm-0",
            "sr0",
            "ram0",
            "zram0",
            "fd0",
            "mmcblk0",
            "mmcblk0boot0",
            "mmcblk0rpmb",
            "nbd0",
            "md127",
        ];
        let disks: Vec<_> = names.into_iter().filter(|n| is_disk(n)).collect();
        assert_eq!(disks, ["vda", "sdaa", "nvme0n1", "xvda", "mmcblk0"]);
    }

    #[test]
    fn bus_order_is_that_of_the_slots_and_not_of_the_names() {
        let mut paths = [
            "/sys/devices/pci0000:00/0000:00:0a.0/virtio7/block/vdb",
            "/sys/devices/pci0000:00/0000:00:05.0/virtio10/host2/target2:0:0/2:0:0:10/block/sda",
            "/sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vdc",
            "/sys/devices/pci0000:00/0000:00:05.0/virtio9/block/vdd",
            "/sys/devices/pci0000:00/0000:00:05.0/virtio10/host2/target2:0:0/2:0:0:2/block/sdb",
        ];
        paths.sort_by(|a, b| bus_order(a, b));
        let names: Vec<_> = paths.iter().map(|p| p.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["vdc", "vdd", "sdb", "sda", "vdb"]);
    }
}
