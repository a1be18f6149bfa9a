//! Bundles on the box.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::Bundle;

/// A bundle cannot be put in place.
#[derive(Debug, thiserror::Error)]
#[error("failed to write bundle `{path}`")]
#[allow(missing_docs)]
pub struct BundleError {
    pub path: PathBuf,
    source: io::Error,
}

/// Writes a bundle, in place of one that is there. Its container must not run. The bundles lie on a
/// tmpfs, gone with the power: nothing is synced.
pub fn write(bundle: &Bundle) -> Result<(), BundleError> {
    let fail = |source| BundleError { path: bundle.path.clone(), source };
    remove(&bundle.path)?;
    write_all(bundle).map_err(fail)
}

/// Removes a bundle; says whether there was one.
pub fn remove(path: &Path) -> Result<bool, BundleError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(BundleError { path: path.to_owned(), source }),
    }
}

fn write_all(bundle: &Bundle) -> io::Result<()> {
    if let Some(parent) = bundle.path.parent() {
        DirBuilder::new().recursive(true).mode(0o711).create(parent)?;
    }
    DirBuilder::new().mode(0o700).create(&bundle.path)?;
    // The owner of the container's root, as the files have it.
    let root = bundle.files.first().map_or((0, 0), |file| file.owner);
    for file in &bundle.files {
        let path = bundle.path.join(&file.path);
        if let Some(parent) = path.parent().filter(|parent| *parent != bundle.path && !parent.exists()) {
            DirBuilder::new().mode(0o755).create(parent)?;
            fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
            chown(parent, Some(root.0), Some(root.1))?;
        }
        let mut open = OpenOptions::new();
        let mut out = open.write(true).create_new(true).mode(0o600).open(&path)?;
        out.write_all(file.content.expose().as_bytes())?;
        chown(&path, Some(file.owner.0), Some(file.owner.1))?;
        // After the owner: a change of owner clears setuid.
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    let mut open = OpenOptions::new();
    let mut config = open.write(true).create_new(true).mode(0o600).open(bundle.path.join("config.json"))?;
    config.write_all(&crate::fetch::to_json(&bundle.config))
}
