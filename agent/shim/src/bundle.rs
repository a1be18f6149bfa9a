//! Loading a bundle.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use oci_spec::runtime::Spec;

use crate::annotations::{self, Annotations};
use crate::spec;

/// A bundle, read and checked.
pub(crate) struct Bundle {
    /// Its folder, without links.
    pub(crate) path: PathBuf,
    /// The last part of the path.
    pub(crate) id: String,
    /// `config.json`.
    pub(crate) spec: Spec,
    /// Our part of it.
    pub(crate) annotations: Annotations,
}

impl Bundle {
    /// Opens the folder alone, for what must be written whether or not the rest can be read.
    pub(crate) fn folder(path: &Path) -> anyhow::Result<(PathBuf, OwnedFd)> {
        let path =
            path.canonicalize().with_context(|| format!("failed to find bundle `{}`", path.display()))?;
        let folder =
            File::open(&path).with_context(|| format!("failed to open bundle `{}`", path.display()))?;
        Ok((path, folder.into()))
    }

    /// Reads and checks `config.json`.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Bundle> {
        let (path, _) = Bundle::folder(path)?;
        let Some(id) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
            bail!("bundle `{}` has no name to be an id", path.display());
        };
        let file = path.join("config.json");
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("failed to read `{}`", file.display()))?;
        let spec: Spec = serde_json::from_str(&text)
            .with_context(|| format!("`{}` is not an OCI runtime configuration", file.display()))?;
        let empty = Default::default();
        let annotations = annotations::parse(spec.annotations().as_ref().unwrap_or(&empty))
            .with_context(|| format!("`{}` cannot be used", file.display()))?;
        spec::check(&spec, &annotations).with_context(|| format!("`{}` cannot be used", file.display()))?;
        Ok(Bundle { path, id, spec, annotations })
    }
}
