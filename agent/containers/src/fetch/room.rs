//! Room on the disk of the staging folder: looked for before something large is written, so that no image
//! fills the disk that the rest of the box writes to as well.

use std::io;
use std::path::Path;

use rustix::fs::statvfs;

use super::error::{FetchError, FetchErrorKind};
use crate::Limits;

/// Bytes of the disk that `folder` is on which are neither in use nor kept back.
pub(crate) fn available(folder: &Path) -> io::Result<u64> {
    let disk = statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Refuses to write `bytes` bytes to the folder when that would leave less than the reserve.
pub(super) fn check(folder: &Path, bytes: u64, limits: &Limits) -> Result<(), FetchError> {
    let free =
        available(folder).map_err(|error| FetchError::io("failed to look for room on the disk", &error))?;
    if bytes.saturating_add(limits.reserve) <= free {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let message = format!(
        "there is no room for {} MiB: the disk has {} MiB left, and {} MiB of it are a reserve",
        mib(bytes),
        free >> 20,
        mib(limits.reserve)
    );
    Err(FetchError::new(FetchErrorKind::DiskFull, message).with_disk_hint())
}
