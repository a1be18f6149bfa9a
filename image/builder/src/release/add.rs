//! A release as targets, and how it gets among those that are there.

use image_layout::release::{FORMAT, Part, PartitionImage, Release, channel_target, release_target};
use image_layout::version::Version;
use rayon::prelude::*;
use tough::TargetName;

use super::blocks::{self, Blocks};
use super::catalogue::{self, CatalogueError};
use super::image::{Built, ImageError};
use super::repository::{Contents, Repository, RepositoryError};
use super::{metadata, order, sbom};
use crate::fetch::digest;
use crate::steps::outputs::MANIFEST;

/// A release that cannot be added, or a channel that cannot be pointed at one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddError {
    /// The version is there with other content.
    #[error("release {0} is there already, and is another image")]
    Other(Version),
    /// The channel's boxes run something newer.
    #[error("the channel `{channel}` is at {current}, which is newer than {version}")]
    Older {
        /// The channel.
        channel: String,
        /// Where it is.
        current: Version,
        /// Where it would go.
        version: Version,
    },
    /// There is no such release.
    #[error("there is no release {version}; there are: {}", join(known))]
    Unknown {
        /// What was asked for.
        version: Version,
        /// What there is.
        known: Vec<Version>,
    },
    /// A target's name is not one.
    #[error("`{0}` is no name of a target")]
    Name(String),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A document in the repository.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The blocks cannot be compressed.
    #[error("failed to compress the blocks")]
    Compress(#[source] std::io::Error),
    /// A document cannot be written.
    #[error("failed to encode a document")]
    Encode(#[from] serde_json::Error),
}

fn join(versions: &[Version]) -> String {
    if versions.is_empty() {
        return "none".to_owned();
    }
    versions.iter().map(Version::to_string).collect::<Vec<_>>().join(", ")
}

/// Targets by name, with their bytes.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// The images of a built disk, not yet split into blocks.
pub(crate) struct Images {
    release: Release,
    images: Vec<Vec<u8>>,
}

impl Images {
    /// Reads them from the raw disk.
    pub(crate) fn read(built: &Built, raw: &std::path::Path) -> Result<Images, ImageError> {
        let version = &built.version;
        let mut images = Vec::new();
        let mut partitions = Vec::new();
        for part in Part::ALL {
            let bytes = built.partition(raw, part)?;
            let name = |what: &str| catalogue::part_target(version, &format!("{}.{what}", part.as_str()));
            partitions.push(PartitionImage {
                part,
                size: bytes.len() as u64,
                sha256: digest::sha256(&bytes),
                map: name("map"),
                blocks: name("blocks"),
            });
            images.push(bytes);
        }
        let release =
            Release { format: FORMAT, version: version.clone(), epoch: built.manifest.epoch, partitions };
        Ok(Images { release, images })
    }

    /// Whether a release is of these images.
    pub(crate) fn are_of(&self, release: &Release) -> bool {
        let of =
            |release: &Release, part| release.image(part).map(|image| (image.size, image.sha256.clone()));
        Part::ALL.into_iter().all(|part| of(release, part) == of(&self.release, part))
    }

    /// The targets of the release.
    pub(crate) fn targets(&self, built: &Built) -> Result<Files, AddError> {
        let version = &built.version;
        let split: Result<Vec<Blocks>, _> =
            self.images.par_iter().map(|image| blocks::split(image)).collect();
        let mut files: Files = vec![
            (release_target(version), catalogue::document(&self.release)?),
            (catalogue::part_target(version, MANIFEST), built.manifest_text.clone()),
            (catalogue::part_target(version, sbom::FILE), built.sbom.clone()),
        ];
        for (image, blocks) in self.release.partitions.iter().zip(split.map_err(AddError::Compress)?) {
            files.push((image.map.clone(), blocks.map.encode()));
            files.push((image.blocks.clone(), blocks.stored));
        }
        Ok(files)
    }
}

/// Where a channel is.
pub(crate) fn channel(repository: &Repository, name: &str) -> Result<Option<Version>, AddError> {
    let target = channel_target(name);
    let Some(text) = repository.read(&target)? else { return Ok(None) };
    Ok(Some(catalogue::parse::<image_layout::release::Channel>(&target, "channel", &text)?.version))
}

/// The document of a release that is there.
pub(crate) fn release(repository: &Repository, version: &Version) -> Result<Option<Release>, AddError> {
    let target = release_target(version);
    let Some(text) = repository.read(&target)? else { return Ok(None) };
    Ok(Some(catalogue::parse(&target, "release", &text)?))
}

/// The releases that are there, oldest first.
pub(crate) fn releases(contents: &Contents) -> Vec<Version> {
    let mut found: Vec<Version> =
        contents.keys().filter_map(|target| catalogue::release_of(target.raw())).collect();
    found.sort();
    found
}

/// The channels that there are, with where they are.
pub(crate) fn channels(repository: &Repository) -> Result<Vec<(String, Version)>, AddError> {
    let contents = repository.contents();
    let mut names: Vec<&str> = contents.keys().filter_map(|name| catalogue::channel_of(name.raw())).collect();
    names.sort_unstable();
    let at = |name: &str| Ok(channel(repository, name)?.map(|version| (name.to_owned(), version)));
    names.into_iter().filter_map(|name| at(name).transpose()).collect()
}

/// Puts files among the targets; gives them with the paths under which they are stored.
pub(crate) fn insert(contents: &mut Contents, files: Files) -> Result<Vec<(String, Vec<u8>)>, AddError> {
    let mut stored = Vec::new();
    for (name, bytes) in files {
        let path = order::target(&digest::sha256(&bytes), &name);
        let target = TargetName::new(name.as_str()).map_err(|_| AddError::Name(name))?;
        contents.insert(target, metadata::target(&bytes));
        stored.push((path, bytes));
    }
    Ok(stored)
}
