//! Volumes that someone attached for reading: found by label, mounted read-only.
//!
//! Labels are read from the devices here, within fixed bounds, so that nothing depends on how far udev has
//! come. Invariant: nothing is written to such a volume, and nothing on it can be run or be a device.
//! Absent: ext4 and every other file system than iso9660 and FAT: what a stranger made is mounted by the
//! two simplest drivers only.

use crate::block::{self, BlockError};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Why a volume cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum VolumeError {
    /// Devices cannot be listed.
    #[error("failed to list block devices")]
    List(#[from] BlockError),
    /// The mount point cannot be made.
    #[error("failed to make `{path}`")]
    MountPoint { path: PathBuf, source: io::Error },
    /// The kernel refuses it.
    #[error("failed to mount `{device}`")]
    Mount { device: PathBuf, source: nix::Error },
}

/// Its file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A CD.
    Iso9660,
    /// FAT of any width.
    Vfat,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Iso9660 => "iso9660",
            Kind::Vfat => "vfat",
        }
    }
}

/// A volume that can be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its device.
    pub device: PathBuf,
    /// Its file system.
    pub kind: Kind,
    /// Its label, without the spaces that pad it.
    pub label: String,
}

/// The first volume, by the device's name, with one of these labels; their case does not count.
pub fn find(labels: &[&str]) -> Result<Option<Volume>, VolumeError> {
    for device in block::volumes()? {
        // A drive without a medium, or one that fails, is none.
        let Ok(file) = File::open(&device) else { continue };
        let read = |offset: u64, bytes: &mut [u8]| file.read_exact_at(bytes, offset);
        let Some((kind, label)) = identify(read) else { continue };
        if labels.iter().any(|wanted| wanted.eq_ignore_ascii_case(&label)) {
            return Ok(Some(Volume { device, kind, label }));
        }
    }
    Ok(None)
}

/// A volume that is mounted while this lives.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
}

impl Volume {
    /// Mounts it at `at`, which is made.
    pub fn mount(&self, at: impl Into<PathBuf>) -> Result<Mounted, VolumeError> {
        let at = at.into();
        fs::create_dir_all(&at).map_err(|source| VolumeError::MountPoint { path: at.clone(), source })?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(&self.device), &at, Some(self.kind.name()), flags, None::<&str>)
            .map_err(|source| VolumeError::Mount { device: self.device.clone(), source })?;
        Ok(Mounted { at })
    }
}

impl Mounted {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Detached at once, gone when the last reader is; a mount that stays hides nothing but itself.
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
    }
}

/// Tells the file system and its label, by a function that fills a buffer from an offset.
fn identify(read: impl Fn(u64, &mut [u8]) -> io::Result<()>) -> Option<(Kind, String)> {
    let mut sector = [0; 512];
    read(0, &mut sector).ok()?;
    if let Some(fat) = Fat::parse(&sector) {
        let label = fat.root_label(&read).unwrap_or_else(|| fat.label.clone());
        return Some((Kind::Vfat, label));
    }
    // ECMA-119, section 8.4: the primary volume descriptor in sector 16 of 2048 bytes.
    let mut descriptor = [0; 2048];
    read(16 * 2048, &mut descriptor).ok()?;
    (descriptor[..7] == *b"\x01CD001\x01").then(|| (Kind::Iso9660, text(&descriptor[40..72])))
}

/// What of a FAT is needed to find its label.
struct Fat {
    /// The one in the boot sector.
    label: String,
    /// Where the root directory starts, and how much of it is looked at.
    root: u64,
    root_length: usize,
}

impl Fat {
    /// Reads a boot sector; Microsoft's FAT specification, section 3.
    fn parse(sector: &[u8; 512]) -> Option<Fat> {
        let u16_at = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
        let u32_at =
            |at: usize| u64::from(u32::from_le_bytes(sector[at..at + 4].try_into().expect("four bytes")));
        let (bytes, cluster, reserved, fats, entries) =
            (u16_at(11), u64::from(sector[13]), u16_at(14), u64::from(sector[16]), u16_at(17));
        let is_fat = sector[510..] == [0x55, 0xaa]
            && matches!(bytes, 512 | 1024 | 2048 | 4096)
            && cluster.is_power_of_two()
            && reserved > 0
            && (1..=2).contains(&fats);
        if !is_fat {
            return None;
        }
        let wide = u16_at(22) == 0;
        let (length, signature, label) = if wide { (u32_at(36), 66, 71) } else { (u16_at(22), 38, 43) };
        let data = reserved + fats * length;
        let (root, root_length) = match wide {
            true => (data + u32_at(44).checked_sub(2)? * cluster, cluster * bytes),
            false => (data, entries * 32),
        };
        let label = if sector[signature] == 0x29 { text(&sector[label..label + 11]) } else { String::new() };
        let label = if label == "NO NAME" { String::new() } else { label };
        Some(Fat { label, root: root * bytes, root_length: root_length.min(MAX_ROOT) as usize })
    }

