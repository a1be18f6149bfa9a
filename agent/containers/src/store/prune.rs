//! Removing what nothing uses.

use std::collections::BTreeSet;
use std::fs;

use agent_system::files;

use super::{Seal, Store, StoreError};
use crate::Digest;

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Images, by manifest digest.
    pub images: Vec<Digest>,
    /// Number of layers.
    pub layers: usize,
    /// Bytes that are free now.
    pub bytes: u64,
}

impl<S: Seal> Store<S> {
    /// The images that are not in `keep`, those that came first before the others.
    pub fn unused(&self, keep: &BTreeSet<Digest>) -> Result<Vec<Digest>, StoreError> {
        let unused = self.digests()?.into_iter().filter(|digest| !keep.contains(digest));
        let came = |digest: Digest| {
            let path = self.record(&digest);
            let came = fs::metadata(&path).and_then(|record| record.modified());
            came.map(|came| (came, digest)).map_err(|source| StoreError::Path { path, source })
        };
        let mut unused = unused.map(came).collect::<Result<Vec<_>, _>>()?;
        unused.sort_unstable();
        Ok(unused.into_iter().map(|(_, digest)| digest).collect())
    }

    /// Removes every image that is not in `keep`, and every layer that no image has then. A layer that
    /// is mounted stays readable until it is not. Refused while a newer version has images here, whose
    /// layers would go.
    pub fn prune(&self, keep: &BTreeSet<Digest>) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        let mut used = BTreeSet::new();
        let mut images = Vec::new();
        for digest in self.digests()? {
            match self.image(&digest) {
                Ok(image) => images.push(image),
                Err(error @ StoreError::Newer { .. }) => return Err(error),
                // Damaged: no use to anyone.
                Err(_) => {
                    files::remove(self.record(&digest))?;
                }
            }
        }
        for image in images {
            if keep.contains(&image.digest) {
                used.extend(image.layers.into_iter().map(|layer| layer.name));
            } else {
                self.remove(&image.digest)?;
                pruned.images.push(image.digest);
            }
        }
        let layers = self.layers();
        let fail = |source| StoreError::Path { path: layers.clone(), source };
        for entry in fs::read_dir(&layers).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let (stem, suffix) = name.rsplit_once('.').unwrap_or((&name, ""));
            if used.contains(stem) && matches!(suffix, "erofs" | "meta") {
                continue;
            }
            pruned.bytes += entry.metadata().map_err(fail)?.len();
            pruned.layers += usize::from(suffix == "erofs");
            files::remove(entry.path())?;
        }
        Ok(pruned)
    }
}
