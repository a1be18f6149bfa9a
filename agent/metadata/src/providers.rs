//! One module per kind of provider. `Ok(None)` means "not offered".

pub(crate) mod digitalocean;
pub(crate) mod nocloud;
pub(crate) mod openstack;
pub(crate) mod qemu;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::network::Network;
use crate::tree::{Tree, Wrong};
use crate::{Offer, ReadError, keys, read};

/// Said of data that the provider's own software is meant to read.
pub(crate) fn vendor_note(name: &str) -> String {
    format!("`{name}` is the provider's and is ignored")
}

/// Notes those of these files in `folder` that say something.
pub(crate) fn note_vendor_data(offer: &mut Offer, folder: &Path, names: &[&str]) {
    for name in names {
        let said = read::start(&folder.join(name), read::MAX_METADATA).ok().flatten();
        if said.is_some_and(|bytes| !says_nothing(&bytes)) {
            offer.notes.push(vendor_note(name));
        }
    }
}

/// Whether there is nothing in a document, however that is written: Nova's is `{}`, or `{"static": {}}`.
pub(crate) fn says_nothing(document: &[u8]) -> bool {
    let json = serde_json::from_slice::<Value>(document);
    document.trim_ascii().is_empty() || json.is_ok_and(|json| is_nothing(&json))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.iter().all(is_nothing),
        Value::Object(entries) => entries.values().all(is_nothing),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Puts a network into an offer. One that cannot be used keeps nothing else from the box.
pub(crate) fn fill_network(offer: &mut Offer, read: Result<Option<Network>, impl std::error::Error>) {
    match read {
        Ok(network) => {
            offer.notes.extend(network.iter().flat_map(|network| network.notes.iter().cloned()));
            offer.network = network;
        }
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            offer.notes.push(format!("the provider's network is not used: {error}{cause}"));
        }
    }
}

/// A network that is there and cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    /// The file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A value.
    #[error("`{0}`: {1}")]
    Wrong(PathBuf, Wrong),
}

/// Reads the network in the document at `path` with `read`; none when there is no such file.
pub(crate) fn network(
    path: &Path,
    parse: impl FnOnce(&Path, &[u8]) -> Result<Tree, ReadError>,
    read: impl FnOnce(&Tree) -> Result<Option<Network>, Wrong>,
) -> Result<Option<Network>, NetworkError> {
    let Some(bytes) = read::metadata(path)? else { return Ok(None) };
    read(&parse(path, &bytes)?).map_err(|wrong| NetworkError::Wrong(path.to_owned(), wrong))
}

/// Puts what a provider said of the box into an offer, cleaned.
pub(crate) fn fill(
    offer: &mut Offer,
    instance_id: Option<String>,
    hostname: Option<String>,
    public_keys: Vec<String>,
) {
    let id = instance_id.map(|id| id.trim().to_owned());
    offer.instance_id = id.filter(|id| !id.is_empty() && id.len() <= 256 && !id.contains(char::is_control));
    if let Some(given) = hostname.filter(|name| !name.trim().is_empty()) {
        offer.hostname = keys::hostname(&given);
        if offer.hostname.is_none() {
            offer.notes.push(format!("the host name {given:?} is none and is not used"));
        }
    }
    let (keys, dropped) = keys::clean(public_keys);
    offer.public_keys = keys;
    if dropped > 0 {
        offer.notes.push(format!("{dropped} line(s) among the provider's keys are no keys for sshd"));
    }
}
