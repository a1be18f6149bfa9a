//! Config drives as OpenStack makes them, and those who follow it.
//!
//! Only `openstack/latest` is read, and DigitalOcean's own document where that describes no network.
//! Metadata is taken leniently, field by field: providers send numbers as text, `null` or `""` for empty
//! lists, and an object wrapped in a list.

pub(crate) mod network;

use std::path::Path;

use serde_json::Value;

use super::{NetworkError, digitalocean, fill, fill_network, note_vendor_data};
use crate::network::Network;
use crate::tree::{Node, Tree, Wrong};
use crate::{Channel, Offer, ReadError, read};

/// What DigitalOcean puts into the root of its config drives: the document of its metadata service.
const DROPLET: &str = "digitalocean_meta_data.json";
/// What the provider says to cloud-init: the same to all, and what services of its own add for each.
pub(crate) const VENDOR_DATA: [&str; 2] = ["vendor_data.json", "vendor_data2.json"];

/// What the volume mounted at `root` offers.
pub(crate) fn offer(root: &Path) -> Result<Option<Offer>, ReadError> {
    let latest = root.join("openstack/latest");
    let mut offer = Offer::new(Channel::ConfigDrive);
    offer.user_data = read::user_data(&latest.join("user_data"))?;
    let path = latest.join("meta_data.json");
    let metadata = match read::metadata(&path) {
        Ok(Some(bytes)) => match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) => Some(value),
            // User-data that can be had is worth more than what goes with it.
            Err(source) if offer.user_data.is_none() => return Err(ReadError::Json { path, source }),
            Err(error) => {
                offer.notes.push(format!("`meta_data.json` is not JSON and is not used: {error}"));
                None
            }
        },
        Ok(None) => None,
        Err(error) if offer.user_data.is_none() => return Err(error),
        Err(error) => {
            offer.notes.push(format!("{error}; it is not used"));
            None
        }
    };
    if offer.user_data.is_none() && metadata.is_none() {
        return Ok(None);
    }
    if let Some(metadata) = metadata {
        take(&mut offer, metadata);
    }
    fill_network(&mut offer, drive_network(root, &latest));
    note_vendor_data(&mut offer, &latest, &VENDOR_DATA);
    Ok(Some(offer))
}

/// Reads the network that a drive describes: OpenStack's document in `latest`, else DigitalOcean's in `root`.
pub(crate) fn drive_network(root: &Path, latest: &Path) -> Result<Option<Network>, NetworkError> {
    match super::network(&latest.join("network_data.json"), read::json, described)? {
        None => super::network(&root.join(DROPLET), read::json, digitalocean::network),
        described => Ok(described),
    }
}

/// Reads `network_data.json`; none where Nova manages none, which it says by an object without links.
pub(crate) fn described(tree: &Tree) -> Result<Option<Network>, Wrong> {
    if Node::top(tree).unwrapped().get("links").is_none() {
        return Ok(None);
    }
    network::read(tree).map(Some)
}

/// Whether this is `meta_data.json`.
pub(crate) fn is(bytes: &[u8]) -> bool {
    let Ok(json) = serde_json::from_slice::<Value>(bytes) else { return false };
    ["uuid", "public_keys", "launch_index", "availability_zone"].iter().any(|key| json.get(key).is_some())
}

/// Puts metadata into an offer.
pub(crate) fn take(offer: &mut Offer, metadata: Value) {
    let metadata = match metadata {
        Value::Array(items) => items.into_iter().next().unwrap_or_default(),
        value => value,
    };
    let field = |name: &str| metadata.get(name).and_then(text);
    let mut keys = strings(metadata.get("public_keys"));
    if let Some(Value::Array(items)) = metadata.get("keys") {
        let ssh = items.iter().filter(|item| item.get("type").and_then(Value::as_str) == Some("ssh"));
        keys.extend(ssh.filter_map(|item| item.get("data").and_then(text)));
    }
    let id = field("uuid").or_else(|| field("instance_id"));
    fill(offer, id, field("hostname").or_else(|| field("name")), keys);
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The texts of a list, of an object's values, or one alone.
fn strings(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(text).collect(),
        Some(Value::Object(entries)) => entries.values().filter_map(text).collect(),
        Some(value) => text(value).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
#[path = "openstack_tests.rs"]
mod tests;
