//! What outlives a reboot, on data: leases, and the last settings whose gateway answered.
//!
//! A file that cannot be read counts as missing, with a line in the log: DHCP then asks for any
//! address. Data that cannot be written costs no network.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use agent_core::network::{InterfaceConfig, Mac};
use agent_system::files;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dhcp::Lease;
use crate::dhcp::lease::{FORMAT, KeptLease};

/// Largest file that is read.
const LIMIT: u64 = 256 * 1024;

/// The directory.
#[derive(Clone, Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct LastGood {
    format: u32,
    settings: InterfaceConfig,
}

impl Store {
    pub(super) fn new(directory: PathBuf) -> Store {
        Store { directory }
    }

    /// The lease of a NIC, if it has not ended.
    pub(super) fn lease(&self, mac: Mac) -> Option<Lease> {
        let kept: KeptLease = self.read(&self.path("lease", mac))?;
        let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        if kept.format == FORMAT { kept.now(now) } else { None }
    }

    pub(super) fn keep_lease(&self, mac: Mac, lease: Lease) {
        let acknowledged = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        self.write(&self.path("lease", mac), &KeptLease { format: FORMAT, acknowledged, lease });
    }

    pub(super) fn forget_lease(&self, mac: Mac) {
        if let Err(error) = files::remove(self.path("lease", mac)) {
            tracing::warn!(%mac, %error, "a void lease stays on data");
        }
    }

    /// The last settings of a NIC whose gateway answered.
    pub(super) fn last_good(&self, mac: Mac) -> Option<InterfaceConfig> {
        let kept: LastGood = self.read(&self.path("good", mac))?;
        (kept.format == FORMAT).then_some(kept.settings)
    }

    pub(super) fn keep_good(&self, mac: Mac, settings: &InterfaceConfig) {
        if self.last_good(mac).as_ref() != Some(settings) {
            self.write(&self.path("good", mac), &LastGood { format: FORMAT, settings: settings.clone() });
        }
    }

    fn path(&self, kind: &str, mac: Mac) -> PathBuf {
        self.directory.join(format!("{kind}-{}.json", mac.to_string().replace(':', "")))
    }

    fn read<T: DeserializeOwned>(&self, path: &PathBuf) -> Option<T> {
        let bytes = files::read_optional(path, LIMIT).unwrap_or_else(|error| {
            tracing::warn!(%error, "what was kept is passed over");
            None
        })?;
        serde_json::from_slice(&bytes)
            .inspect_err(
                |error| tracing::warn!(path = %path.display(), %error, "what was kept is passed over"),
            )
            .ok()
    }

    fn write<T: Serialize>(&self, path: &PathBuf, value: &T) {
        let written = files::create_dir_all(&self.directory, files::Access::mode(0o755)).and_then(|_| {
            let bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
            files::write_atomic(path, bytes, 0o600)
        });
        if let Err(error) = written {
            tracing::warn!(%error, "this is not kept for the next boot");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::lease::tests::lease;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn leases_and_settings_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("network"));
        assert_eq!(store.lease(MAC), None);
        store.keep_lease(MAC, lease());
        assert_eq!(store.lease(MAC).map(|kept| kept.address), Some(lease().address));
        assert_eq!(store.lease(Mac([2, 0, 0, 0, 0, 2])), None);
        store.forget_lease(MAC);
        assert_eq!(store.lease(MAC), None);
        let settings = InterfaceConfig::automatic("ens3");
        store.keep_good(MAC, &settings);
        assert_eq!(store.last_good(MAC), Some(settings));
    }

    #[test]
    fn what_is_not_understood_counts_as_missing() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().to_owned());
        store.keep_lease(MAC, lease());
        let path = store.path("lease", MAC);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
        assert_eq!(store.lease(MAC), None);
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert_eq!(store.lease(MAC), None);
    }
}
