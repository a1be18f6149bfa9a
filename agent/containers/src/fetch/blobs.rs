//! The blobs of an image while it is fetched: in a folder that the next fetch finds when this one is cut.
//!
//! Invariant: none is believed for being there. Deliberately absent: making them durable. What a power cut
//! takes of them is downloaded again.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::FetchResult;
use super::error::{FetchError, FetchErrorKind};
use crate::Digest;

/// A staging folder's blobs.
pub(super) struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    pub(super) fn at(staging: &Path) -> Blobs {
        Blobs { folder: staging.join(FetchResult::BLOBS) }
    }

    /// Makes the folder, if no earlier fetch has left it.
    pub(super) fn prepare(&self) -> Result<(), FetchError> {
        fs::create_dir_all(&self.folder)
            .map_err(|error| FetchError::io("failed to prepare the staging folder", &error))
    }

    /// Where a blob has its place.
    pub(super) fn path(&self, blob: &Digest) -> PathBuf {
        self.folder.join(blob.hex())
    }

    /// Removes all but these.
    pub(super) fn keep<'a>(&self, blobs: impl Iterator<Item = &'a Digest>) {
        let keep: BTreeSet<OsString> = blobs.map(|blob| blob.hex().into()).collect();
        self.remove_others(&keep);
    }

    /// Does what takes room. When there is too little, the other blobs go, and it is done once more: those
    /// of the layers below have been converted.
    pub(super) fn making_room<T>(
        &self,
        blob: &Digest,
        mut work: impl FnMut() -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        match work() {
            Err(error) if error.kind == FetchErrorKind::DiskFull => {
                match self.remove_others(&BTreeSet::from([blob.hex().into()])) {
                    true => work(),
                    false => Err(error),
                }
            }
            done => done,
        }
    }

    /// Removes all of it.
    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.folder)
    }

    /// After a fetch that failed: leaves what there is to the next, or nothing.
    pub(super) fn leave(&self, useful: bool) {
        // What cannot be removed now is removed with the staging folder; a folder goes alone when it is empty.
        let _ = if useful { fs::remove_dir(&self.folder) } else { self.remove() };
    }

    /// Says whether there was anything. What cannot be listed or removed stays until the fetch ends.
    fn remove_others(&self, keep: &BTreeSet<OsString>) -> bool {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().filter_map(Result::ok);
        let others = entries.filter(|entry| !keep.contains(&entry.file_name()));
        others.filter(|entry| fs::remove_file(entry.path()).is_ok()).count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_blobs_make_room() {
        let staging = tempfile::tempdir().unwrap();
        let blobs = Blobs::at(staging.path());
        blobs.prepare().unwrap();
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let full = || Err(FetchError::new(FetchErrorKind::DiskFull, "full"));
        // As long as there are two, the disk is full.
        let work = || if blobs.path(&two).exists() { full() } else { Ok(()) };
        for blob in [&one, &two] {
            fs::write(blobs.path(blob), b"x").unwrap();
        }
        blobs.making_room(&one, work).unwrap();
        assert!(blobs.path(&one).exists());
        // Where nothing is to be had, it is done once.
        let mut done = 0;
        let fails = || {
            done += 1;
            full()
        };
        assert_eq!(blobs.making_room(&one, fails).unwrap_err().kind, FetchErrorKind::DiskFull);
        assert!(done == 1 && blobs.path(&one).exists());
    }
}
