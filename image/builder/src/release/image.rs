//! What a build wrote, as a release needs it: the images of slot a's partitions, manifest and bill of materials.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use image_layout::disk::{self, BLOCK};
use image_layout::manifest::{Manifest, Output};
use image_layout::release::Part;
use image_layout::slots::Slot;
use image_layout::version::{Version, VersionError};

use super::sbom;
use crate::fetch::digest;
use crate::steps::formats::Format;
use crate::steps::outputs::MANIFEST;

/// A folder that holds no image that could be released.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    /// A file cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The manifest is none.
    #[error("`{path}` is no manifest")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The manifest's version is none.
    #[error("`{path}` cannot be released")]
    Version {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: VersionError,
    },
    /// No form of the disk is there.
    #[error("there is no disk image in `{0}` that its manifest names")]
    NoDisk(PathBuf),
    /// A file is not the one that was built.
    #[error("`{0}` is not what the manifest says")]
    Changed(PathBuf),
    /// A file is not named by the manifest.
    #[error("the manifest does not name `{0}`")]
    Unnamed(&'static str),
    /// A partition is empty or smaller than the manifest says.
    #[error("the partition `{0}` does not hold what the manifest says")]
    Partition(&'static str),
}

impl ImageError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            ImageError::Read { path, source }
                if path.ends_with(MANIFEST) && source.kind() == io::ErrorKind::NotFound =>
            {
                Some("give the folder that `holdfast-image build --output` wrote".to_owned())
            }
            ImageError::Version { .. } => {
                Some("`holdfast-image build --image-version` gives another".to_owned())
            }
            ImageError::Changed(_) | ImageError::Unnamed(_) | ImageError::NoDisk(_) => {
                Some("build it again".to_owned())
            }
            _ => None,
        }
    }
}

/// A built image.
#[derive(Debug)]
pub(crate) struct Built {
    folder: PathBuf,
    /// Its version.
    pub version: Version,
    /// The manifest.
    pub manifest: Manifest,
    /// Its text.
    pub manifest_text: Vec<u8>,
    /// The bill of materials.
    pub sbom: Vec<u8>,
}

impl Built {
    /// Reads what stands beside the disk.
    pub(crate) fn open(folder: &Path) -> Result<Built, ImageError> {
        let path = folder.join(MANIFEST);
        let manifest_text = read(&path)?;
        let manifest: Manifest = serde_json::from_slice(&manifest_text)
            .map_err(|source| ImageError::Manifest { path: path.clone(), source })?;
        let version = manifest.version.parse().map_err(|source| ImageError::Version { path, source })?;
        let mut built =
            Built { folder: folder.to_owned(), version, manifest, manifest_text, sbom: Vec::new() };
        let path = folder.join(sbom::FILE);
        built.sbom = read(&path)?;
        let named = built.output(sbom::FILE).ok_or(ImageError::Unnamed(sbom::FILE))?;
        if digest::sha256(&built.sbom) != named.sha256 {
            return Err(ImageError::Changed(path));
        }
        Ok(built)
    }

    /// The disk in one of its forms, checked.
    pub(crate) fn disk(&self) -> Result<PathBuf, ImageError> {
        self.disk_in(&[Format::Raw, Format::RawGz, Format::Qcow2])
    }

    /// The disk in the first of these forms that is there, checked.
    pub(crate) fn disk_in(&self, forms: &[Format]) -> Result<PathBuf, ImageError> {
        let names = forms.iter().map(|form| form.file_name());
        let mut there = names.filter(|name| self.folder.join(name).exists());
        let output = there.find_map(|name| self.output(name));
        let output = output.ok_or_else(|| ImageError::NoDisk(self.folder.clone()))?;
        let path = self.folder.join(&output.name);
        let hashed = File::open(&path).and_then(digest::sha256_of);
        let (sha256, _) = hashed.map_err(|source| ImageError::Read { path: path.clone(), source })?;
        if sha256 == output.sha256 { Ok(path) } else { Err(ImageError::Changed(path)) }
    }

    fn output(&self, name: &str) -> Option<&Output> {
        self.manifest.outputs.iter().find(|output| output.name == name)
    }

    /// The image of a partition of slot a on the raw disk: of the root what the manifest says, of boot all up
    /// to the last block that holds something.
    pub(crate) fn partition(&self, raw: &Path, part: Part) -> Result<Vec<u8>, ImageError> {
        let place = part.of(Slot::A);
        let size = match part {
            Part::Boot => place.size,
            Part::Root => self.manifest.root_size,
        };
        if size > place.size || !size.is_multiple_of(BLOCK) {
            return Err(ImageError::Partition(place.name));
        }
        let read = |mut file: File| {
            let mut bytes = vec![0; size as usize];
            file.seek(SeekFrom::Start(disk::start(place.role)))?;
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = File::open(raw).and_then(read);
        let mut bytes = bytes.map_err(|source| ImageError::Read { path: raw.to_owned(), source })?;
        if part == Part::Boot {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(used.next_multiple_of(BLOCK as usize));
        }
        if bytes.is_empty() { Err(ImageError::Partition(place.name)) } else { Ok(bytes) }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    std::fs::read(path).map_err(|source| ImageError::Read { path: path.to_owned(), source })
}
