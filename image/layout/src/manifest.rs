//! `manifest.json`, which the builder writes beside an image and which the root holds as
//! `/usr/share/holdfast/manifest.json` without the outputs.

use serde::{Deserialize, Serialize};

/// What an image is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this document.
    pub format: u32,
    /// `IMAGE_VERSION`, totally ordered.
    pub version: String,
    /// `SOURCE_DATE_EPOCH` of the build, seconds.
    pub epoch: u64,
    /// The verity root hash of the root, hex.
    pub root_hash: String,
    /// Bytes of erofs and verity tree in the root slot.
    pub root_size: u64,
    /// The packages in the root.
    pub packages: Vec<Package>,
    /// References of the embedded images, with their digests.
    pub images: Vec<EmbeddedImage>,
    /// The files written, by name.
    pub outputs: Vec<Output>,
}

/// A Debian package of the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub architecture: String,
    /// SHA-256 of the `.deb`, hex.
    pub sha256: String,
    /// Bytes of its files that are in the root.
    pub size: u64,
}

/// An app image in the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddedImage {
    /// Full reference.
    pub reference: String,
    /// Digest of its manifest, `sha256:…`.
    pub digest: String,
}

/// A file that the build wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// File name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hex.
    pub sha256: String,
}
