//! What `holdfast-fetch` does: one image from a registry or an OCI layout into a staging folder.
//!
//! Everything foreign is handled here, in a process that can write its staging folder only. The folder
//! holds `request.json` and `known/NAME.meta` for each layer that the store has; what comes out is
//! `layers/NAME.erofs` and `layers/NAME.meta` for each layer that it has not, and last `result.json`.
//!
//! Blobs are downloaded to `blobs/HEX` and stay there until the image is whole, so that a fetch that was cut
//! goes on where it was when the folder is given to the next one. What an earlier fetch left is as foreign as
//! what the registry sends. It takes no more room than the image's compressed layers, and goes before the
//! disk is called full.
//!
//! Invariants: the digest of the manifest, the configuration and each blob is verified before its content
//! is used, and each layer's diff-id before it is converted; no document or layer is read beyond
//! [`Limits`]; after an error the folder holds `request.json`, `known/` and `result.json` alone, and `blobs/`
//! where the next attempt can use them.

mod auth;
mod blobs;
mod challenge;
mod convert;
mod download;
mod error;
mod http;
mod layout;
mod manifest;
mod mkfs;
mod platform;
mod refusal;
mod registry;
pub(crate) mod room;
mod source;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use agent_core::Secret;
use agent_system::files;
use serde::{Deserialize, Serialize};

pub(crate) use error::is_full;
pub use error::{FetchError, FetchErrorKind};
pub use layout::offers;

use crate::layer::{AccountFiles, LayerMeta};
use crate::{Digest, ImageConfig, Limits, Reference};
use convert::Converter;
use manifest::ImageDocument;

/// Bytes of a request.
const REQUEST: u64 = 4 << 20;

/// What to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// Version of this format.
    pub format: u32,
    /// The image, as the recipe has it.
    pub reference: String,
    /// Where to take it from.
    pub source: Source,
    /// The program that makes erofs files.
    pub mkfs: PathBuf,
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The registry that the reference names.
    Registry(RegistryAccess),
    /// An OCI layout whose index has the reference as `org.opencontainers.image.ref.name`.
    Layout(PathBuf),
}

/// How to reach a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryAccess {
    /// The only certificates (PEM) that may sign the registry's; absent: the system's.
    pub ca: Option<String>,
    /// User name, for those that want one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Speak HTTP without TLS.
    pub plain_http: bool,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchResult {
    /// Version of this format.
    pub format: u32,
    /// The image, or why there is none.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The image, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is in the staging folder.
    Image(Box<FetchedImage>),
    /// It could not be had.
    Error(FetchError),
}

/// A fetched image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedImage {
    /// The reference of the request.
    pub reference: String,
    /// What the reference's tag or digest named: an index or a manifest.
    pub resolved: Digest,
    /// Digest of the manifest for this platform.
    pub digest: Digest,
    /// Digest of the configuration.
    pub config_digest: Digest,
    /// The configuration.
    pub config: ImageConfig,
    /// Layers, the lowest first.
    pub layers: Vec<FetchedLayer>,
    /// `/etc/passwd` of the image, if it has one.
    pub passwd: Option<String>,
    /// `/etc/group` of the image, if it has one.
    pub group: Option<String>,
}

/// A layer of a fetched image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedLayer {
    /// Digest of its tar stream.
    pub diff_id: Digest,
    /// Name of its files, without suffix.
    pub name: String,
    /// Bytes of its tar stream.
    pub bytes: u64,
    /// Whether it hides everything below it.
    pub opaque_root: bool,
    /// Whether it is in the staging folder; else the store has it.
    pub staged: bool,
}

impl FetchRequest {
    /// The format that is written now.
    pub const FORMAT: u32 = 1;
    /// Where the box has `mkfs.erofs`.
    pub const MKFS: &'static str = "/usr/bin/mkfs.erofs";

    /// A request with the box's own `mkfs.erofs`.
    pub fn new(reference: impl Into<String>, source: Source) -> FetchRequest {
        FetchRequest {
            format: FetchRequest::FORMAT,
            reference: reference.into(),
            source,
            mkfs: PathBuf::from(FetchRequest::MKFS),
        }
    }
}

impl FetchResult {
    /// The format that is written now.
    pub const FORMAT: u32 = 1;
    /// Name in the staging folder.
    pub const FILE: &'static str = "result.json";
    /// Name of the request in the staging folder.
    pub const REQUEST: &'static str = "request.json";
    /// Folder in the staging folder of what was downloaded, for the next attempt.
    pub const BLOBS: &'static str = "blobs";
}

