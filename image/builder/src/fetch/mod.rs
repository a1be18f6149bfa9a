//! Brings files from a mirror into the cache, and hands out only what was verified just now.
//!
//! Nothing that comes over the network is trusted: an index is named by its hash in a signed release,
//! a package by its hash in the lock file. So plain HTTP is as good as any transport.

mod cache;
pub(crate) mod digest;
mod mirror;
mod sources;

pub(crate) use cache::{Cache, LocalPackage};
pub(crate) use mirror::Mirror;

use std::path::PathBuf;

/// Why a file is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// Nobody said where packages come from.
    #[error("no mirror is known for `{archive}`")]
    NoMirror {
        /// `debian` or `debian-security`.
        archive: String,
    },
    /// The mirror does not have it (any more).
    #[error("`{url}` is not on the mirror")]
    Gone {
        /// Where it should be.
        url: String,
    },
    /// The mirror does not have a locked package any more.
    #[error("{name} {version} is gone from the mirror (`{url}`)")]
    PackageGone {
        /// The package.
        name: String,
        /// Its locked version.
        version: String,
        /// Where it was.
        url: String,
    },
    /// The mirror cannot be reached or broke off.
    #[error("failed to fetch `{url}`")]
    Transport {
        /// What was asked for.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The mirror broke off in the middle, or a mirror's folder cannot be read.
    #[error("failed to read `{url}`")]
    Read {
        /// What was asked for.
        url: String,
        /// Why.
        source: std::io::Error,
    },
    /// The mirror answered with an error.
    #[error("`{url}` was answered with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The file is not the one that was locked or signed.
    #[error("`{url}` is not what was expected: {found} instead of {expected}")]
    Mismatch {
        /// Where it came from.
        url: String,
        /// SHA-256 or size.
        expected: String,
        /// SHA-256 or size.
        found: String,
    },
    /// A file of the cache cannot be written or read.
    #[error("failed to use the cache file `{path}`")]
    Cache {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl FetchError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            FetchError::NoMirror { .. } => {
                "give one with --mirror or HOLDFAST_MIRROR: a folder or URL that holds `debian` and \
                 `debian-security`"
                    .to_owned()
            }
            FetchError::PackageGone { .. } => {
                "run `holdfast-image lock --update` to take the newest versions, or use --relock for a test \
                 build"
                    .to_owned()
            }
            FetchError::Mismatch { .. } => {
                "the mirror has been changed or is broken: try another one with --mirror".to_owned()
            }
            FetchError::Cache { source, .. } if is_full(source.kind()) => {
                "free some space, or move the cache with --cache".to_owned()
            }
            FetchError::Transport { .. } => {
                "check the network, or give another mirror with --mirror".to_owned()
            }
            _ => return None,
        })
    }

    /// Whether another attempt may succeed.
    fn is_transient(&self) -> bool {
        match self {
            FetchError::Transport { .. } | FetchError::Read { .. } => true,
            FetchError::Status { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}

/// Whether there is no room, for whatever reason.
fn is_full(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | FileTooLarge)
}
