//! OCI images: the layer, the image layout, and pushing one to a registry
//! (OCI image and distribution specifications 1.1).
//!
//! An image here has one layer and is the same bytes each time: entries sorted, times no later than
//! the lock file's, JSON with its keys in order.

pub(crate) mod image;
pub(crate) mod layer;
pub(crate) mod layout;
pub(crate) mod push;

use std::path::PathBuf;

/// Why an image cannot be made, read or pushed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OciError {
    /// A file cannot be read or written.
    #[error("failed to access `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The layer cannot be packed.
    #[error("failed to pack `{entry}` into the layer")]
    Pack {
        /// The entry.
        entry: String,
        /// Why.
        source: std::io::Error,
    },
    /// A document cannot be written as JSON.
    #[error("failed to write the image's documents")]
    Write(#[source] serde_json::Error),
    /// A document of a layout is no JSON of the right form.
    #[error("`{path}` is not what an image layout has there")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A folder is in the way.
    #[error("`{0}` exists and is not an image layout")]
    Occupied(PathBuf),
    /// It is not a layout with an image to push.
    #[error("`{path}` {reason}")]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A blob is not what its name says.
    #[error("the blob `{digest}` of the layout has been changed")]
    Blob {
        /// Its name.
        digest: String,
    },
    /// A reference to push to cannot be read.
    #[error("`{0}` is no reference: HOST[:PORT]/NAME[:TAG]")]
    Reference(String),
    /// The registry cannot be reached.
    #[error("failed to reach `{url}`")]
    Transport {
        /// What was asked for.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The registry refuses.
    #[error("`{url}` was answered with status {status}{detail}")]
    Refused {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says, with `: ` before it.
        detail: String,
    },
    /// The registry has stored something else.
    #[error("the registry stored `{found}` instead of `{expected}`")]
    Stored {
        /// What was pushed.
        expected: String,
        /// What it says.
        found: String,
    },
}

impl OciError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            OciError::Refused { status: 401 | 403, .. } => {
                "give --username and a password by --password-stdin or HOLDFAST_REGISTRY_PASSWORD".to_owned()
            }
            OciError::Transport { .. } => {
                "--plain-http for a registry without TLS, --ca FILE for one with a private authority"
                    .to_owned()
            }
            OciError::Occupied(_) => "give another folder with --output".to_owned(),
            _ => return None,
        })
    }
}
