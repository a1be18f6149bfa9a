//! Tells configurations apart.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::container::{Allocation, ContainerConfig};

/// 64 hexadecimal digits that change when `value` does. Kept as private as the value, which may hold
/// secrets.
pub fn fingerprint<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_vec(value).expect("plain data serialises");
    Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Changes when a container has to be made anew: for its configuration, its image, or its own ids and
/// addresses. Siblings' addresses are in its hosts file, which is written while it runs.
pub fn container(config: &ContainerConfig, digest: &str, allocation: &Allocation) -> String {
    let own = allocation.addresses.get(&config.name.container);
    fingerprint(&(config, digest, allocation.id_base, allocation.gateway4, allocation.gateway6, own))
}

/// Names the fetch of a reference: its folder and its unit.
pub fn fetch(reference: &str) -> String {
    fingerprint(&reference)[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn follows_the_value() {
        let one = fingerprint(&BTreeMap::from([("a", 1), ("b", 2)]));
        assert_eq!(one, fingerprint(&BTreeMap::from([("b", 2), ("a", 1)])));
        assert_ne!(one, fingerprint(&BTreeMap::from([("a", 1), ("b", 3)])));
        assert_eq!(one.len(), 64);
    }
}
