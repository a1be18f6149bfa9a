//! What the boot loader needs: the slot state, and a boot partition whose files are what its list says.

use std::io::{Cursor, Read};

use anyhow::Result;
use image_layout::Slot;
use image_layout::disk::{self, Role, boot};

use crate::cuts::acknowledged::Record;
use crate::disk::Disk;

/// What is wrong; the slots in `sound` are known to start.
pub(super) fn problems(disk: &Disk, sound: &[Slot]) -> Result<Vec<String>> {
    let mut problems = vec![];
    // Both copies are written one after the other, so one is whole at any time.
    match good(disk)? {
        None => problems.push("neither copy of the slot state is whole".into()),
        Some(good) if !sound.contains(&good) && !starts(disk, good)? => {
            problems.push(format!("slot {good} is the good one and cannot be started"));
        }
        Some(_) => {}
    }
    Ok(problems)
}

/// What is wrong where `record` is one for the boot loader.
pub(super) fn missing(disk: &Disk, record: &Record) -> Result<Option<String>> {
    Ok(match record {
        Record::Starts(slot) if !starts(disk, *slot)? => Some(format!("slot {slot} cannot be started")),
        Record::Good(slot) => {
            let good = good(disk)?;
            (good != Some(*slot)).then(|| format!("slot {slot} is not the good one: {good:?}"))
        }
        _ => None,
    })
}

/// The slot that the boot loader has for good: what the first whole copy says.
fn good(disk: &Disk) -> Result<Option<Slot>> {
    Ok(disk.slot_states()?.into_iter().flatten().next().map(|state| state.good))
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

#[cfg(test)]
mod tests {
    use image_layout::SlotState;

    use super::*;

    #[test]
    fn a_slot_state_or_a_slot_that_was_lost_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        let end = disk::start(Role::Data);
        std::fs::File::create(&path).unwrap().set_len(end).unwrap();
        let disk = Disk::at(path);
        assert_eq!(problems(&disk, &[]).unwrap(), ["neither copy of the slot state is whole"]);
        let state = SlotState { slot: Slot::B, good: Slot::A, tries_a: 3, tries_b: 1, boot: "x".into() };
        disk.set_slot_state(&state).unwrap();
        assert_eq!(problems(&disk, &[]).unwrap(), ["slot a is the good one and cannot be started"]);
        assert_eq!(problems(&disk, &[Slot::B]).unwrap().len(), 1);
        assert!(problems(&disk, &[Slot::A]).unwrap().is_empty());
        let missed = |record| missing(&disk, &record).unwrap().is_some();
        assert!(missed(Record::Good(Slot::B)) && missed(Record::Starts(Slot::B)));
        assert!(!missed(Record::Good(Slot::A)) && !missed(Record::Page(String::new())));
    }
}
