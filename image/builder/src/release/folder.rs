//! A repository as a folder of the file system: each file is written whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use image_layout::release::{METADATA, TARGETS};

use super::{files, order};

/// A folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// A file cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be written or removed.
    #[error("failed to write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A folder that holds a repository, or will.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A folder, which need not be there.
    pub(crate) fn new(path: &Path) -> Folder {
        Folder(path.to_owned())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it.
    pub(crate) fn create(&self) -> Result<(), FolderError> {
        for path in [METADATA, TARGETS].map(|name| self.0.join(name)) {
            fs::create_dir_all(&path).map_err(|source| FolderError::Write { path, source })?;
        }
        Ok(())
    }

    /// The repository's files with their sizes, and nothing else that may be there.
    pub(crate) fn list(&self) -> Result<BTreeMap<String, u64>, FolderError> {
        let mut found = BTreeMap::new();
        for folder in [METADATA, TARGETS] {
            let path = self.0.join(folder);
            let entries = match fs::read_dir(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(|source| FolderError::Read { path: path.clone(), source })?,
            };
            for entry in entries {
                let metadata = entry.and_then(|entry| Ok((entry.file_name(), entry.metadata()?)));
                let (name, metadata) =
                    metadata.map_err(|source| FolderError::Read { path: path.clone(), source })?;
                let file = format!("{folder}/{}", name.to_string_lossy());
                if metadata.is_file() && order::kind(&file).is_some() {
                    found.insert(file, metadata.len());
                }
            }
        }
        Ok(found)
    }

    /// A file's content; `None` where there is none.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FolderError> {
        let path = self.0.join(path);
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(|source| FolderError::Read { path, source }),
        }
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let path = self.0.join(path);
        files::replace(&path, 0o644, bytes).map_err(|source| FolderError::Write { path, source })
    }

    /// Removes a file that may be there.
    pub(crate) fn remove(&self, path: &str) -> Result<(), FolderError> {
        let path = self.0.join(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| FolderError::Write { path, source }),
        }
    }

    /// Removes what a command that was cut was writing.
    pub(crate) fn sweep(&self) -> Result<(), FolderError> {
        for folder in [METADATA, TARGETS].map(|name| self.0.join(name)) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(files::BESIDE) {
                    let path = entry.path();
                    fs::remove_file(&path).map_err(|source| FolderError::Write { path, source })?;
                }
            }
        }
        Ok(())
    }
}
