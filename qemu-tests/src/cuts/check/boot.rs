//! What the boot loader needs: the slot state, and a boot partition whose files are what its list says.

use std::io::{Cursor, Read};

use anyhow::Result;
use image_layout::Slot;
use image_layout::disk::{self, Role, boot};

use crate::disk::Disk;

/// What is wrong; the slots in `sound` are known to start.
pub(super) fn problems(disk: &Disk, sound: &[Slot]) -> Result<Vec<String>> {
    let mut problems = vec![];
    // Both copies are written one after the other, so one is whole at any time.
    if disk.slot_states()?.iter().all(Option::is_none) {
        problems.push("neither copy of the slot state is whole".into());
    }
    let mut starts = !sound.is_empty();
    for slot in [Slot::A, Slot::B] {
        starts = starts || self::starts(disk, slot)?;
    }
    if !starts {
        problems.push("no slot can be started".into());
    }
    Ok(problems)
}

/// Whether a slot's kernel, initrd and arguments are those of its list.
pub(super) fn starts(disk: &Disk, slot: Slot) -> Result<bool> {
    Ok(arguments(disk, slot)?.is_some())
}

/// The kernel's arguments of a slot whose files are those of its list; `None` for any other.
pub(super) fn arguments(disk: &Disk, slot: Slot) -> Result<Option<String>> {
    let role = Role::Boot(slot);
    let bytes = disk.partition(role)?.read(0, disk::partition(role).size as usize)?;
    let mut bytes = Cursor::new(bytes);
    // An empty slot is no file system.
    let Ok(volume) = fatfs::FileSystem::new(&mut bytes, fatfs::FsOptions::new()) else { return Ok(None) };
    let read = |name: &str| -> std::io::Result<Vec<u8>> {
        let mut content = vec![];
        volume.root_dir().open_file(name)?.read_to_end(&mut content)?;
        Ok(content)
    };
    let Ok(sums) = read(boot::SUMS) else { return Ok(None) };
    let sums = String::from_utf8_lossy(&sums);
    let good = |name: &str| {
        let wanted = sums.lines().find_map(|line| line.strip_suffix(name)?.split(' ').next());
        let content = read(name).unwrap_or_default();
        let mut crc = flate2::Crc::new();
        crc.update(&content);
        wanted == Some(&format!("{:08x}", crc.sum()))
    };
    if ![boot::KERNEL, boot::INITRD, boot::ARGS].into_iter().all(good) {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&read(boot::ARGS)?).into_owned();
    Ok(text.lines().find_map(|line| line.strip_prefix("args=")).map(str::to_owned))
}
