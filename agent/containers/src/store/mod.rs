//! The images on data.
//!
//! ```text
//! layers/NAME.erofs    one for each layer, sealed with fs-verity, never changed
//! layers/NAME.meta     what later layers need to know of it
//! DIGEST.json          an image: its configuration, layers, and what each seal measures
//! names.json           references, and the image each was resolved to
//! staging/ID/          a fetch that goes on; removed when the store is opened
//! downloads/ID/        what such a fetch had downloaded when it was cut, for the next of the same ID
//! ```
//!
//! Invariants: a layer's file is sealed, measured and synced before it has its name; an image's record is
//! written after all its layers are there; a name after its image. So whatever the moment of a power
//! cut, an image that is listed is whole, and what is left over is garbage that [`Store::prune`] removes.
//! Nothing here parses foreign content: `holdfast-fetch` did.
//!
//! Deliberately absent: locks. One process owns the store.

mod adopt;
mod downloads;
mod prune;
mod seal;
mod stage;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use agent_system::files::{self, Access, FileError};
use serde::{Deserialize, Serialize};

pub use adopt::Adopted;
pub use prune::Pruned;
pub use seal::{Seal, SealError, Verity};

use crate::fetch::{FetchError, is_full, to_json};
use crate::{Digest, ImageRecord, LayerRecord};

/// Bytes of a record or of the names.
const RECORD: u64 = 16 << 20;

/// The images on data.
pub struct Store<S = Verity> {
    root: PathBuf,
    seal: S,
    /// Held while images are added or removed.
    alone: Mutex<()>,
}

/// What a reference was resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The image.
    pub image: Digest,
    /// What the tag itself named then: an index or the image's manifest.
    pub resolved: Digest,
}

#[derive(Default, Serialize, Deserialize)]
struct Names {
    format: u32,
    names: BTreeMap<String, Name>,
}

/// Something is wrong with the store, or with what it was given.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StoreError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("failed to use `{path}`")]
    Path { path: PathBuf, source: io::Error },
    #[error("`{path}` is not valid")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("`{path}` is of format {format}, which is newer than this version")]
    Newer { path: PathBuf, format: u32 },
    #[error("image {0} is not in the store")]
    NoImage(Digest),
    #[error("the fetch failed: {0}")]
    Fetch(FetchError),
    #[error("`{0}` cannot name a staging folder")]
    StagingName(String),
    #[error("the fetch left something else than it says: {0}")]
    Staged(String),
    #[error("layer {name} is missing")]
    NoLayer { name: String },
    #[error("layer {name} is not the one that was recorded")]
    Swapped { name: String },
    #[error("layer {name} cannot be read whole")]
    Rotten { name: String, source: io::Error },
    #[error("there is no room for a layer's seal: it takes {needed} bytes, and {left} are left")]
    NoRoom { needed: u64, left: u64 },
    #[error("failed to seal or measure `{path}`")]
    Seal { path: PathBuf, source: SealError },
}

impl StoreError {
    /// Whether it is for want of room on the disk.
    pub fn is_full(&self) -> bool {
        matches!(self, StoreError::NoRoom { .. }) || is_full(self)
    }
}

impl Store<Verity> {
    /// Opens the store in `root`, and makes it if it is new.
    pub fn open(root: impl Into<PathBuf>) -> Result<Store, StoreError> {
        Store::open_with(root, Verity)
    }
}

impl<S: Seal> Store<S> {
    /// Opens a store whose layers are sealed by `seal`.
    pub fn open_with(root: impl Into<PathBuf>, seal: S) -> Result<Store<S>, StoreError> {
        let store = Store { root: root.into(), seal, alone: Mutex::default() };
        // Open to be walked through, for fetches of another user; nothing else.
        files::create_dir_all(&store.root, Access::mode(0o711))?;
        files::create_dir_all(store.layers(), Access::mode(0o700))?;
        // The folder stays: where no room is left, it could not be made again.
        files::create_dir_all(store.staging(), Access::mode(0o711))?;
        Ok(store)
    }

    /// Removes what fetches and removals that were cut left, but for what fetches had downloaded. Nothing goes by it,
    /// so the images can be used all the same when some of it cannot be removed. Nobody may be fetching.
    pub fn tidy(&self) -> Result<(), StoreError> {
        let fetches = self.set_all_aside();
        files::sweep(&self.root)?;
        fetches
    }

    /// Waits until nobody else adds or removes images, and keeps others from it. To be held from looking which are
    /// used to the end of [`Store::prune`].
    pub fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder of the layers.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Nobody but root looks into it: what is there is another user's.
    fn downloads_folder(&self) -> PathBuf {
        self.root.join("downloads")
    }

    fn layer(&self, name: &str) -> PathBuf {
        self.layers().join(format!("{name}.erofs"))
    }

    fn meta(&self, name: &str) -> PathBuf {
        self.layers().join(format!("{name}.meta"))
    }

    fn record(&self, image: &Digest) -> PathBuf {
        self.root.join(format!("{}.json", image.hex()))
    }

    /// All images, by digest. One whose record cannot be read is left out: its content is had again.
    pub fn images(&self) -> Result<Vec<ImageRecord>, StoreError> {
        Ok(self.digests()?.iter().filter_map(|digest| self.image(digest).ok()).collect())
    }

