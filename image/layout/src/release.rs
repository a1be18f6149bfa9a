//! What a release is on the server: the names and documents of an update repository.
//!
//! A repository is a folder of files: TUF metadata (TUF specification 1.0.31, consistent snapshots) in
//! `metadata/`, targets in `targets/` as `SHA256.NAME`. Targets are a document for each channel, which names
//! the release that its boxes should run, and for each release its document, a block map of each partition
//! image ([`crate::block_map`]) and the blocks, which are fetched by range. A release's manifest and bill of
//! materials are targets too, for people and scanners: no box reads them.

use serde::{Deserialize, Serialize};

use crate::disk::{self, Role};
use crate::slots::Slot;
use crate::version::Version;

/// Folder of the TUF metadata.
pub const METADATA: &str = "metadata";
/// Folder of the targets.
pub const TARGETS: &str = "targets";
/// Version of both documents.
pub const FORMAT: u32 = 1;
/// The most bytes of either document.
pub const MAX_DOCUMENT: u64 = 1024 * 1024;
/// The channel that a box follows unless it is told otherwise.
pub const DEFAULT_CHANNEL: &str = "stable";

/// Target of a channel's document.
pub fn channel_target(channel: &str) -> String {
    format!("channel-{channel}.json")
}

/// Target of a release's document.
pub fn release_target(version: &Version) -> String {
    format!("holdfast-{version}.json")
}

/// Which release the boxes of a channel should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Of this document: [`FORMAT`].
    pub format: u32,
    /// The release.
    pub version: Version,
}

/// A release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Of this document: [`FORMAT`].
    pub format: u32,
    /// `IMAGE_VERSION` of its root.
    pub version: Version,
    /// `SOURCE_DATE_EPOCH` of its build, seconds since 1970.
    pub epoch: u64,
    /// The image of each partition, one for each [`Part`].
    pub partitions: Vec<PartitionImage>,
}

/// A partition that every slot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Kernel, initrd, arguments and sums.
    Boot,
    /// The root and its verity tree.
    Root,
}

/// The image of a partition. What lies behind it in the partition does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionImage {
    /// Which partition.
    pub part: Part,
    /// Bytes, in whole blocks.
    pub size: u64,
    /// SHA-256 of these bytes, hex.
    pub sha256: String,
    /// Target of its block map.
    pub map: String,
    /// Target of its blocks.
    pub blocks: String,
}

/// What a partition of a slot holds, from its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenPart {
    /// Which partition.
    pub part: Part,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of these, hex.
    pub sha256: String,
}

impl Part {
    /// In the order in which they are written.
    pub const ALL: [Part; 2] = [Part::Root, Part::Boot];

    /// `boot` or `root`.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Boot => "boot",
            Part::Root => "root",
        }
    }

    /// The partition of a slot.
    pub fn of(self, slot: Slot) -> &'static disk::Partition {
        disk::partition(match self {
            Part::Boot => Role::Boot(slot),
            Part::Root => Role::Root(slot),
        })
    }
}

impl Release {
    /// The image of a partition.
    pub fn image(&self, part: Part) -> Option<&PartitionImage> {
        self.partitions.iter().find(|image| image.part == part)
    }
}
