//! Files that are whole or not there: written beside, synced, renamed, their folder synced.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What the names of files that are being written start with.
pub(crate) const BESIDE: &str = ".part-";

/// Writes a file, in the place of one that may be there.
pub(crate) fn replace(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let mut beside = tempfile::Builder::new().prefix(BESIDE).tempfile_in(folder)?;
    beside.as_file().set_permissions(Permissions::from_mode(mode))?;
    beside.write_all(bytes)?;
    beside.as_file().sync_all()?;
    beside.persist(path)?;
    sync(folder)
}

/// Gives a file another name in its folder.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync(folder_of(to))
}

/// The folder that holds a file's name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// Makes the names in a folder last.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
