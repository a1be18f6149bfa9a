//! Making images: layers, configuration, manifest, and where they can be put.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use agent_containers::Digest;
use serde_json::{Value, json};

use super::making::gzip;

/// How a layer is compressed.
#[derive(Clone, Copy)]
pub enum Pack {
    Plain,
    Gzip,
    Zstd,
}

/// An image that is being made.
#[derive(Clone)]
pub struct Image {
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub config: Value,
    pub manifest: Value,
}

impl Image {
    pub fn new(layers: &[(Pack, Vec<u8>)]) -> Image {
        let mut blobs = BTreeMap::new();
        let mut add = |bytes: Vec<u8>, kind: &str| {
            let digest = Digest::of(&bytes).to_string();
            let descriptor = json!({ "mediaType": kind, "digest": digest, "size": bytes.len() });
            blobs.insert(digest, bytes);
            descriptor
        };
        let mut descriptors = Vec::new();
        let mut diff_ids = Vec::new();
        for (pack, tar) in layers {
            diff_ids.push(Digest::of(tar).to_string());
            let (bytes, suffix) = match pack {
                Pack::Plain => (tar.clone(), ""),
                Pack::Gzip => (gzip(tar), "+gzip"),
                Pack::Zstd => (zstd::encode_all(&tar[..], 3).unwrap(), "+zstd"),
            };
            descriptors.push(add(bytes, &format!("application/vnd.oci.image.layer.v1.tar{suffix}")));
        }
        let config = json!({
            "os": "linux",
            "architecture": "amd64",
            "config": { "Cmd": ["/bin/app"], "Env": ["A=b"], "User": "app", "Entrypoint": null,
                        "ExposedPorts": { "80/tcp": {} } },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": null,
            "layers": descriptors,
        });
        Image { blobs, config, manifest }
    }

    /// The manifest's bytes, after the configuration was put among the blobs.
    pub fn finish(&mut self) -> Vec<u8> {
        let config = self.config.to_string().into_bytes();
        let digest = Digest::of(&config).to_string();
        self.manifest["config"] = json!({
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest,
            "size": config.len(),
        });
        self.blobs.insert(digest, config);
        self.manifest.to_string().into_bytes()
    }

    /// Writes an OCI layout whose index has the image under `name`.
    pub fn write_layout(mut self, folder: &Path, name: &str) -> Digest {
        let manifest = self.finish();
        let digest = Digest::of(&manifest);
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for (digest, bytes) in &self.blobs {
            fs::write(blobs.join(&digest[7..]), bytes).unwrap();
        }
        fs::write(blobs.join(digest.hex()), &manifest).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest.to_string(),
            "size": manifest.len(),
            "annotations": { "org.opencontainers.image.ref.name": name },
        }]});
        fs::write(folder.join("index.json"), index.to_string()).unwrap();
        digest
    }
}

/// An index of manifests for these platforms.
pub fn index(entries: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let manifests: Vec<Value> = entries
        .iter()
        .map(|(os, architecture, manifest)| {
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": Digest::of(manifest).to_string(),
                "size": manifest.len(),
                "platform": { "os": os, "architecture": architecture },
            })
        })
        .collect();
    let kind = "application/vnd.oci.image.index.v1+json";
    json!({ "schemaVersion": 2, "mediaType": kind, "manifests": manifests }).to_string().into_bytes()
}
