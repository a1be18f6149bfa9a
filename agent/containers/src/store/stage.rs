//! Staging folders: where `holdfast-fetch` works.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use agent_system::files::{self, Access};

use super::{Seal, Store, StoreError};
use crate::fetch::{FetchRequest, FetchResult, to_json};

impl<S: Seal> Store<S> {
    /// Makes the staging folder of a fetch and puts the request there, what is known of the layers that need
    /// not be fetched, and what an earlier fetch of this ID had downloaded. `owner`: ids of the user that
    /// fetches, when it is another.
    pub fn stage(
        &self,
        id: &str,
        request: &FetchRequest,
        owner: Option<(u32, u32)>,
    ) -> Result<PathBuf, StoreError> {
        let staging = self.staging_of(id)?;
        self.set_aside(id)?;
        files::create_dir(&staging, Access::mode(0o700))?;
        self.take_up(id, &staging)?;
        let known = staging.join("known");
        files::create_dir(&known, Access::mode(0o755))?;
        for image in self.images()? {
            for layer in image.layers.iter().filter(|layer| self.verify_layer(layer).is_ok()) {
                let name = format!("{}.meta", layer.name);
                match fs::hard_link(self.meta(&layer.name), known.join(&name)) {
                    Err(source) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
                    // What is not known is fetched again.
                    Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
                    other => other.map_err(|source| StoreError::Path { path: known.join(name), source })?,
                }
            }
        }
        let (mode, path) = (0o600, staging.join(FetchResult::REQUEST));
        files::write_atomic_as(&path, to_json(request), Access { mode, owner })?;
        if let Some((uid, gid)) = owner {
            chown(&staging, Some(uid), Some(gid))
                .map_err(|source| StoreError::Path { path: staging.clone(), source })?;
        }
        Ok(staging)
    }

    /// Where the fetch of that ID works.
    pub(super) fn staging_of(&self, id: &str) -> Result<PathBuf, StoreError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if id.is_empty() || id.len() > 128 || id.starts_with('.') || !id.bytes().all(plain) {
            return Err(StoreError::StagingName(id.to_owned()));
        }
        Ok(self.staging().join(id))
    }
}
