//! NoCloud: `user-data` and `meta-data` in the root of a volume.
//!
//! Of `meta-data` the fields `instance-id`, `local-hostname` (or `hostname`) and `public-keys` are
//! read; the others are passed over.

pub(crate) mod network;

use std::fmt;
use std::path::Path;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{fill, fill_network, note_vendor_data};
use crate::{Channel, Offer, ReadError, read};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct MetaData {
    instance_id: Option<String>,
    local_hostname: Option<String>,
    hostname: Option<String>,
    public_keys: Option<Keys>,
}

/// What the provider says to cloud-init.
pub(crate) const VENDOR_DATA: &str = "vendor-data";

/// The keys that are read.
pub(crate) const KEYS: [&str; 4] = ["instance-id", "local-hostname", "hostname", "public-keys"];

impl MetaData {
    /// Puts it into an offer.
    pub(crate) fn fill(self, offer: &mut Offer) {
        let MetaData { instance_id, local_hostname, hostname, public_keys } = self;
        fill(offer, instance_id, local_hostname.or(hostname), public_keys.unwrap_or_default().0);
    }
}

/// One key, a list, a map by name, or EC2's map of maps: every text in it, however deep.
#[derive(Debug, Default)]
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
        deserializer.deserialize_any(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("public keys")
    }

    fn visit_str<E>(self, text: &str) -> Result<Keys, E> {
        Ok(Keys(vec![text.to_owned()]))
    }

    fn visit_unit<E>(self) -> Result<Keys, E> {
        Ok(Keys::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Keys, A::Error> {
        let mut keys = Keys::default();
        while let Some(Keys(more)) = items.next_element()? {
            keys.0.extend(more);
        }
        Ok(keys)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Keys, A::Error> {
        let mut keys = Keys::default();
        while let Some((IgnoredAny, Keys(more))) = entries.next_entry()? {
            keys.0.extend(more);
        }
        Ok(keys)
    }
}

/// What the volume mounted at `root` offers.
pub(crate) fn offer(root: &Path) -> Result<Option<Offer>, ReadError> {
    let mut offer = Offer::new(Channel::NoCloud);
    offer.user_data = read::user_data(&root.join("user-data"))?;
    let metadata = match metadata(&root.join("meta-data")) {
        Ok(metadata) => metadata,
        // User-data that can be had is worth more than what goes with it.
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
        metadata.fill(&mut offer);
    }
    fill_network(&mut offer, super::network(&root.join("network-config"), read::yaml, network::read));
    note_vendor_data(&mut offer, root, &[VENDOR_DATA]);
    Ok(Some(offer))
}

/// Reads `meta-data`; none when there is no such file.
pub(crate) fn metadata(path: &Path) -> Result<Option<MetaData>, ReadError> {
    read::metadata(path)?.map(|bytes| parse(path, &bytes)).transpose()
}

/// Reads the text of `meta-data`; `path` is what errors call it.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<MetaData, ReadError> {
    let wrong = |reason: String| {
        let reason = reason.lines().next().unwrap_or_default().to_owned();
        ReadError::Yaml { path: path.to_owned(), reason }
    };
    let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
    if text.trim().is_empty() {
        return Ok(MetaData::default());
    }
    serde_saphyr::from_str::<Option<MetaData>>(text)
        .map(Option::unwrap_or_default)
        .map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
#[path = "nocloud_tests.rs"]
mod tests;
