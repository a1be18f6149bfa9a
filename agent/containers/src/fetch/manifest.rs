//! Manifests and configurations: from a reference to the layers for this machine.
//!
//! OCI image specification, `manifest.md`, `image-index.md`, `config.md`; Docker's schema 2 has the same
//! fields under other media types.

use std::collections::HashMap;

use serde::Deserialize;

use super::error::{FetchError, FetchErrorKind};
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

const OS: &str = "linux";
const ARCHITECTURE: &str = "amd64";

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
    pub(super) annotations: HashMap<String, String>,
}

/// What machine a manifest is for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) variant: Option<String>,
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
    let top = source.resolve(reference)?;
    let resolved = top.digest;
    let (document, either) = match read(&top.bytes)? {
        Either { manifests: Some(manifests), .. } => {
            let chosen = choose(&manifests)?;
            limit("manifest", chosen.size, limits)?;
            let bytes = source.manifest(chosen)?;
            let either = read(&bytes)?;
            if either.manifests.is_some() {
                return Err(bad("an index names another index"));
            }
            (Document { digest: chosen.digest, bytes }, either)
        }
        either => (top, either),
    };
    let (Some(config), Some(layers)) = (either.config, either.layers) else {
        return Err(bad("the manifest has no configuration or no layers"));
    };
    if layers.len() > limits.layers {
        let message = format!("the image has {} layers, more than {}", layers.len(), limits.layers);
        return Err(FetchError::new(FetchErrorKind::Limit, message));
    }
    if let Some(other) = layers.iter().find(|layer| !LAYERS.iter().any(|end| layer.media_type.ends_with(end)))
    {
        return Err(bad(format!("`{}` is not a layer that can be unpacked", other.media_type))
            .hint("is this an image of a container?"));
    }
    if let Some(layer) = layers.iter().find(|layer| layer.size > limits.layer) {
        let message = format!("a layer of {} bytes is larger than {}", layer.size, limits.layer);
        return Err(FetchError::new(FetchErrorKind::Limit, message));
    }
    limit("configuration", config.size, limits)?;
    let (diff_ids, image) = read_config(&source.document(&config)?)?;
    if diff_ids.len() != layers.len() {
        return Err(bad(format!(
            "the manifest has {} layers, the configuration {}",
            layers.len(),
            diff_ids.len()
        )));
    }
    let layers =
        layers.into_iter().zip(diff_ids).map(|(blob, diff_id)| LayerDescriptor { blob, diff_id }).collect();
    Ok(ImageDocument {
        resolved,
        digest: document.digest,
        config_digest: config.digest,
        config: image,
        layers,
    })
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

/// The manifest for this machine; one without a variant is preferred.
fn choose(manifests: &[Descriptor]) -> Result<&Descriptor, FetchError> {
    let fits = |descriptor: &&Descriptor| {
        descriptor
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == OS && platform.architecture == ARCHITECTURE)
    };
    let variant =
        |descriptor: &&Descriptor| descriptor.platform.as_ref().and_then(|platform| platform.variant.clone());
    manifests.iter().filter(fits).min_by_key(variant).ok_or_else(|| {
        let mut names: Vec<String> = manifests
            .iter()
            .filter_map(|descriptor| descriptor.platform.as_ref())
            .filter(|platform| platform.os != "unknown")
            .map(|platform| format!("{}/{}", platform.os, platform.architecture))
            .collect();
        names.truncate(20);
        FetchError::new(FetchErrorKind::Platform, format!("the image has no part for {OS}/{ARCHITECTURE}"))
            .hint(format!("it is made for: {}", names.join(", ")))
    })
}

fn read_config(bytes: &[u8]) -> Result<(Vec<Digest>, ImageConfig), FetchError> {
    let file: ConfigFile = serde_json::from_slice(bytes)
        .map_err(|error| bad(format!("the image's configuration is not valid: {error}")))?;
    if file.os != OS || file.architecture != ARCHITECTURE {
        let message = format!("the image is made for {}/{}", file.os, file.architecture);
        return Err(FetchError::new(FetchErrorKind::Platform, message)
            .hint(format!("this machine is {OS}/{ARCHITECTURE}")));
    }
    let config = match file.config {
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
    Ok((file.rootfs.diff_ids, config))
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
