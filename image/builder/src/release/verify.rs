//! A repository as a client sees it that trusts nothing but root metadata.
//!
//! Everything is fetched, and everything that is said of it is checked: signatures and ends of validity, length
//! and hash of each target, each document, and of each release that its images come back from their blocks.

use std::collections::BTreeMap;
use std::path::Path;

use image_layout::block_map::{BlockMap, BlockMapError};
use image_layout::release::{Channel, METADATA, Part, Release, TARGETS, release_target};
use image_layout::version::Version;
use serde::Serialize;
use tough::{FilesystemTransport, IntoVec, RepositoryLoader, TargetName, Transport};
use url::Url;

use super::blocks::{self, BlocksError};
use super::catalogue::{self, CatalogueError};
use super::http::Http;
use crate::fetch::digest;

/// A repository that a client would refuse.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    /// It cannot be reached, is signed by others, or is no longer valid.
    #[error("the repository cannot be trusted: {0}")]
    Untrusted(String),
    /// A target is not there, or is not what is signed.
    #[error("the target `{name}` cannot be trusted: {reason}")]
    Target {
        /// Its name.
        name: String,
        /// What the client says.
        reason: String,
    },
    /// A target that another one names is not among the signed ones.
    #[error("`{by}` names the target `{name}`, which is not there")]
    Missing {
        /// The target.
        name: String,
        /// What names it.
        by: String,
    },
    /// A target's name has no safe form.
    #[error("`{0}` is no name of a target")]
    Name(String),
    /// A document is none.
    #[error(transparent)]
    Document(#[from] CatalogueError),
    /// A document is of another version than its name says.
    #[error("`{0}` is the document of another release")]
    Misnamed(String),
    /// A release has no image of a partition, or one too large.
    #[error("release {version} has no image of `{part}` that fits")]
    Part {
        /// The release.
        version: Version,
        /// The partition.
        part: &'static str,
    },
    /// A map is none.
    #[error("`{name}` cannot be used")]
    Map {
        /// The target.
        name: String,
        /// Why.
        source: BlockMapError,
    },
    /// Blocks are not those of their map.
    #[error("`{name}` cannot be used")]
    Blocks {
        /// The target.
        name: String,
        /// Why.
        source: BlocksError,
    },
    /// The image is another one.
    #[error("the blocks of `{0}` make another image than the release says")]
    Image(String),
    /// The place is no URL.
    #[error("`{0}` is no URL of a repository")]
    Url(String),
    /// There is no runtime.
    #[error("failed to start the client")]
    Runtime(#[source] std::io::Error),
}

impl VerifyError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            VerifyError::Untrusted(reason) if reason.contains("expired") => {
                Some("`holdfast-image release refresh` makes it valid again".to_owned())
            }
            VerifyError::Url(_) => Some("give https://HOST/PATH, or a folder with --repository".to_owned()),
            _ => None,
        }
    }
}

/// What a client finds.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Channel to release.
    pub channels: BTreeMap<String, Version>,
    /// The releases, oldest first.
    pub releases: Vec<Found>,
    /// Version of the root metadata.
    pub root: u64,
    /// Role to end of validity.
    pub expires: BTreeMap<&'static str, String>,
}

/// A release.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    /// Its version.
    pub version: Version,
    /// `SOURCE_DATE_EPOCH` of its build.
    pub epoch: u64,
    /// Bytes of its images.
    pub size: u64,
    /// Bytes of its stored blocks.
    pub stored: u64,
    /// Bytes of its block maps.
    pub maps: u64,
}

/// Checks a repository in a folder.
pub(crate) fn folder(path: &Path, root: &[u8]) -> Result<Report, VerifyError> {
    let no_url = || VerifyError::Url(path.display().to_string());
    let path = std::path::absolute(path).map_err(|_| no_url())?;
    let base = Url::from_directory_path(path).map_err(|()| no_url())?;
    client(&base, FilesystemTransport, root)
}

/// Checks a repository that is served.
pub(crate) fn served(url: &str, root: &[u8]) -> Result<Report, VerifyError> {
    let slash = format!("{}/", url.trim_end_matches('/'));
    let base = Url::parse(&slash).ok().filter(|base| matches!(base.scheme(), "http" | "https"));
    client(&base.ok_or_else(|| VerifyError::Url(url.to_owned()))?, Http::new(), root)
}

