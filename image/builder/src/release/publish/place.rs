//! Where a repository is published: a folder or a bucket.

use std::collections::BTreeMap;
use std::path::Path;

use image_cloud::s3::Options;

use super::s3::{Bucket, BucketError};
use crate::release::folder::{Folder, FolderError};

/// A place that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// A folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

impl PlaceError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            PlaceError::Folder(_) => None,
            PlaceError::Bucket(error) => error.hint(),
        }
    }
}

/// A folder or a bucket. Each file is written whole or not at all.
pub(crate) enum Place {
    /// A folder.
    Folder(Folder),
    /// A bucket of S3.
    Bucket(Box<Bucket>),
}

impl Place {
    /// Opens `s3://BUCKET/PREFIX`, or a folder, which is made.
    pub(crate) fn open(text: &str, options: &Options) -> Result<Place, PlaceError> {
        if let Some(rest) = text.strip_prefix("s3://") {
            return Ok(Place::Bucket(Box::new(Bucket::open(rest, options)?)));
        }
        let folder = Folder::new(Path::new(text));
        folder.create()?;
        folder.sweep()?;
        Ok(Place::Folder(folder))
    }

    /// The repository's files with their sizes.
    pub(crate) fn list(&self) -> Result<BTreeMap<String, u64>, PlaceError> {
        Ok(match self {
            Place::Folder(folder) => folder.list()?,
            Place::Bucket(bucket) => bucket.list()?,
        })
    }

    /// A file's content; `None` where there is none.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, PlaceError> {
        Ok(match self {
            Place::Folder(folder) => folder.read(path)?,
            Place::Bucket(bucket) => bucket.read(path)?,
        })
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &str, bytes: Vec<u8>) -> Result<(), PlaceError> {
        match self {
            Place::Folder(folder) => folder.write(path, &bytes)?,
            Place::Bucket(bucket) => bucket.write(path, bytes)?,
        }
        Ok(())
    }

    /// Removes a file.
    pub(crate) fn remove(&self, path: &str) -> Result<(), PlaceError> {
        match self {
            Place::Folder(folder) => folder.remove(path)?,
            Place::Bucket(bucket) => bucket.remove(path)?,
        }
        Ok(())
    }
}