/// Fetches what `staging/request.json` asks for and writes `staging/result.json`. `say` is given a line
/// for people at each step. Gives the outcome too; the error is that the result cannot be written.
pub fn run(staging: &Path, limits: &Limits, say: &mut dyn FnMut(&str)) -> Result<Outcome, files::FileError> {
    let outcome = match fetch(staging, limits, say) {
        Ok(image) => Outcome::Image(Box::new(image)),
        Err(error) => {
            clean(staging);
            blobs::Blobs::at(staging).leave(error.kind.keeps_downloads());
            Outcome::Error(error)
        }
    };
    let result = FetchResult { format: FetchResult::FORMAT, outcome };
    files::write_atomic(staging.join(FetchResult::FILE), to_json(&result), 0o600)?;
    Ok(result.outcome)
}

/// Serialises one of this crate's own types, which cannot fail: they have text keys only.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

/// Removes what an unfinished fetch left.
fn clean(staging: &Path) {
    for folder in ["layers", "work"] {
        // What cannot be removed now is removed with the staging folder.
        let _ = fs::remove_dir_all(staging.join(folder));
    }
}

fn fetch(staging: &Path, limits: &Limits, say: &mut dyn FnMut(&str)) -> Result<FetchedImage, FetchError> {
    let request = files::read_limited(staging.join(FetchResult::REQUEST), REQUEST)
        .map_err(|error| FetchError::local(&error))?;
    let request: FetchRequest = serde_json::from_slice(&request)
        .map_err(|error| FetchError::new(FetchErrorKind::Request, format!("bad request: {error}")))?;
    if request.format != FetchRequest::FORMAT {
        let message = format!("requests of format {} are not known", request.format);
        return Err(FetchError::new(FetchErrorKind::Request, message));
    }
    clean(staging);
    let blobs = blobs::Blobs::at(staging);
    blobs.prepare()?;
    for folder in ["layers", "work"] {
        fs::create_dir(staging.join(folder))
            .map_err(|error| FetchError::io("failed to prepare the staging folder", &error))?;
    }
    let reference: Reference = request.reference.parse().map_err(|error: crate::ReferenceError| {
        FetchError::new(FetchErrorKind::Request, error.to_string())
    })?;
    let image = match &request.source {
        Source::Registry(access) => {
            let mut source = registry::Registry::new(&reference, access, limits)?;
            fetch_from(&mut source, &reference, staging, &request, limits, say)
        }
        Source::Layout(folder) => {
            let mut source = layout::Layout::new(folder, &request.reference, limits);
            fetch_from(&mut source, &reference, staging, &request, limits, say)
        }
    }?;
    fs::remove_dir_all(staging.join("work"))
        .and_then(|()| blobs.remove())
        .map_err(|error| FetchError::io("failed to clean the staging folder", &error))?;
    Ok(image)
}

fn fetch_from(
    source: &mut dyn source::Source,
    reference: &Reference,
    staging: &Path,
    request: &FetchRequest,
    limits: &Limits,
    say: &mut dyn FnMut(&str),
) -> Result<FetchedImage, FetchError> {
    let image = manifest::resolve(source, reference, limits)?;
    say(&format!("{}: {} with {} layers", request.reference, image.digest, image.layers.len()));
    let blobs = blobs::Blobs::at(staging);
    blobs.keep(image.layers.iter().map(|layer| &layer.blob.digest));
    let mut converter =
        Converter { staging, blobs, mkfs: &request.mkfs, limits: *limits, below: Vec::new(), bytes: 0 };
    let mut layers = Vec::new();
    for (index, layer) in image.layers.iter().enumerate() {
        let place = format!("layer {} of {}", index + 1, image.layers.len());
        let done = converter.layer(source, layer, &place, say)?;
        layers.push(done);
    }
    finish(request, image, layers, &converter)
}

fn finish(
    request: &FetchRequest,
    image: ImageDocument,
    layers: Vec<FetchedLayer>,
    converter: &Converter<'_>,
) -> Result<FetchedImage, FetchError> {
    let metas = converter.below.iter().map(|path| read_meta(path)).collect::<Result<Vec<_>, _>>()?;
    let account = |said: fn(&LayerMeta) -> &AccountFiles| {
        metas.iter().rev().map(said).find(|said| **said != AccountFiles::Below).and_then(|said| match said {
            AccountFiles::Text(text) => Some(text.clone()),
            AccountFiles::Gone | AccountFiles::Below => None,
        })
    };
    Ok(FetchedImage {
        reference: request.reference.clone(),
        resolved: image.resolved,
        digest: image.digest,
        config_digest: image.config_digest,
        config: image.config,
        layers,
        passwd: account(|meta| &meta.passwd),
        group: account(|meta| &meta.group),
    })
}

fn read_meta(path: &Path) -> Result<LayerMeta, FetchError> {
    let file = File::open(path)
        .map_err(|error| FetchError::io("failed to open what is known of a layer", &error))?;
    let (meta, _) = LayerMeta::read(BufReader::new(file)).map_err(|error| FetchError::local(&error))?;
    Ok(meta)
}