fn client<T: Transport + 'static>(base: &Url, transport: T, root: &[u8]) -> Result<Report, VerifyError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(VerifyError::Runtime)?;
    let folder = |name: &str| base.join(&format!("{name}/")).map_err(|_| VerifyError::Url(base.to_string()));
    let loader = RepositoryLoader::new(&root, folder(METADATA)?, folder(TARGETS)?).transport(transport);
    let repository = runtime.block_on(loader.load());
    let repository = repository.map_err(|error| VerifyError::Untrusted(error.to_string()))?;
    Client { repository, runtime }.report()
}

struct Client {
    repository: tough::Repository,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    fn report(&self) -> Result<Report, VerifyError> {
        let mut names: Vec<&str> =
            self.repository.targets().signed.targets.keys().map(TargetName::raw).collect();
        names.sort_unstable();
        let (mut channels, mut releases) = (BTreeMap::new(), BTreeMap::new());
        let mut used = Vec::new();
        for name in &names {
            if let Some(channel) = catalogue::channel_of(name) {
                let document: Channel = catalogue::parse(name, "channel", &self.read(name)?)?;
                channels.insert(channel.to_owned(), document.version);
            } else if let Some(version) = catalogue::release_of(name) {
                let document: Release = catalogue::parse(name, "release", &self.read(name)?)?;
                if document.version != version {
                    return Err(VerifyError::Misnamed((*name).to_owned()));
                }
                releases.insert(version, self.release(name, &document, &mut used)?);
            } else {
                continue;
            }
            used.push((*name).to_owned());
        }
        for (channel, version) in &channels {
            if !releases.contains_key(version) {
                let by = image_layout::release::channel_target(channel);
                return Err(VerifyError::Missing { name: release_target(version), by });
            }
        }
        for name in names.into_iter().filter(|name| !used.iter().any(|used| used == name)) {
            self.read(name)?;
        }
        let root = self.repository.root();
        let expires = [
            ("root", root.signed.expires),
            ("targets", self.repository.targets().signed.expires),
            ("snapshot", self.repository.snapshot().signed.expires),
            ("timestamp", self.repository.timestamp().signed.expires),
        ];
        Ok(Report {
            channels,
            releases: releases.into_values().collect(),
            root: root.signed.version.get(),
            expires: expires.into_iter().map(|(role, time)| (role, time.to_string())).collect(),
        })
    }

    /// A target, of the length and hash that are signed.
    fn read(&self, name: &str) -> Result<Vec<u8>, VerifyError> {
        let target = TargetName::new(name).map_err(|_| VerifyError::Name(name.to_owned()))?;
        let read = async {
            match self.repository.read_target(&target).await? {
                Some(stream) => stream.into_vec().await.map(Some),
                None => Ok(None),
            }
        };
        let bytes = self.runtime.block_on(read).map_err(|error: tough::error::Error| {
            VerifyError::Target { name: name.to_owned(), reason: error.to_string() }
        })?;
        bytes.ok_or_else(|| VerifyError::Target {
            name: name.to_owned(),
            reason: "nobody signed it".to_owned(),
        })
    }

    fn release(&self, by: &str, release: &Release, used: &mut Vec<String>) -> Result<Found, VerifyError> {
        let mut found =
            Found { version: release.version.clone(), epoch: release.epoch, size: 0, stored: 0, maps: 0 };
        for part in Part::ALL {
            let room = part.of(image_layout::Slot::A).size;
            let image = release.image(part).filter(|image| image.size <= room);
            let image = image
                .ok_or_else(|| VerifyError::Part { version: release.version.clone(), part: part.as_str() })?;
            for name in [&image.map, &image.blocks] {
                if !self.repository.targets().signed.targets.keys().any(|target| target.raw() == name) {
                    return Err(VerifyError::Missing { name: name.clone(), by: by.to_owned() });
                }
            }
            let map = self.read(&image.map)?;
            found.maps += map.len() as u64;
            let map = BlockMap::decode(&map)
                .map_err(|source| VerifyError::Map { name: image.map.clone(), source })?;
            let stored = self.read(&image.blocks)?;
            let bytes = blocks::join(&map, &stored)
                .map_err(|source| VerifyError::Blocks { name: image.blocks.clone(), source })?;
            if bytes.len() as u64 != image.size || digest::sha256(&bytes) != image.sha256 {
                return Err(VerifyError::Image(image.blocks.clone()));
            }
            found.size += image.size;
            found.stored += map.stored();
            used.extend([image.map.clone(), image.blocks.clone()]);
        }
        Ok(found)
    }
}