    /// The images that have a record, readable or not.
    fn digests(&self) -> Result<Vec<Digest>, StoreError> {
        let mut digests = Vec::new();
        let fail = |source| StoreError::Path { path: self.root.clone(), source };
        for entry in fs::read_dir(&self.root).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            let digest = name.to_str().and_then(|name| name.strip_suffix(".json"));
            digests.extend(digest.and_then(|hex| Digest::from_hex(hex).ok()));
        }
        digests.sort_unstable();
        Ok(digests)
    }

    /// The image with this manifest digest.
    pub fn image(&self, digest: &Digest) -> Result<ImageRecord, StoreError> {
        let path = self.record(digest);
        let record: Option<ImageRecord> = read_json(&path, |format| format == ImageRecord::FORMAT)?;
        record.filter(|record| record.digest == *digest).ok_or(StoreError::NoImage(*digest))
    }

    /// The image that a reference was resolved to, if it was and the image is there.
    pub fn image_by_reference(&self, reference: &str) -> Result<Option<ImageRecord>, StoreError> {
        match self.names()?.get(reference) {
            Some(name) => match self.image(&name.image) {
                Ok(record) => Ok(Some(record)),
                Err(StoreError::NoImage(_)) => Ok(None),
                Err(error) => Err(error),
            },
            None => Ok(None),
        }
    }

    /// Every reference that was resolved. A damaged file counts as empty: references are resolved again.
    pub fn names(&self) -> Result<BTreeMap<String, Name>, StoreError> {
        let path = self.root.join("names.json");
        match read_json::<Names>(&path, |format| format == 1) {
            Ok(names) => Ok(names.unwrap_or_default().names),
            Err(StoreError::Json { .. } | StoreError::File(FileError::TooLarge { .. })) => {
                Ok(BTreeMap::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a reference mean an image of the store; gives what it meant before.
    pub fn set_name(&self, reference: &str, name: Name) -> Result<Option<Name>, StoreError> {
        self.image(&name.image)?;
        let mut names = self.names()?;
        let before = names.insert(reference.to_owned(), name.clone());
        if before.as_ref() != Some(&name) {
            self.write_names(names)?;
        }
        Ok(before)
    }

    fn write_names(&self, names: BTreeMap<String, Name>) -> Result<(), StoreError> {
        let path = self.root.join("names.json");
        Ok(files::write_atomic(path, to_json(&Names { format: 1, names }), 0o600)?)
    }

    /// Removes an image and the names that mean it; its layers are left to [`Store::prune`]. Says
    /// whether it was there.
    pub fn remove(&self, image: &Digest) -> Result<bool, StoreError> {
        let mut names = self.names()?;
        let before = names.len();
        names.retain(|_, name| name.image != *image);
        if names.len() != before {
            self.write_names(names)?;
        }
        Ok(files::remove(self.record(image))?)
    }

    /// Checks that each layer of an image is the file that was sealed. Reads none of the content: that
    /// the kernel does at each read.
    pub fn verify(&self, image: &ImageRecord) -> Result<(), StoreError> {
        image.layers.iter().try_for_each(|layer| self.verify_layer(layer))
    }

    /// As [`Store::verify`], and reads all of the content, so that the kernel checks every block of it.
    pub fn check(&self, image: &ImageRecord) -> Result<(), StoreError> {
        image.layers.iter().try_for_each(|layer| self.check_layer(layer))
    }

    fn check_layer(&self, layer: &LayerRecord) -> Result<(), StoreError> {
        self.verify_layer(layer)?;
        let path = self.layer(&layer.name);
        let mut file = File::open(&path).map_err(|source| StoreError::Path { path, source })?;
        match io::copy(&mut file, &mut io::sink()) {
            Ok(_) => Ok(()),
            Err(source) => Err(StoreError::Rotten { name: layer.name.clone(), source }),
        }
    }

    /// Removes an image that does not pass [`Store::check`], and those of its layers that do not, so that
    /// it is fetched again. Says what is wrong with it; `None` for one that is sound, which stays.
    pub fn discard_damaged(&self, image: &ImageRecord) -> Result<Option<StoreError>, StoreError> {
        let mut damage = None;
        for layer in &image.layers {
            if let Err(error) = self.check_layer(layer) {
                // Other images have the layer too: without its file it counts as known to none of them.
                files::remove(self.layer(&layer.name))?;
                damage = Some(error);
            }
        }
        if damage.is_some() {
            let _alone = self.alone();
            self.remove(&image.digest)?;
        }
        Ok(damage)
    }

    fn verify_layer(&self, layer: &LayerRecord) -> Result<(), StoreError> {
        let path = self.layer(&layer.name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NoLayer { name: layer.name.clone() });
            }
            Err(source) => return Err(StoreError::Path { path, source }),
        };
        let measured = self.seal.measure(&file).map_err(|source| StoreError::Seal { path, source })?;
        match measured == layer.verity {
            true => Ok(()),
            false => Err(StoreError::Swapped { name: layer.name.clone() }),
        }
    }
}

/// Reads a file of ours; `None` when it is not there.
fn read_json<T: for<'a> Deserialize<'a>>(
    path: &Path,
    known: impl FnOnce(u32) -> bool,
) -> Result<Option<T>, StoreError> {
    let Some(bytes) = files::read_optional(path, RECORD)? else { return Ok(None) };
    from_json(path, &bytes, known).map(Some)
}

/// What the file `path` says, in a format that is `known`.
fn from_json<T: for<'a> Deserialize<'a>>(
    path: &Path,
    bytes: &[u8],
    known: impl FnOnce(u32) -> bool,
) -> Result<T, StoreError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let fail = |source| StoreError::Json { path: path.to_owned(), source };
    let Format { format } = serde_json::from_slice(bytes).map_err(fail)?;
    if !known(format) {
        return Err(StoreError::Newer { path: path.to_owned(), format });
    }
    serde_json::from_slice(bytes).map_err(fail)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
