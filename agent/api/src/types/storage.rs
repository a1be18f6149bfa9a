//! Images, volumes and the data partition.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// References that resolve to it.
    pub references: Vec<String>,
    /// Digest of its manifest.
    pub digest: String,
    /// Bytes on disk, layers shared with other images counted in full.
    pub size: u64,
    /// Containers that run from it.
    pub used_by: Vec<String>,
}

/// What pruning removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    /// Digests of the images removed.
    pub images: Vec<String>,
    /// Bytes freed.
    pub freed: u64,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Volume {
    /// Instance that it belongs to.
    pub instance: String,
    /// Its name in the recipe.
    pub name: String,
    /// Its id, which outlives renaming.
    pub id: String,
    /// Quota in bytes.
    pub size: Option<u64>,
    /// Bytes in use, where a quota counts them.
    pub used: Option<u64>,
    /// Whether a recipe in force mentions it.
    pub in_use: bool,
}

/// The data partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Data {
    /// Where it stands.
    pub state: DataState,
    /// Why it is unavailable.
    pub reason: Option<String>,
}

/// Where the data partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DataState {
    /// Mounted, and was clean.
    Ok,
    /// Mounted, after repairs at this boot.
    Repaired,
    /// Not mounted: `/var` is a tmpfs until the owner acts.
    Unavailable,
}

/// What a check of the data partition found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DataChecked {
    /// Whether it can be mounted now.
    pub usable: bool,
    /// What e2fsck said.
    pub output: String,
}

/// Asks for the data partition to be made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DataFormat {
    /// Must be true: everything on it is lost.
    pub destroy: bool,
}
