//! The partition table of the disk, and the boot code in front of it.
//!
//! GPT with both headers; every identifier is derived from the image's content, so that equal images
//! are equal bytes. The protective MBR holds GRUB's `boot.img`, told where `core.img` lies.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::str::FromStr;

use gpt::disk::LogicalBlockSize;
use gpt::partition::Partition;
use gpt::partition_types::Type;
use image_layout::disk::{self, ALIGNMENT, PARTITIONS, Role, SECTOR};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Why the tables cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The crate that writes GPT refused.
    #[error("failed to write the partition table")]
    Gpt(#[from] gpt::GptError),
    /// The crate could not write the protective MBR.
    #[error("failed to write the protective MBR")]
    Mbr(#[source] gpt::mbr::MBRError),
    /// The type of a partition is not a GUID.
    #[error("partition `{0}` has a type that is not a GUID")]
    Type(&'static str),
    /// The disk could not be read or written.
    #[error("failed to write the first sectors of the disk")]
    Io(#[from] std::io::Error),
    /// GRUB's image is larger than its partition, or not GRUB's image.
    #[error("GRUB's `{0}` cannot be used: it has {1} bytes")]
    Grub(&'static str, usize),
}

/// Bytes of the disk at build: the partitions and room for the backup table.
pub fn disk_size() -> u64 {
    disk::start(Role::Data) + disk::partition(Role::Data).size + ALIGNMENT
}

/// An identifier derived from `seed` and `name`, in the form of a random UUID (RFC 9562, version 8).
pub fn derived_uuid(seed: &[u8], name: &str) -> Uuid {
    let digest = Sha256::new().chain_update(name).chain_update([0]).chain_update(seed).finalize();
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Writes protective MBR, both tables and both headers to `device`, which has [`disk_size`] bytes.
pub fn write<D>(device: &mut D, seed: &[u8]) -> Result<(), TableError>
where
    D: Read + Write + Seek + std::fmt::Debug,
{
    let sectors = u32::try_from(disk_size() / SECTOR - 1).unwrap_or(u32::MAX);
    gpt::mbr::ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(device).map_err(TableError::Mbr)?;
    let config = gpt::GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
    let mut table = config.create_from_device(device, Some(derived_uuid(seed, "disk")))?;
    let mut partitions = BTreeMap::new();
    for part in &PARTITIONS {
        let first_lba = disk::start(part.role) / SECTOR;
        let part_type = Type::from_str(part.type_guid).map_err(|_| TableError::Type(part.name))?;
        let entry = Partition {
            part_type_guid: part_type,
            part_guid: derived_uuid(seed, part.name),
            first_lba,
            last_lba: first_lba + part.size / SECTOR - 1,
            flags: 0,
            name: part.name.to_owned(),
        };
        partitions.insert(part.number, entry);
    }
    table.update_partitions(partitions)?;
    table.write()?;
    Ok(())
}

/// Puts GRUB for BIOS on a disk whose tables are written: `boot_img` around the protective entry of
/// sector 0, `core_img` into the BIOS boot partition.
///
/// Offsets as in GRUB's `include/grub/i386/pc/boot.h`: where the core image starts (0x5c), the jump that
/// is replaced so that the drive number given by the firmware is trusted (0x66), and in the first
/// sector of the core image where its rest starts (0x1f4).
pub fn write_bios_loader<D>(device: &mut D, boot_img: &[u8], core_img: &[u8]) -> Result<(), TableError>
where
    D: Read + Write + Seek,
{
    if boot_img.len() != 512 || boot_img[510..] != [0x55, 0xaa] {
        return Err(TableError::Grub("boot.img", boot_img.len()));
    }
    let bios = disk::partition(Role::BiosBoot);
    if core_img.len() < 1024 || core_img.len() as u64 > bios.size {
        return Err(TableError::Grub("core.img", core_img.len()));
    }
    let lba = disk::start(Role::BiosBoot) / SECTOR;
    let mut sector = [0u8; 512];
    device.rewind()?;
    device.read_exact(&mut sector)?;
    sector[..0x1b8].copy_from_slice(&boot_img[..0x1b8]);
    sector[0x5c..0x64].copy_from_slice(&lba.to_le_bytes());
    sector[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    device.rewind()?;
    device.write_all(&sector)?;

    let mut core = core_img.to_vec();
    core[0x1f4..0x1fc].copy_from_slice(&(lba + 1).to_le_bytes());
    device.seek(SeekFrom::Start(lba * SECTOR))?;
    device.write_all(&core)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn disk_with_tables() -> Cursor<Vec<u8>> {
        let mut device = Cursor::new(vec![0u8; disk_size() as usize]);
        write(&mut device, b"seed").unwrap();
        device
    }

    #[test]
    fn both_headers_are_valid_and_say_the_same() {
        let bytes = disk_with_tables().into_inner();
        let check = |bytes: Vec<u8>, broken: &str| {
            let config = gpt::GptConfig::new().writable(false).logical_block_size(LogicalBlockSize::Lb512);
            let table = config.open_from_device(Cursor::new(bytes)).unwrap();
            assert_eq!(table.primary_header().is_ok(), broken != "primary");
            assert_eq!(table.backup_header().is_ok(), broken != "backup");
            assert_eq!(table.header().num_parts, 128);
            for part in &PARTITIONS {
                let entry = &table.partitions()[&part.number];
                assert_eq!(entry.name, part.name);
                assert_eq!(entry.first_lba * SECTOR, disk::start(part.role));
                assert_eq!((entry.last_lba + 1 - entry.first_lba) * SECTOR, part.size);
                assert_eq!(entry.part_type_guid.guid.to_string(), part.type_guid);
            }
        };
        check(bytes.clone(), "none");
        let mut no_primary = bytes.clone();
        no_primary[512..1024].fill(0);
        check(no_primary, "primary");
        let mut no_backup = bytes;
        let last = no_backup.len() - 512;
        no_backup[last..].fill(0);
        check(no_backup, "backup");
    }

    #[test]
    fn identifiers_follow_the_seed() {
        assert_eq!(disk_with_tables().into_inner(), disk_with_tables().into_inner());
        assert_eq!(derived_uuid(b"x", "data"), derived_uuid(b"x", "data"));
        assert_ne!(derived_uuid(b"x", "data"), derived_uuid(b"y", "data"));
        assert_ne!(derived_uuid(b"x", "data"), derived_uuid(b"x", "disk"));
    }

    #[test]
    fn loader_is_patched_and_keeps_the_protective_entry() {
        let mut device = disk_with_tables();
        let before = device.get_ref()[0x1b8..512].to_vec();
        let mut boot = [0xebu8; 512];
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        write_bios_loader(&mut device, &boot, &[7u8; 4096]).unwrap();
        let disk = device.into_inner();
        assert_eq!(disk[0x1b8..512], before, "signature, entry and 55 aa");
        assert_eq!(disk[0x1c2], 0xee, "protective");
        assert_eq!(disk[0x5c..0x64], 2048u64.to_le_bytes());
        assert_eq!(disk[0x66..0x68], [0x90, 0x90]);
        let core = ALIGNMENT as usize;
        assert_eq!(disk[core + 0x1f4..core + 0x1fc], 2049u64.to_le_bytes());
        assert_eq!(disk[core + 0x1fc], 7);
    }

    #[test]
    fn refuses_a_loader_that_does_not_fit() {
        let mut device = disk_with_tables();
        let mut boot = [0u8; 512];
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        let core = vec![0u8; ALIGNMENT as usize + 1];
        assert!(matches!(write_bios_loader(&mut device, &boot, &core), Err(TableError::Grub("core.img", _))));
        assert!(matches!(
            write_bios_loader(&mut device, &[0; 512], &core),
            Err(TableError::Grub("boot.img", _))
        ));
    }
}
