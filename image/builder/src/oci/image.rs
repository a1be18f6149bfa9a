//! An image's documents: configuration, manifest, descriptors. Fields stand in the order of their
//! names, so that the JSON is the same each time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fetch::digest;
use crate::oci::OciError;
use crate::oci::layer::Layer;

/// Of a configuration.
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Of a manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Of an index.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Of a layer.
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// A blob by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    /// Free words about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// `sha256:…`.
    pub digest: String,
    /// What it is.
    pub media_type: String,
    /// For what machine it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Bytes.
    pub size: u64,
}

/// A kind of machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    /// `amd64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
}

/// What an image consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    /// How it is run.
    pub config: Descriptor,
    /// Its layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// [`MANIFEST`].
    #[serde(default)]
    pub media_type: String,
    /// 2.
    pub schema_version: u32,
}

/// How an image is run.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RunConfig {
    /// Arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// The program.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// `8080/tcp`, each with an empty object.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, BTreeMap<String, String>>,
    /// Free words.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Who runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
}

#[derive(Serialize)]
struct ImageConfig<'a> {
    architecture: &'a str,
    config: &'a RunConfig,
    created: &'a str,
    history: [History<'a>; 1],
    os: &'a str,
    rootfs: RootFs,
}

#[derive(Serialize)]
struct History<'a> {
    created: &'a str,
    created_by: &'a str,
}

#[derive(Serialize)]
struct RootFs {
    diff_ids: [String; 1],
    #[serde(rename = "type")]
    kind: &'static str,
}

/// An image, whole in memory.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The full reference under which it is known.
    pub reference: String,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// The configuration's bytes.
    pub config: Vec<u8>,
    /// The layer.
    pub layer: Layer,
}

impl Image {
    /// Describes a layer. `created` is RFC 3339.
    pub(crate) fn new(
        reference: &str,
        architecture: &str,
        created: &str,
        config: &RunConfig,
        layer: Layer,
    ) -> Result<Image, OciError> {
        let document = ImageConfig {
            architecture,
            config,
            created,
            history: [History { created, created_by: "holdfast-image app build" }],
            os: "linux",
            rootfs: RootFs { diff_ids: [format!("sha256:{}", layer.diff_id)], kind: "layers" },
        };
        let config = serde_json::to_vec(&document).map_err(OciError::Write)?;
        let manifest = Manifest {
            config: descriptor(&config, CONFIG),
            layers: vec![descriptor(&layer.blob, LAYER)],
            media_type: MANIFEST.to_owned(),
            schema_version: 2,
        };
        let manifest = serde_json::to_vec(&manifest).map_err(OciError::Write)?;
        Ok(Image { reference: reference.to_owned(), manifest, config, layer })
    }

    /// The manifest's digest, by which the image is known for ever: `sha256:…`.
    pub(crate) fn digest(&self) -> String {
        format!("sha256:{}", digest::sha256(&self.manifest))
    }
}

/// Describes bytes.
pub(crate) fn descriptor(bytes: &[u8], media_type: &str) -> Descriptor {
    Descriptor {
        annotations: BTreeMap::new(),
        digest: format!("sha256:{}", digest::sha256(bytes)),
        media_type: media_type.to_owned(),
        platform: None,
        size: bytes.len() as u64,
    }
}
