//! Files with formats: written so that the version in the other slot can go on with them.
//!
//! `NAME` is the truth for whoever runs. It is written in its format at the writing level; beside it lies
//! `NAME.format-N` in older formats. Invariants:
//!
//! - Copies in formats older than that of `NAME` say the same as it, unless they have no room for it: then
//!   they say what was the last that they had room for. `NAME` is written first, and a start makes good what
//!   a cut left between the two.
//! - Copies in its own format or a newer one are never read, but for one thing. A version that finds `NAME`
//!   newer than it reads puts it aside as a copy and the newest copy that it reads in its place. Whoever reads
//!   the newer format finds both alike and takes its own back, as long as nothing was written in between.
//!
//! Of what nothing else could tell again there is `NAME.spare`, the same bytes elsewhere on the disk, written after
//! `NAME`: it is read where that is damaged, and put in its place by the next start. One without `NAME` is nothing.
//!
//! Deliberately absent: which files there are, and what the level is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use agent_core::state::{self, Format};
use agent_system::files::{self, FileError};

use super::{LIMIT, RecordError};

/// What changes on the disk, one durable step at a time.
pub(super) trait Disk {
    /// Replaces a file, which only root can read.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError>;
    /// Removes a file, if there is one.
    fn remove(&self, path: &Path) -> Result<(), FileError>;
}

/// The disk itself.
#[derive(Debug)]
pub(super) struct Durable;

impl Disk for Durable {
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        files::write_atomic(path, bytes, 0o600)
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        files::remove(path).map(drop)
    }
}

/// Reads and writes files with formats.
#[derive(Debug)]
pub(super) struct Formats<D = Durable> {
    disk: D,
    /// The newest level.
    newest: u32,
    /// The level that is written.
    level: AtomicU32,
    /// The level that the version in the other slot reads; the newest where there is none.
    other: AtomicU32,
}

impl<D: Disk> Formats<D> {
    /// Writes what every version reads, until told otherwise.
    pub(super) fn new(disk: D, newest: u32) -> Formats<D> {
        Formats { disk, newest, level: AtomicU32::new(1), other: AtomicU32::new(newest) }
    }

    /// The newest level.
    pub(super) fn newest(&self) -> u32 {
        self.newest
    }

    /// Whether the newest level is written.
    pub(super) fn is_newest(&self) -> bool {
        self.level.load(Ordering::Relaxed) >= self.newest
    }

    /// Sets the level that is written from now on.
    pub(super) fn set_level(&self, level: u32) {
        self.level.store(level, Ordering::Relaxed);
    }

    /// Sets the level that the version in the other slot reads, if there is one.
    pub(super) fn set_other(&self, level: Option<u32>) {
        self.other.store(level.unwrap_or(self.newest), Ordering::Relaxed);
    }

    /// Reads a file; `None` when there is none.
    pub(super) fn read<T: Format>(&self, path: &Path) -> Result<Option<T>, RecordError> {
        let read = files::read_optional(path, LIMIT).map_err(RecordError::from);
        let read = read.and_then(|bytes| bytes.map(|bytes| decode(path, &bytes)).transpose());
        match read {
            Err(error) if error.is_damage() => spare::<T>(path).map(|(_, value)| Some(value)).ok_or(error),
            read => read,
        }
    }

