//! The data file system, by the programs of e2fsprogs: nothing is mounted.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use image_layout::disk::{self, Role};
use image_layout::paths;

use crate::disk::Disk;
use crate::lab::Lab;
use crate::sparse;

/// What `e2fsck` may end with: nothing to do, repaired, repaired and to be booted anew.
const REPAIRED: [i32; 4] = [0, 1, 2, 3];

/// Copies the file system out of a disk into `to`, with the little that is behind it.
pub(super) fn take(disk: &Disk, to: &Path) -> Result<()> {
    sparse::copy_from(&mut File::open(disk.path())?, disk::start(Role::Data), &mut File::create(to)?)
}

/// Repairs a file system; what is wrong when that cannot be done.
pub(super) fn repair(lab: &Lab, data: &Path) -> Result<Option<String>> {
    let done = lab.tool("e2fsck").arg("-fy").arg(data).output()?;
    let code = done.status.code().unwrap_or(-1);
    let said = String::from_utf8_lossy(&done.stdout);
    Ok((!REPAIRED.contains(&code)).then(|| format!("the file system cannot be repaired ({code}): {said}")))
}

/// Copies the state folder into `to`, and gives its path there.
pub(super) fn read_out(lab: &Lab, data: &Path, to: &Path) -> Result<PathBuf> {
    // Data is mounted as `/var`.
    let inside = paths::STATE.strip_prefix("/var").context("the state is not on data")?;
    let request = format!("rdump {inside} {}", to.display());
    let done = lab.tool("debugfs").arg("-R").arg(request).arg(data).output()?;
    ensure!(done.status.success(), "debugfs: {}", String::from_utf8_lossy(&done.stderr));
    let name = Path::new(inside).file_name().context("the state folder has no name")?;
    Ok(to.join(name))
}
