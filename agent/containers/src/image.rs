//! What is known of an image: the part of its configuration that a container needs, and its layers.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::Digest;

/// An image's configuration, as far as it says how to run a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// User to run as, `NAME|UID[:GROUP|GID]`; empty: root.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Environment, `NAME=VALUE`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// First words of the command line.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The words after them.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Working directory; empty: `/`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Signal that asks the container to stop; empty: SIGTERM.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Ports that the image says it serves, `PORT[/PROTOCOL]`.
    #[serde(deserialize_with = "keys", skip_serializing_if = "Vec::is_empty")]
    pub exposed_ports: Vec<String>,
    /// Labels.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A layer in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Digest of the layer's tar stream.
    pub diff_id: Digest,
    /// Name in the store's layer folder, without `.erofs`.
    pub name: String,
    /// Bytes of the layer's tar stream.
    pub bytes: u64,
    /// What the kernel measures of the sealed erofs file (fs-verity, SHA-256).
    pub verity: Digest,
    /// Whether the layer hides everything below it.
    pub opaque_root: bool,
}

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Version of this format.
    pub format: u32,
    /// Digest of the manifest; the image's name in the store.
    pub digest: Digest,
    /// Digest of the configuration.
    pub config_digest: Digest,
    /// The configuration.
    pub config: ImageConfig,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerRecord>,
    /// `/etc/passwd` of the image, if it has one.
    pub passwd: Option<String>,
    /// `/etc/group` of the image, if it has one.
    pub group: Option<String>,
}

impl ImageRecord {
    /// The format that is written now.
    pub const FORMAT: u32 = 1;

    /// The layers that an overlay needs, the topmost first: what an opaque root hides is left out.
    pub fn visible_layers(&self) -> impl Iterator<Item = &LayerRecord> {
        let lowest = self.layers.iter().rposition(|layer| layer.opaque_root).unwrap_or(0);
        self.layers[lowest..].iter().rev()
    }

    /// Bytes of all layers, once unpacked.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes).sum()
    }
}

/// Docker writes `null` for what is empty.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A set is written as an object with empty values, by Go; as a list, by us.
fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Set {
        Object(BTreeMap<String, serde::de::IgnoredAny>),
        List(Vec<String>),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Set::Object(object)) => object.into_keys().collect(),
        Some(Set::List(list)) => list,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(opaque: &[bool]) -> ImageRecord {
        let digest = Digest::of(b"");
        let layer = |(index, opaque_root): (usize, &bool)| LayerRecord {
            diff_id: digest,
            name: index.to_string(),
            bytes: 1,
            verity: digest,
            opaque_root: *opaque_root,
        };
        ImageRecord {
            format: ImageRecord::FORMAT,
            digest,
            config_digest: digest,
            config: ImageConfig::default(),
            layers: opaque.iter().enumerate().map(layer).collect(),
            passwd: None,
            group: None,
        }
    }

    #[test]
    fn an_opaque_root_hides_the_layers_below() {
        for (opaque, expect) in [
            (&[][..], &[][..]),
            (&[false, false], &["1", "0"]),
            (&[false, true, false], &["2", "1"]),
            (&[true, false, true], &["2"]),
        ] {
            let record = record(opaque);
            let names: Vec<_> = record.visible_layers().map(|layer| layer.name.as_str()).collect();
            assert_eq!(names, expect);
        }
    }
}
