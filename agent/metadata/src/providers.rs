//! One module per kind of provider. `Ok(None)` means "not offered".

pub(crate) mod digitalocean;
pub(crate) mod nocloud;
pub(crate) mod openstack;
pub(crate) mod qemu;

use crate::{Offer, keys};

/// Said of a document that this version does not read.
const NETWORK_NOTE: &str = "the provider's network document is ignored in this version";

/// Said of data that the provider's own software is meant to read.
pub(crate) fn vendor_note(name: &str) -> String {
    format!("`{name}` is the provider's and is ignored")
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
        offer.notes.push(format!("{dropped} line(s) among the provider's keys are no keys"));
    }
}
