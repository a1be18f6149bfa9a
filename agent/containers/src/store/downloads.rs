//! What a fetch had downloaded when it was cut: set aside, and given to the next fetch of the same ID.
//!
//! Invariant: it is another user's, as foreign as what it came from: it is moved and removed as one folder,
//! nothing in it is opened here, and what is no file does not stay. `holdfast-fetch` takes none of it for what
//! it is called.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use agent_system::files::{self, Access};

use super::{Seal, Store, StoreError};
use crate::fetch::FetchResult;

impl<S: Seal> Store<S> {
    /// Removes the staging folder of a fetch that does not run any more, but for what it had downloaded.
    pub fn set_aside(&self, id: &str) -> Result<(), StoreError> {
        self.keep_download(id)?;
        files::remove_tree(self.staging_of(id)?)?;
        Ok(())
    }

    /// Moves what a fetch had downloaded out of its staging folder.
    fn keep_download(&self, id: &str) -> Result<(), StoreError> {
        let blobs = self.staging_of(id)?.join(FetchResult::BLOBS);
        if holds_something(&blobs) {
            let (folder, aside) = (self.downloads_folder(), self.downloads_folder().join(id));
            // What cannot be kept, as on a full disk, is downloaded again.
            let made = files::create_dir_all(folder, Access::mode(0o700))
                .and_then(|_| files::remove_tree(&aside))
                .is_ok();
            // Looked through where nobody but root reaches it by name.
            if made && fs::rename(&blobs, &aside).is_ok() && keep_files(&aside).is_err() {
                files::remove_tree(&aside)?;
            }
        }
        Ok(())
    }

    /// Moves what was set aside for this ID into its new staging folder.
    pub(super) fn take_up(&self, id: &str, staging: &Path) -> Result<(), StoreError> {
        let aside = self.downloads_folder().join(id);
        match fs::rename(&aside, staging.join(FetchResult::BLOBS)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StoreError::Path { path: aside, source: error })
            }
            _ => Ok(()),
        }
    }

    /// The IDs of the fetches that were cut, whose downloads are kept.
    pub fn downloads(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut ids = names(&self.downloads_folder())?;
        // Those are being removed.
        ids.retain(|id| !id.starts_with('.'));
        Ok(ids)
    }

    /// Removes what a fetch had downloaded; says whether there was anything.
    pub fn forget_download(&self, id: &str) -> Result<bool, StoreError> {
        self.staging_of(id)?;
        Ok(files::remove_tree(self.downloads_folder().join(id))?)
    }

    /// Removes what all fetches had downloaded but those with these IDs; says how many bytes that were. What runs
    /// now has its own in its staging folder.
    pub fn forget_downloads(&self, keep: &BTreeSet<String>) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for id in self.downloads()?.difference(keep) {
            let there = size(&self.downloads_folder().join(id));
            if self.forget_download(id)? {
                bytes += there;
            }
        }
        Ok(bytes)
    }

    /// Empties the folder of fetches, but for what they had downloaded. It takes no room.
    pub(super) fn set_all_aside(&self) -> Result<(), StoreError> {
        for name in names(&self.staging())? {
            match self.keep_download(&name) {
                // What removals that were cut left.
                Err(StoreError::StagingName(_)) => {}
                other => other?,
            }
        }
        files::clear(self.staging())?;
        if self.downloads_folder().exists() {
            files::sweep(self.downloads_folder())?;
        }
        Ok(())
    }
}

/// Whether it is a folder, not a link to one, with something in it.
fn holds_something(folder: &Path) -> bool {
    let real = fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir());
    real && fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Bytes of the files in a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Removes what is no file: the next fetch opens what it finds.
fn keep_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_file() => {}
            kind if kind.is_dir() => fs::remove_dir_all(entry.path())?,
            _ => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// What a folder holds; nothing, when it is not there.
fn names(folder: &Path) -> Result<BTreeSet<String>, StoreError> {
    let fail = |source| StoreError::Path { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(fail)?,
    };
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<_>>().map_err(fail)
}
