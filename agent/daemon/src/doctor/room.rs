//! The data file system, and what takes the room on it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent_api::types::{DataState, Image, Volume};
use agent_core::doctor::{Data, Room, VolumeUse};
use image_layout::paths;
use rustix::fs::{StatVfsMountFlags, major, minor, statvfs};

use crate::agent::Agent;
use crate::server;

/// Where the journal lies.
const JOURNAL: &str = "/var/log/journal";
/// Folders of the journal are one in the other.
const DEEPEST: usize = 4;

/// Whether it is whole, and what it holds.
pub(super) fn look(agent: &Agent) -> (Data, Room) {
    let stat = statvfs(paths::STATE).ok();
    let data = Data {
        unavailable: agent.boot.data_problem(),
        disk_fails: agent.boot.disk_failed(),
        failed: agent.data_failed.problem(),
        repaired: agent.boot.data().state == DataState::Repaired,
        read_only: stat.as_ref().is_some_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY)),
        errors: errors(Path::new(paths::STATE)).unwrap_or(0),
    };
    let images = server::images(agent).unwrap_or_default();
    let sum = |used: fn(&&Image) -> bool| images.iter().filter(used).map(|image| image.size).sum::<u64>();
    let full = agent.live().full.clone();
    let disk = server::disk();
    let room = Room {
        full,
        size: disk.size,
        available: disk.available,
        files: stat.as_ref().map_or(0, |stat| stat.f_files),
        files_free: stat.as_ref().map_or(0, |stat| stat.f_ffree),
        images: sum(|_| true),
        images_unused: sum(|image| image.used_by.is_empty()),
        journal: bytes(Path::new(JOURNAL), DEEPEST),
        volumes: server::volumes(agent).into_iter().map(volume).collect(),
    };
    (data, room)
}

fn volume(volume: Volume) -> VolumeUse {
    let Volume { instance, name, used, size, in_use, .. } = volume;
    VolumeUse { instance, name, used, size, in_use }
}

/// Errors that ext4 has met since it was last checked.
fn errors(path: &Path) -> Option<u64> {
    let device = std::fs::metadata(path).ok()?.dev();
    let block = PathBuf::from(format!("/sys/dev/block/{}:{}", major(device), minor(device)));
    let name = std::fs::canonicalize(block).ok()?;
    let count = Path::new("/sys/fs/ext4").join(name.file_name()?).join("errors_count");
    std::fs::read_to_string(count).ok()?.trim().parse().ok()
}

/// Bytes that the files of a folder take.
fn bytes(folder: &Path, deep: usize) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        let below = metadata.is_dir() && deep > 0;
        Some(if below { bytes(&entry.path(), deep - 1) } else { metadata.blocks() * 512 })
    });
    sizes.sum()
}
