//! Images from an OCI layout: those that came with the box.
//!
//! OCI image specification, `image-layout.md`. Blobs are read where they are, and verified like foreign
//! ones: a layout may lie on data.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::error::{FetchError, FetchErrorKind};
use super::manifest::Descriptor;
use super::source::{Document, Source};
use crate::{Digest, Limits, Reference};

const NAME: &str = "org.opencontainers.image.ref.name";

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// An OCI layout.
pub(super) struct Layout {
    folder: PathBuf,
    name: String,
    limit: u64,
}

impl Layout {
    pub(super) fn new(folder: &Path, name: &str, limits: &Limits) -> Layout {
        Layout { folder: folder.to_owned(), name: name.to_owned(), limit: limits.document }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    fn verified(&self, descriptor: &Descriptor) -> Result<Vec<u8>, FetchError> {
        let bytes = read_limited(&self.path(&descriptor.digest), descriptor.size.min(self.limit))?;
        if Digest::of(&bytes) != descriptor.digest {
            return Err(mismatch(&descriptor.digest));
        }
        Ok(bytes)
    }
}

impl Source for Layout {
    fn resolve(&mut self, reference: &Reference) -> Result<Document, FetchError> {
        let index = index(&self.folder, self.limit)?;
        let found = named(&index, &self.name).or_else(|| pinned(&index, reference)).ok_or_else(|| {
            FetchError::new(FetchErrorKind::NotFound, format!("no embedded image is named `{}`", self.name))
        })?;
        if reference.digest.is_some_and(|digest| digest != found.digest) {
            return Err(mismatch(&found.digest));
        }
        Ok(Document { digest: found.digest, bytes: self.verified(found)? })
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, FetchError> {
        self.verified(descriptor)
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, FetchError> {
        self.verified(descriptor)
    }

    fn blob(
        &mut self,
        descriptor: &Descriptor,
        _work: &Path,
        _say: &mut dyn FnMut(&str),
    ) -> Result<File, FetchError> {
        let path = self.path(&descriptor.digest);
        let fail = |error: &io::Error| {
            FetchError::new(FetchErrorKind::NotFound, format!("failed to read `{}`: {error}", path.display()))
        };
        let mut file = File::open(&path).map_err(|error| fail(&error))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer).map_err(|error| fail(&error))? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        if Digest::finish(hasher) != descriptor.digest {
            return Err(mismatch(&descriptor.digest));
        }
        file.rewind().map_err(|error| fail(&error))?;
        Ok(file)
    }
}

/// Whether a layout has an image of that name, or with its digest. A layout that is not there has none.
pub fn offers(folder: &Path, reference: &str) -> bool {
    index(folder, Limits::default().document).is_ok_and(|index| {
        let pinned = || reference.parse().ok().and_then(|reference| pinned(&index, &reference));
        named(&index, reference).or_else(pinned).is_some()
    })
}

fn index(folder: &Path, limit: u64) -> Result<Index, FetchError> {
    let bytes = read_limited(&folder.join("index.json"), limit)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        FetchError::new(FetchErrorKind::BadImage, format!("the layout's index is not valid: {error}"))
    })
}

fn named<'a>(index: &'a Index, name: &str) -> Option<&'a Descriptor> {
    index.manifests.iter().find(|entry| entry.annotations.get(NAME).is_some_and(|found| found == name))
}

/// The image with the reference's digest, of the same repository, whatever its tag is.
fn pinned<'a>(index: &'a Index, reference: &Reference) -> Option<&'a Descriptor> {
    index.manifests.iter().find(|entry| {
        let name = entry.annotations.get(NAME).and_then(|name| name.parse::<Reference>().ok());
        Some(entry.digest) == reference.digest
            && name.is_some_and(|name| {
                (&name.registry, &name.repository) == (&reference.registry, &reference.repository)
            })
    })
}

fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, FetchError> {
    agent_system::files::read_limited(path, limit).map_err(|error| {
        let kind = match error {
            agent_system::files::FileError::TooLarge { .. } => FetchErrorKind::Limit,
            _ if error.is_not_found() => FetchErrorKind::NotFound,
            _ => FetchErrorKind::Local,
        };
        FetchError::new(kind, super::error::chain(&error))
    })
}

fn mismatch(digest: &Digest) -> FetchError {
    FetchError::new(FetchErrorKind::DigestMismatch, format!("the content of {digest} is something else"))
}