    /// Puts the second copy in the place of a file that is damaged, and says so; makes one of a file that is whole.
    /// For a start, before anything is written.
    pub(super) fn mend<T: Format>(&self, path: &Path) -> Result<Option<String>, RecordError> {
        if !T::SPARE {
            return Ok(None);
        }
        let at = beside(path, SPARE);
        let bytes = match files::read_optional(path, LIMIT) {
            Ok(None) => return Ok(self.disk.remove(&at).map(|()| None)?),
            Ok(Some(bytes)) => bytes,
            Err(FileError::TooLarge { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let damaged = decode::<T>(path, &bytes).is_err_and(|error| error.is_damage());
        match spare::<T>(path).filter(|_| damaged) {
            Some((spare, _)) => {
                self.disk.write(path, &spare)?;
                Ok(Some(format!("`{}` was damaged; its second copy is used", path.display())))
            }
            None if damaged || bytes_of(&at).as_ref() == Some(&bytes) => Ok(None),
            None => Ok(self.disk.write(&at, &bytes).map(|()| None)?),
        }
    }

    /// Writes a file at the writing level, and its copies. Durable when this returns; refused when the
    /// format of that level has no room for it.
    pub(super) fn write<T: Format>(&self, path: &Path, value: &T) -> Result<(), RecordError> {
        let format = T::at(self.level.load(Ordering::Relaxed));
        let text = encode(path, value, format)?;
        // What cannot be read is no use as a copy.
        let bytes = bytes_of(path).unwrap_or_default();
        if let Some(found) = state::format_of(&String::from_utf8_lossy(&bytes))
            && (found < format.into() || found > T::FORMAT.into())
        {
            self.disk.write(&copy(path, found), &bytes)?;
        }
        self.disk.write(path, text.as_bytes())?;
        if T::SPARE {
            self.disk.write(&beside(path, SPARE), text.as_bytes())?;
        }
        self.disk.remove(&copy(path, format.into()))?;
        self.write_copies(path, value, format)
    }

    /// Removes a file and its copies.
    pub(super) fn remove(&self, path: &Path) -> Result<(), RecordError> {
        self.disk.remove(path)?;
        self.disk.remove(&beside(path, SPARE))?;
        for format in copies(path) {
            self.disk.remove(&copy(path, format))?;
        }
        Ok(())
    }

    /// Puts the newest copy that can be read in the place of a file that is newer; says so. A file without
    /// one stays.
    pub(super) fn adopt<T: Format>(&self, path: &Path) -> Result<Option<String>, RecordError> {
        let Some(newer) = bytes_of(path) else { return Ok(None) };
        let found = state::format_of(&String::from_utf8_lossy(&newer));
        let Some(found) = found.filter(|found| *found > T::FORMAT.into()) else { return Ok(None) };
        let usable = |format: &u64| {
            let bytes = bytes_of(&copy(path, *format))?;
            decode::<T>(path, &bytes).is_ok().then_some((*format, bytes))
        };
        let Some((format, bytes)) = (1..=T::FORMAT.into()).rev().find_map(|format| usable(&format)) else {
            return Ok(None);
        };
        self.disk.write(&copy(path, found), &newer)?;
        self.disk.write(path, &bytes)?;
        let name = path.display();
        Ok(Some(format!(
            "a newer version wrote `{name}` in format {found}: what was kept of it in format {format} is used"
        )))
    }

    /// Brings a file to its newest format and keeps the old one, and makes good what a cut left of this and
    /// of earlier writes. May be cut anywhere and run again. For when the newest level is written.
    pub(super) fn migrate<T: Format>(&self, path: &Path) -> Result<(), RecordError> {
        let Some(bytes) = files::read_optional(path, LIMIT)? else { return self.remove(path) };
        let Some(found) = state::format_of(&String::from_utf8_lossy(&bytes)) else { return Ok(()) };
        if found > T::FORMAT.into() {
            return Ok(());
        }
        let aside: Vec<u64> = copies(path).into_iter().filter(|format| *format > found).collect();
        let put = bytes_of(&copy(path, found)).is_some_and(|copy| copy == bytes);
        if let Some((format, own)) = self.own::<T>(path, &bytes, &aside).filter(|_| put) {
            self.disk.write(path, &own)?;
            return match format < T::FORMAT.into() {
                true => self.migrate::<T>(path),
                false => self.write_copies(path, &decode::<T>(path, &own)?, T::FORMAT),
            };
        }
        for format in aside.into_iter().filter(|format| !put || *format <= T::FORMAT.into()) {
            self.disk.remove(&copy(path, format))?;
        }
        let value: T = decode(path, &bytes)?;
        if found < T::FORMAT.into() {
            self.disk.write(&copy(path, found), &bytes)?;
            self.disk.write(path, encode(path, &value, T::FORMAT)?.as_bytes())?;
        }
        self.write_copies(path, &value, T::FORMAT)
    }

    /// What an older version put aside when it put `now` in its place: its format and bytes.
    fn own<T: Format>(&self, path: &Path, now: &[u8], aside: &[u64]) -> Option<(u64, Vec<u8>)> {
        let format = *aside.iter().filter(|format| **format <= T::FORMAT.into()).max()?;
        let own = bytes_of(&copy(path, format))?;
        let found = state::format_of(&String::from_utf8_lossy(now))? as u32;
        let (value, now) = (decode::<T>(path, &own).ok()?, decode::<T>(path, now).ok()?);
        // A write that was cut may have come to the one and not to the other: what was used last stays.
        let alike = match state::encode_as(&value, found) {
            Ok(text) => state::encode_as(&now, found).is_ok_and(|now| now == text),
            Err(_) => true,
        };
        alike.then_some((format, own))
    }

    /// Brings the copies up to date that there are, and the one that the version in the other slot reads.
    fn write_copies<T: Format>(&self, path: &Path, value: &T, format: u32) -> Result<(), RecordError> {
        let other = T::at(self.other.load(Ordering::Relaxed));
        for format in 1..format {
            let path = copy(path, format.into());
            let before = bytes_of(&path);
            let Ok(text) = state::encode_as(value, format) else { continue };
            let same = |before: &[u8]| {
                let before = decode::<T>(&path, before).ok();
                before.and_then(|before| state::encode_as(&before, format).ok()).is_some_and(|b| b == text)
            };
            if before.as_ref().map_or(format == other, |before| !same(before)) {
                self.disk.write(&path, text.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// What every copy of a file says; none when there is one that cannot be read.
pub(super) fn kept<T: Format>(path: &Path) -> Option<Vec<T>> {
    let read = |format| decode(path, &bytes_of(&copy(path, format))?).ok();
    copies(path).into_iter().map(read).collect()
}

/// The file that a path is a copy of, or the path itself.
pub(super) fn original(path: PathBuf) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.strip_suffix(SPARE).or_else(|| Some(name.rsplit_once(MARK)?.0)) {
        Some(name) => path.with_file_name(name),
        None => path,
    }
}

/// A file with all copies of it that there may be.
pub(super) fn with_copies(path: &Path) -> Vec<PathBuf> {
    let copies = copies(path).into_iter().map(|format| copy(path, format));
    [path.to_owned(), beside(path, SPARE)].into_iter().chain(copies).collect()
}

/// Before the number in a copy's name.
const MARK: &str = ".format-";
/// Behind the name of a second copy.
const SPARE: &str = ".spare";

fn copy(path: &Path, format: u64) -> PathBuf {
    beside(path, &format!("{MARK}{format}"))
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

/// The second copy of a file, if there is one that can be read.
fn spare<T: Format>(path: &Path) -> Option<(Vec<u8>, T)> {
    let bytes = T::SPARE.then(|| bytes_of(&beside(path, SPARE))).flatten()?;
    let value = decode(path, &bytes).ok()?;
    Some((bytes, value))
}

/// The formats of all copies of a file.
fn copies(path: &Path) -> Vec<u64> {
    let entries = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let format = |entry: std::fs::DirEntry| {
        entry.file_name().to_str()?.strip_prefix(name)?.strip_prefix(MARK)?.parse().ok()
    };
    entries.into_iter().flatten().flatten().filter_map(format).collect()
}

fn bytes_of(path: &Path) -> Option<Vec<u8>> {
    files::read_optional(path, LIMIT).ok().flatten()
}

fn decode<T: Format>(path: &Path, bytes: &[u8]) -> Result<T, RecordError> {
    let decoded = state::decode(&String::from_utf8_lossy(bytes));
    decoded.map_err(|source| RecordError::Format { path: path.to_owned(), source })
}

fn encode<T: Format>(path: &Path, value: &T, format: u32) -> Result<String, RecordError> {
    let encoded = state::encode_as(value, format);
    encoded.map_err(|source| RecordError::Format { path: path.to_owned(), source })
}

/// Puts something else into a file and takes its second copy away.
#[cfg(test)]
pub(super) fn damage(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    files::remove(beside(path, SPARE)).unwrap();
}

#[cfg(test)]
#[path = "formats_tests.rs"]
mod tests;
