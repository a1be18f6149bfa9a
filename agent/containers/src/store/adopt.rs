//! From a staging folder into the store.
//!
//! The folder was written by `holdfast-fetch`, which handled foreign bytes: whatever it holds, no path is
//! followed out of it, and nothing but plain files with the names of layers is taken.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::Path;

use agent_core::text::cut;
use agent_system::files;

use super::{Name, RECORD, Seal, Store, StoreError, from_json};
use crate::fetch::{FetchResult, FetchedImage, FetchedLayer, Outcome, room, to_json};
use crate::{Digest, ImageRecord, LayerRecord};

/// An image that came into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The image.
    pub image: ImageRecord,
    /// What its reference meant before.
    pub before: Option<Name>,
    /// Whether the reference means something else now, or means something for the first time.
    pub changed: bool,
}

impl<S: Seal> Store<S> {
    /// Takes what a fetch left in `staging`, a folder made by [`Store::stage`], and removes the folder
    /// whatever comes of it. A fetch that failed is [`StoreError::Fetch`].
    pub fn adopt(&self, staging: &Path) -> Result<Adopted, StoreError> {
        let adopted = {
            let _alone = self.alone();
            self.take(staging)
        };
        let removed = files::remove_tree(staging);
        let adopted = adopted?;
        removed?;
        Ok(adopted)
    }

    fn take(&self, staging: &Path) -> Result<Adopted, StoreError> {
        let path = staging.join(FetchResult::FILE);
        let bytes = match files::read_foreign(&path, RECORD) {
            Err(error) if error.is_not_found() => return Err(StoreError::Staged("no result.json".into())),
            bytes => bytes?,
        };
        let result: FetchResult = from_json(&path, &bytes, |format| format == FetchResult::FORMAT)?;
        let fetched = match result.outcome {
            Outcome::Error(error) => return Err(StoreError::Fetch(error)),
            Outcome::Image(image) => *image,
        };
        let layers = fetched
            .layers
            .iter()
            .map(|layer| self.take_layer(staging, layer))
            .collect::<Result<Vec<_>, _>>()?;
        files::sync_dir(self.layers())?;
        let FetchedImage { reference, resolved, digest, config_digest, config, passwd, group, .. } = fetched;
        let image =
            ImageRecord { format: ImageRecord::FORMAT, digest, config_digest, config, layers, passwd, group };
        files::write_atomic(self.record(&digest), to_json(&image), 0o600)?;
        let name = Name { image: digest, resolved };
        let before = self.set_name(&reference, name.clone())?;
        Ok(Adopted { image, changed: before.as_ref() != Some(&name), before })
    }

    fn take_layer(&self, staging: &Path, layer: &FetchedLayer) -> Result<LayerRecord, StoreError> {
        if !is_layer_name(layer) {
            let name = cut(layer.name.as_str(), 100);
            return Err(StoreError::Staged(format!("`{name}` is no name of a layer")));
        }
        let known = self.known(&layer.name)?;
        let verity = match known {
            Some(verity) => verity,
            None if layer.staged => self.seal_layer(staging, &layer.name)?,
            None => return Err(StoreError::NoLayer { name: layer.name.clone() }),
        };
        Ok(LayerRecord {
            diff_id: layer.diff_id,
            name: layer.name.clone(),
            bytes: layer.bytes,
            verity,
            opaque_root: layer.opaque_root,
        })
    }

    /// What the layer of that name measures, if an image has it and it is as recorded.
    fn known(&self, name: &str) -> Result<Option<Digest>, StoreError> {
        let images = self.images()?;
        let good = images
            .iter()
            .flat_map(|image| &image.layers)
            .find(|layer| layer.name == name && self.verify_layer(layer).is_ok());
        Ok(good.filter(|_| self.meta(name).exists()).map(|layer| layer.verity))
    }

    /// Seals a layer and puts it in place.
    fn seal_layer(&self, staging: &Path, name: &str) -> Result<Digest, StoreError> {
        let folder = staging.join("layers");
        let meta = folder.join(format!("{name}.meta"));
        own(&meta, 0o444)?;
        let layer = folder.join(format!("{name}.erofs"));
        let file = own(&layer, 0o400)?;
        has_room(&layer, &file)?;
        let verity =
            self.seal.seal(&file).map_err(|source| StoreError::Seal { path: layer.clone(), source })?;
        for (from, to) in [(meta, self.meta(name)), (layer, self.layer(name))] {
            fs::rename(&from, &to).map_err(|source| StoreError::Path { path: to, source })?;
        }
        // Made again because the old file was damaged: other images have the new one too.
        for mut image in self.images()? {
            let stale = |layer: &&mut LayerRecord| layer.name == name && layer.verity != verity;
            if image.layers.iter_mut().filter(stale).map(|layer| layer.verity = verity).count() > 0 {
                files::write_atomic(self.record(&image.digest), to_json(&image), 0o600)?;
            }
        }
        Ok(verity)
    }
}

/// Refuses a seal, whose hashes are a 127th of the file, when they would be written to what the disk keeps back: the
/// agent is not refused that.
fn has_room(layer: &Path, file: &File) -> Result<(), StoreError> {
    let fail = |source| StoreError::Path { path: layer.to_owned(), source };
    let needed = file.metadata().map_err(fail)?.len() / 127 + SEAL;
    let left = room::available(layer).map_err(fail)?;
    if left < needed { Err(StoreError::NoRoom { needed, left }) } else { Ok(()) }
}

/// Bytes that a seal may take beside its first level of hashes.
const SEAL: u64 = 64 << 10;

/// Makes a staged file root's own and read-only, and syncs it. Gives it opened for reading.
fn own(path: &Path, mode: u32) -> Result<File, StoreError> {
    let fail = |source| StoreError::Path { path: path.to_owned(), source };
    let file = files::open_foreign(path)?;
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    fchown(&file, Some(ids.0), Some(ids.1)).map_err(fail)?;
    file.set_permissions(Permissions::from_mode(mode)).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    Ok(file)
}

/// The layer's diff-id, and 16 more digits where the layers below matter.
fn is_layer_name(layer: &FetchedLayer) -> bool {
    let hex = layer.diff_id.hex();
    match layer.name.strip_prefix(&hex) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('-').is_some_and(|context| {
            context.len() == 16 && context.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        }),
        None => false,
    }
}
