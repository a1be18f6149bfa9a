//! The OCI image layout: a folder with `oci-layout`, `index.json` and blobs by digest. Entries of the
//! index are named by full reference.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fetch::digest;
use crate::oci::OciError;
use crate::oci::image::{Descriptor, INDEX, Image, MANIFEST, Manifest, Platform, descriptor};

/// Names an entry of the index.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    manifests: Vec<Descriptor>,
    #[serde(default)]
    media_type: String,
    schema_version: u32,
}

/// Writes images into a folder: beside its name first, then renamed. A layout that is there is
/// replaced, anything else is not.
pub(crate) fn write(folder: &Path, images: &[Image]) -> Result<(), OciError> {
    let fail = |path: &Path, source| OciError::File { path: path.to_owned(), source };
    if folder.exists() && !folder.join("oci-layout").exists() && !is_empty(folder) {
        return Err(OciError::Occupied(folder.to_owned()));
    }
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| fail(parent, e))?;
    let staging =
        tempfile::Builder::new().prefix(".part-").tempdir_in(parent).map_err(|e| fail(parent, e))?;
    let new = staging.path().join("layout");
    let blobs = new.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|e| fail(&blobs, e))?;
    let put = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes).map_err(|e| fail(path, e))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(|e| fail(path, e))
    };
    let mut manifests = Vec::new();
    for image in images {
        for blob in [&image.layer.blob, &image.config, &image.manifest] {
            put(&blobs.join(digest::sha256(blob)), blob)?;
        }
        let mut entry = descriptor(&image.manifest, MANIFEST);
        entry.annotations.insert(REF_NAME.to_owned(), image.reference.clone());
        entry.platform = Some(Platform { architecture: "amd64".to_owned(), os: "linux".to_owned() });
        manifests.push(entry);
    }
    let index = Index { manifests, media_type: INDEX.to_owned(), schema_version: 2 };
    put(&new.join("index.json"), &serde_json::to_vec(&index).map_err(OciError::Write)?)?;
    put(&new.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    for folder in [&new, &new.join("blobs"), &blobs] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(|e| fail(folder, e))?;
    }
    if folder.exists() {
        fs::rename(folder, staging.path().join("old")).map_err(|e| fail(folder, e))?;
    }
    fs::rename(&new, folder).map_err(|e| fail(folder, e))
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// A layout that is read.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: PathBuf,
    manifests: Vec<Descriptor>,
}

impl Layout {
    /// Opens a layout.
    pub(crate) fn open(folder: &Path) -> Result<Layout, OciError> {
        if !folder.join("oci-layout").is_file() {
            return Err(OciError::Layout {
                path: folder.to_owned(),
                reason: "is no image layout".to_owned(),
            });
        }
        let index: Index = read_json(&folder.join("index.json"))?;
        Ok(Layout { folder: folder.to_owned(), manifests: index.manifests })
    }

    /// The only image in it.
    pub(crate) fn only(&self) -> Result<&Descriptor, OciError> {
        match self.manifests.as_slice() {
            [only] => Ok(only),
            several => Err(OciError::Layout {
                path: self.folder.clone(),
                reason: format!("holds {} images, not one", several.len()),
            }),
        }
    }

    /// A manifest, with its bytes.
    pub(crate) fn manifest(&self, descriptor: &Descriptor) -> Result<(Manifest, Vec<u8>), OciError> {
        let bytes = self.blob(descriptor)?;
        let path = self.folder.join("blobs");
        let manifest = serde_json::from_slice(&bytes).map_err(|source| OciError::Json { path, source })?;
        Ok((manifest, bytes))
    }

    /// A blob, verified.
    pub(crate) fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, OciError> {
        let changed = || OciError::Blob { digest: descriptor.digest.clone() };
        let name = descriptor.digest.strip_prefix("sha256:").ok_or_else(changed)?;
        if name.len() != 64 || !name.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(changed());
        }
        let path = self.folder.join("blobs/sha256").join(name);
        let bytes = fs::read(&path).map_err(|source| OciError::File { path, source })?;
        if digest::sha256(&bytes) == name { Ok(bytes) } else { Err(changed()) }
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, OciError> {
    let bytes = fs::read(path).map_err(|source| OciError::File { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| OciError::Json { path: path.to_owned(), source })
}
