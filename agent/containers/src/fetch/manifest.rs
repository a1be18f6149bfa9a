//! Manifests and configurations: from a reference to the layers for this machine.
//!
//! OCI image specification, `manifest.md`, `image-index.md`, `config.md`; Docker's schema 2 has the same
//! fields under other media types.

use std::collections::HashMap;

use serde::Deserialize;

use super::error::{FetchError, FetchErrorKind, told};
use super::platform::{self, Platform};
use super::source::{Document, Source};
use crate::image::or_default;
use crate::{Digest, ImageConfig, Limits, Reference};

/// Media types that a reference may lead to.
pub(super) const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// How the media types of layers end; what comes before differs between OCI and Docker.
const LAYERS: [&str; 5] = [".tar", ".tar+gzip", ".tar+zstd", ".tar.gzip", ".tar.zstd"];

/// The media types of an image's configuration.
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Indexes between a reference and its image.
const INDEXES: usize = 4;

/// What a descriptor says of some content.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) platform: Option<Platform>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) artifact_type: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) annotations: HashMap<String, String>,
}

/// A layer that the image names: where it is and what it must be.
pub(super) struct LayerDescriptor {
    pub(super) blob: Descriptor,
    pub(super) diff_id: Digest,
}

/// An image's documents, read and checked.
pub(super) struct ImageDocument {
    pub(super) resolved: Digest,
    pub(super) digest: Digest,
    pub(super) config_digest: Digest,
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<LayerDescriptor>,
}

/// An index or a manifest, told apart by what it has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Either {
    schema_version: u32,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// An image's configuration as it is written.
#[derive(Deserialize)]
struct ConfigFile {
    os: String,
    architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    variant: String,
    rootfs: RootFs,
    #[serde(default)]
    config: Option<GoConfig>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

/// The same fields as ours, under the names of the specification.
#[derive(Deserialize)]
#[serde(transparent)]
struct GoConfig(HashMap<String, serde_json::Value>);

/// Resolves a reference to the image for this machine.
pub(super) fn resolve(
    source: &mut dyn Source,
    reference: &Reference,
    limits: &Limits,
) -> Result<ImageDocument, FetchError> {
    let mut document = source.resolve(reference)?;
    let resolved = document.digest;
    for _ in 0..=INDEXES {
        let either = read(&document.bytes)?;
        let Some(manifests) = &either.manifests else {
            return image(source, resolved, document.digest, either, limits);
        };
        let chosen = platform::choose(manifests, platform::level())?;
        limit("manifest", chosen.size, limits)?;
        document = Document { digest: chosen.digest, bytes: source.manifest(chosen)? };
    }
    Err(bad(format!("the image has more than {INDEXES} indexes, one in another")))
}

/// Reads and checks what a manifest names.
fn image(
    source: &mut dyn Source,
    resolved: Digest,
    digest: Digest,
    either: Either,
    limits: &Limits,
) -> Result<ImageDocument, FetchError> {
    let (Some(config), Some(layers)) = (either.config, either.layers) else {
        return Err(bad("the manifest has no configuration or no layers"));
    };
    if layers.len() > limits.layers {
        let message = format!("the image has {} layers, more than {}", layers.len(), limits.layers);
        return Err(FetchError::new(FetchErrorKind::Limit, message));
    }
    if let Some(other) = layers.iter().find(|layer| !LAYERS.iter().any(|end| layer.media_type.ends_with(end)))
    {
        return Err(bad(format!("`{}` is not a layer that can be unpacked", told(&other.media_type)))
            .hint("is this an image of a container?"));
    }
    if let Some(layer) = layers.iter().find(|layer| layer.size > limits.layer) {
        let message = format!("a layer of {} bytes is larger than {}", layer.size, limits.layer);
        return Err(FetchError::new(FetchErrorKind::Limit, message));
    }
    limit("configuration", config.size, limits)?;
    let (diff_ids, image) = read_config(&source.document(&config)?).map_err(|error| {
        match CONFIGS.contains(&config.media_type.as_str()) {
            false if error.kind == FetchErrorKind::BadImage => error.hint(format!(
                "`{}` is not the configuration of a container: is this an image of one?",
                told(&config.media_type)
            )),
            _ => error,
        }
    })?;
    if diff_ids.len() != layers.len() {
        return Err(bad(format!(
            "the manifest has {} layers, the configuration {}",
            layers.len(),
            diff_ids.len()
        )));
    }
    let layers =
        layers.into_iter().zip(diff_ids).map(|(blob, diff_id)| LayerDescriptor { blob, diff_id }).collect();
    Ok(ImageDocument { resolved, digest, config_digest: config.digest, config: image, layers })
}

fn read(bytes: &[u8]) -> Result<Either, FetchError> {
    let either: Either =
        serde_json::from_slice(bytes).map_err(|error| bad(format!("the manifest is not valid: {error}")))?;
    if either.schema_version != 2 {
        return Err(bad(format!("manifests of schema version {} are not supported", either.schema_version))
            .hint("push the image again with a current tool"));
    }
    if either.manifests.is_some() && (either.config.is_some() || either.layers.is_some()) {
        return Err(bad("the document is an index and a manifest at once"));
    }
    Ok(either)
}

fn read_config(bytes: &[u8]) -> Result<(Vec<Digest>, ImageConfig), FetchError> {
    let file: ConfigFile = serde_json::from_slice(bytes)
        .map_err(|error| bad(format!("the image's configuration is not valid: {error}")))?;
    let ConfigFile { os, architecture, variant, rootfs, config } = file;
    platform::check(&Platform { os, architecture, variant, ..Platform::default() })?;
    let config = match config {
        None => ImageConfig::default(),
        Some(GoConfig(fields)) => {
            let names = [
                ("User", "user"),
                ("Env", "env"),
                ("Entrypoint", "entrypoint"),
                ("Cmd", "cmd"),
                ("WorkingDir", "working_dir"),
                ("StopSignal", "stop_signal"),
                ("ExposedPorts", "exposed_ports"),
                ("Labels", "labels"),
            ];
            let ours = names
                .iter()
                .filter_map(|(theirs, ours)| Some(((*ours).to_owned(), fields.get(*theirs)?.clone())))
                .collect();
            serde_json::from_value(serde_json::Value::Object(ours))
                .map_err(|error| bad(format!("the image's configuration is not valid: {error}")))?
        }
    };
    Ok((rootfs.diff_ids, config))
}

/// Refuses a document by the size that its descriptor gives.
fn limit(what: &str, size: u64, limits: &Limits) -> Result<(), FetchError> {
    if size <= limits.document {
        return Ok(());
    }
    let message = format!("the {what} of {size} bytes is larger than {}", limits.document);
    Err(FetchError::new(FetchErrorKind::Limit, message))
}

fn bad(message: impl Into<String>) -> FetchError {
    FetchError::new(FetchErrorKind::BadImage, message)
}
