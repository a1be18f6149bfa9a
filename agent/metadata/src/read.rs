//! Reading small files of a provider's.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::tree::Tree;

/// Largest metadata document.
pub(crate) const MAX_METADATA: usize = 1024 * 1024;

/// A file that is there and cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Reading failed.
    #[error("failed to read `{path}`")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is larger than anything a provider says.
    #[error("`{path}` is larger than {limit} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The most that is read.
        limit: usize,
    },
    /// It is not JSON.
    #[error("`{path}` is not JSON")]
    Json {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It is not YAML of the known form.
    #[error("`{path}` is not metadata in YAML: {reason}")]
    Yaml {
        /// Which file.
        path: PathBuf,
        /// Why, in one line.
        reason: String,
    },
}

/// At most `limit + 1` bytes of a file, in one read where the file gives them: fw_cfg is slow
/// otherwise. None when there is no such file.
pub(crate) fn start(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, ReadError> {
    let read = || -> io::Result<Option<Vec<u8>>> {
        let mut file = match File::open(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            file => file?,
        };
        let mut bytes = vec![0; limit + 1];
        let mut length = 0;
        while length < bytes.len() {
            match file.read(&mut bytes[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(length);
        Ok(Some(bytes))
    };
    read().map_err(|source| ReadError::Io { path: path.to_owned(), source })
}

/// A whole metadata document; none when there is no such file.
pub(crate) fn metadata(path: &Path) -> Result<Option<Vec<u8>>, ReadError> {
    match start(path, MAX_METADATA)? {
        Some(bytes) if bytes.len() > MAX_METADATA => {
            Err(ReadError::TooLarge { path: path.to_owned(), limit: MAX_METADATA })
        }
        bytes => Ok(bytes),
    }
}

/// User-data as delivered, then opened; none when there is no such file.
pub(crate) fn user_data(path: &Path) -> Result<Option<crate::UserData>, ReadError> {
    Ok(start(path, crate::MAX_DELIVERED)?.map(|delivered| crate::open(&delivered)))
}

/// Reads JSON; `path` is what errors call it.
pub(crate) fn json(path: &Path, bytes: &[u8]) -> Result<Tree, ReadError> {
    serde_json::from_slice(bytes).map_err(|source| ReadError::Json { path: path.to_owned(), source })
}

/// Reads YAML; `path` is what errors call it.
pub(crate) fn yaml(path: &Path, bytes: &[u8]) -> Result<Tree, ReadError> {
    let wrong = |reason: String| {
        let reason = reason.lines().next().unwrap_or_default().to_owned();
        ReadError::Yaml { path: path.to_owned(), reason }
    };
    let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
    serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))
}
