//! Waiting for the disk that booted.

use crate::choose::{BootArguments, Candidate, Choice, Patience, choose};
use crate::console;
use crate::watchdog::Watchdog;
use agent_system::block::{self, BlockError, Disk};
use agent_system::resize;
use image_layout::disk::{Role, SECTOR, esp};
use image_layout::slots::{BLOCK_SIZE, SlotState, StateError};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// A disk that has not appeared by now does not.
const LIMIT: Duration = Duration::from_secs(30);
/// Without a change for this long, all disks are likely there.
const SETTLED: Duration = Duration::from_secs(1);
/// Partitions that the kernel has not made by now are not in its table.
const PARTITIONS: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(50);

/// The disk that booted, with what is known of it.
pub(crate) struct Booted {
    /// The disk.
    pub(crate) disk: Disk,
    /// Its partitions and slot state.
    pub(crate) candidate: Candidate,
    /// How it was told.
    pub(crate) choice: Choice,
}

/// Looks at disks until the one that booted is there; `None` when the time is up.
pub(crate) fn wait(arguments: &BootArguments, watchdog: &mut Watchdog) -> Option<Booted> {
    let started = Instant::now();
    let (mut changed, mut looked) = (started, started);
    let mut disks: Vec<Disk> = Vec::new();
    let mut candidates: Vec<Candidate> = Vec::new();
    loop {
        let now = block::disks().unwrap_or_default();
        if now != disks {
            changed = Instant::now();
        }
        // One that could not be read may be readable a moment later.
        if now != disks || looked.elapsed() > SETTLED {
            looked = Instant::now();
            candidates = now.iter().map(look).collect();
            disks = now;
        }
        let patience = match () {
            () if started.elapsed() > LIMIT => Patience::Over,
            () if changed.elapsed() > SETTLED => Patience::Settled,
            () => Patience::Fresh,
        };
        if let Some(choice) = choose(arguments, &candidates, patience) {
            let (disk, candidate) =
                (disks.swap_remove(choice.index()), candidates.swap_remove(choice.index()));
            return Some(Booted { disk, candidate, choice });
        }
        if patience == Patience::Over {
            for (disk, candidate) in disks.iter().zip(&candidates) {
                let kind = if candidate.complete { "not the one that booted" } else { "another one" };
                console::warn(&format!("disk {}: {kind}", disk.name));
            }
            return None;
        }
        watchdog.feed();
        thread::sleep(TICK);
    }
}

/// The node of a partition, which the kernel makes a moment after the disk's, or after it has been told to
/// read a repaired table.
pub(crate) fn partition(disk: &Disk, role: Role) -> Result<PathBuf, BlockError> {
    let number = image_layout::disk::partition(role).number;
    let started = Instant::now();
    loop {
        match disk.partition(number) {
            Err(_) if started.elapsed() < PARTITIONS => thread::sleep(TICK),
            found => return found,
        }
    }
}

/// Reads a disk's tables and slot state. One that cannot be read is not the one that booted.
fn look(disk: &Disk) -> Candidate {
    let nothing =
        || Candidate { complete: false, copies: [Err(StateError::Header), Err(StateError::Header)] };
    let Ok(found) = resize::read_table(disk) else { return nothing() };
    let Some((table, esp_entry)) =
        found.table().ok().and_then(|table| Some((table, table.partition(Role::Esp)?)))
    else {
        return nothing();
    };
    let Ok(file) = File::open(disk.node()) else { return nothing() };
    let copies = esp::GRUBENV_OFFSETS.map(|offset| {
        let mut block = [0; BLOCK_SIZE];
        file.read_exact_at(&mut block, esp_entry.start * SECTOR + offset)
            .map_err(|_| StateError::Unreadable)
            .and_then(|()| SlotState::parse(&block))
    });
    Candidate { complete: table.is_complete(), copies }
}