    /// The label in the root directory, which counts where there is one.
    fn root_label(&self, read: impl Fn(u64, &mut [u8]) -> io::Result<()>) -> Option<String> {
        let mut directory = vec![0; self.root_length];
        read(self.root, &mut directory).ok()?;
        let used = directory.chunks_exact(32).take_while(|entry| entry[0] != 0);
        const VOLUME: u8 = 0x08;
        const LONG_NAME: u8 = 0x0f;
        let is_label =
            |entry: &&[u8]| entry[0] != 0xe5 && entry[11] & VOLUME != 0 && entry[11] & LONG_NAME != LONG_NAME;
        used.filter(is_label).map(|entry| text(&entry[..11])).next()
    }
}

/// As much of a root directory as is looked at.
const MAX_ROOT: u64 = 64 * 1024;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches([' ', '\0']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(image: &[u8]) -> Option<(Kind, String)> {
        identify(|offset, buffer| {
            let at = usize::try_from(offset).map_err(io::Error::other)?;
            let end = at.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(image.get(at..end).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn iso(label: &str) -> Vec<u8> {
        let mut image = vec![0; 17 * 2048];
        image[32768..32775].copy_from_slice(b"\x01CD001\x01");
        image[32768 + 40..32768 + 72].fill(b' ');
        image[32768 + 40..32768 + 40 + label.len()].copy_from_slice(label.as_bytes());
        image
    }

    /// A FAT16 of one sector per cluster and file table, or a FAT32, with a label in its boot sector.
    fn fat(wide: bool, label: &[u8; 11]) -> Vec<u8> {
        let mut image = vec![0; 64 * 512];
        let put = |image: &mut Vec<u8>, at: usize, bytes: &[u8]| {
            image[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(&mut image, 11, &[0, 2, 1, 1, 0, 2]);
        put(&mut image, 510, &[0x55, 0xaa]);
        if wide {
            put(&mut image, 36, &1u32.to_le_bytes());
            put(&mut image, 44, &2u32.to_le_bytes());
            image[66] = 0x29;
            put(&mut image, 71, label);
        } else {
            put(&mut image, 17, &16u16.to_le_bytes());
            put(&mut image, 22, &1u16.to_le_bytes());
            image[38] = 0x29;
            put(&mut image, 43, label);
        }
        image
    }

    #[test]
    fn labels_are_read_from_cds_and_from_fat_of_each_width() {
        assert_eq!(of(&iso("cidata")), Some((Kind::Iso9660, "cidata".into())));
        assert_eq!(of(&fat(false, b"CIDATA     ")), Some((Kind::Vfat, "CIDATA".into())));
        assert_eq!(of(&fat(true, b"config-2   ")), Some((Kind::Vfat, "config-2".into())));
    }

    #[test]
    fn the_label_in_the_root_directory_counts() {
        for wide in [false, true] {
            let mut image = fat(wide, b"NO NAME    ");
            assert_eq!(of(&image), Some((Kind::Vfat, String::new())));
            let root = 3 * 512;
            image[root..root + 12].copy_from_slice(b"\xe5DELETED   \x08");
            image[root + 32..root + 44].copy_from_slice(b"A\0l\0o\0n\0g\0n\x0f");
            image[root + 64..root + 76].copy_from_slice(b"CIDATA     \x08");
            assert_eq!(of(&image), Some((Kind::Vfat, "CIDATA".into())), "{wide}");
        }
    }

    #[test]
    fn anything_else_is_no_volume() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[0; 100 * 1024]), None);
        assert_eq!(of(&[0xff; 100 * 1024]), None);
        let mut short = fat(true, b"CIDATA     ");
        short[44..48].copy_from_slice(&0xffff_ffffu32.to_le_bytes());
        assert_eq!(of(&short), Some((Kind::Vfat, "CIDATA".into())));
        short[44..48].fill(0);
        assert_eq!(of(&short), None);
    }
}
