//! A repository at another place: what is copied and removed there, in which order.
//!
//! Invariant: whatever is cut, a reader of that place finds one whole state. So copies follow [`order`], and what
//! was pruned here is removed there when nothing leads to it any more. A target is known by its name, which has
//! its hash; other files are compared.

mod place;
mod s3;

pub(crate) use image_cloud::s3::Options;
pub(crate) use place::{Place, PlaceError};

use std::collections::{BTreeMap, BTreeSet};

use super::folder::{Folder, FolderError};
use super::metadata;
use super::order::{self, Kind};
use super::repository::{self, RepositoryError, State};
use crate::fetch::digest;

/// A repository that cannot be published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// The repository here.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The folder here.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The place there.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A file here is not what the metadata say.
    #[error("`{0}` is not what the metadata that name it say")]
    Changed(String),
    /// What is there was published from somewhere else.
    #[error("`{0}` there is another one than here")]
    Other(String),
    /// What is there is newer than what is here.
    #[error("version {there} of the repository is published already, and this one is version {here}")]
    Newer {
        /// Version of the timestamp there.
        there: u64,
        /// Version of the timestamp here.
        here: u64,
    },
}

impl PublishError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            PublishError::Repository(error) => error.hint(),
            PublishError::Place(error) => error.hint(),
            PublishError::Changed(_) => Some("`holdfast-image release verify` checks all of it".to_owned()),
            PublishError::Other(_) => {
                Some("publish to another place, or from where that was published".to_owned())
            }
            PublishError::Newer { .. } => {
                Some("boxes refuse to go back: publish from where that was made".to_owned())
            }
            _ => None,
        }
    }
}

/// A step of publishing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// A file is copied.
    Copy(String),
    /// A file goes away.
    Remove(String),
}

/// What there is to publish.
pub(crate) struct Source {
    folder: Folder,
    state: State,
    /// Files with sizes, also those that the metadata no longer name.
    files: BTreeMap<String, u64>,
}

impl Source {
    /// Reads a repository's metadata, which must fit each other and its files; whose they are is not looked at.
    pub(crate) fn open(folder: Folder) -> Result<Source, PublishError> {
        let state = repository::unsigned(&folder)?;
        let files = folder.list()?;
        for (path, length) in state.targets() {
            if files.get(&path) != Some(&length) {
                return Err(PublishError::Changed(path));
            }
        }
        Ok(Source { folder, state, files })
    }

    /// A file's content; a target is checked.
    fn read(&self, path: &str) -> Result<Vec<u8>, PublishError> {
        let bytes = self.folder.read(path)?.ok_or_else(|| RepositoryError::Missing(path.to_owned()))?;
        let is_target = matches!(order::kind(path), Some((Kind::Target, _)));
        if is_target && !path.contains(&digest::sha256(&bytes)) {
            return Err(PublishError::Changed(path.to_owned()));
        }
        Ok(bytes)
    }

    /// What has to be done at a place, in order.
    pub(crate) fn plan(&self, place: &Place) -> Result<Vec<Transfer>, PublishError> {
        let there = place.list()?;
        self.may_follow(place)?;
        let mut named: BTreeSet<String> = self.state.files();
        let is_root = |path: &&String| matches!(order::kind(path), Some((Kind::Root, _)));
        named.extend(self.files.keys().filter(is_root).cloned());
        let mut copies = Vec::new();
        for path in named {
            let Some((kind, _)) = order::kind(&path) else { continue };
            let same = match (kind, there.get(&path)) {
                (_, None) => false,
                (Kind::Target, Some(size)) => self.files.get(&path) == Some(size),
                _ => {
                    let same = place.read(&path)?.as_deref() == Some(&self.read(&path)?);
                    if kind == Kind::Root && !same {
                        return Err(PublishError::Other(path));
                    }
                    same
                }
            };
            if !same {
                copies.push(path);
            }
        }
        copies.sort_by_key(|path| order::kind(path));
        let pruned = there.into_keys().filter(|path| {
            let goes = matches!(order::kind(path), Some((Kind::Target | Kind::Targets | Kind::Snapshot, _)));
            goes && !self.files.contains_key(path)
        });
        Ok(copies.into_iter().map(Transfer::Copy).chain(pruned.map(Transfer::Remove)).collect())
    }

    /// Refuses to take boxes back.
    fn may_follow(&self, place: &Place) -> Result<(), PublishError> {
        let path = order::metadata(metadata::TIMESTAMP);
        let Some(bytes) = place.read(&path)? else { return Ok(()) };
        let timestamp = repository::timestamp(&path, &bytes)?;
        let (there, here) = (timestamp.version.get(), self.state.timestamp.version.get());
        if there > here {
            return Err(PublishError::Newer { there, here });
        }
        if there == here && bytes != self.read(&path)? {
            return Err(PublishError::Other(path));
        }
        Ok(())
    }

    /// Carries out one step.
    pub(crate) fn transfer(&self, transfer: &Transfer, place: &Place) -> Result<(), PublishError> {
        match transfer {
            Transfer::Copy(path) => place.write(path, self.read(path)?)?,
            Transfer::Remove(path) => place.remove(path)?,
        }
        Ok(())
    }

    /// Bytes of a file.
    pub(crate) fn size(&self, path: &str) -> u64 {
        self.files.get(path).copied().unwrap_or_default()
    }
}
