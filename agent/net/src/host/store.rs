//! What outlives a reboot, on data: leases, and the last settings whose gateway answered. What
//! outlives the agent alone, in `/run`: settings whose gateway was silent.
//!
//! A file that cannot be read counts as missing, with a line in the log: DHCP then asks for any
//! address. Data that cannot be written costs no network.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use agent_core::network::{InterfaceConfig, Mac};
use agent_system::files;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dhcp::Lease;
use crate::dhcp::lease::{FORMAT, KeptLease};

/// Largest file that is read.
const LIMIT: u64 = 256 * 1024;

/// The directories.
#[derive(Clone, Debug)]
pub(super) struct Store {
    directory: PathBuf,
    volatile: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct KeptSettings {
    format: u32,
    settings: InterfaceConfig,
}

impl Store {
    pub(super) fn new(directory: PathBuf, volatile: PathBuf) -> Store {
        Store { directory, volatile }
    }

    /// The lease of a NIC, if it has not ended.
    pub(super) fn lease(&self, mac: Mac) -> Option<Lease> {
        let kept: KeptLease = self.read(&path(&self.directory, "lease", mac))?;
        let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        if kept.format == FORMAT { kept.now(now) } else { None }
    }

    pub(super) fn keep_lease(&self, mac: Mac, lease: Lease) {
        let acknowledged = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        self.write(&path(&self.directory, "lease", mac), &KeptLease { format: FORMAT, acknowledged, lease });
    }

    pub(super) fn forget_lease(&self, mac: Mac) {
        if let Err(error) = files::remove(path(&self.directory, "lease", mac)) {
            tracing::warn!(%mac, %error, "a void lease stays on data");
        }
    }

    /// The last settings of a NIC whose gateway answered.
    pub(super) fn last_good(&self, mac: Mac) -> Option<InterfaceConfig> {
        self.settings(&path(&self.directory, "good", mac))
    }

    pub(super) fn keep_good(&self, mac: Mac, settings: &InterfaceConfig) {
        self.keep_settings(&path(&self.directory, "good", mac), settings);
    }

    /// The settings of a NIC whose gateway was silent in this boot.
    pub(super) fn silent(&self, mac: Mac) -> Option<InterfaceConfig> {
        self.settings(&path(&self.volatile, "silent", mac))
    }

    pub(super) fn keep_silent(&self, mac: Mac, settings: &InterfaceConfig) {
        self.keep_settings(&path(&self.volatile, "silent", mac), settings);
    }

    pub(super) fn forget_silent(&self, mac: Mac) {
        if let Err(error) = files::remove(path(&self.volatile, "silent", mac)) {
            tracing::warn!(%mac, %error, "what was found out stays in /run");
        }
    }

    fn settings(&self, path: &Path) -> Option<InterfaceConfig> {
        let kept: KeptSettings = self.read(path)?;
        (kept.format == FORMAT).then_some(kept.settings)
    }

    fn keep_settings(&self, path: &Path, settings: &InterfaceConfig) {
        if self.settings(path).as_ref() != Some(settings) {
            self.write(path, &KeptSettings { format: FORMAT, settings: settings.clone() });
        }
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
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

    fn write<T: Serialize>(&self, path: &Path, value: &T) {
        let directory = path.parent().unwrap_or(path);
        let written = files::create_dir_all(directory, files::Access::mode(0o755)).and_then(|_| {
            let bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
            files::write_atomic(path, bytes, 0o600)
        });
        if let Err(error) = written {
            tracing::warn!(%error, "this is not kept for the next boot");
        }
    }
}

fn path(directory: &Path, kind: &str, mac: Mac) -> PathBuf {
    directory.join(format!("{kind}-{}.json", mac.to_string().replace(':', "")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::lease::tests::lease;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn leases_and_settings_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("network"), directory.path().join("run"));
        assert_eq!(store.lease(MAC), None);
        store.keep_lease(MAC, lease());
        assert_eq!(store.lease(MAC).map(|kept| kept.address), Some(lease().address));
        assert_eq!(store.lease(Mac([2, 0, 0, 0, 0, 2])), None);
        store.forget_lease(MAC);
        assert_eq!(store.lease(MAC), None);
        let settings = InterfaceConfig::automatic("ens3");
        store.keep_good(MAC, &settings);
        assert_eq!(store.last_good(MAC), Some(settings.clone()));
        assert_eq!(store.silent(MAC), None);
        store.keep_silent(MAC, &settings);
        assert_eq!(store.silent(MAC), Some(settings));
        store.forget_silent(MAC);
        assert_eq!(store.silent(MAC), None);
    }

    #[test]
    fn what_is_not_understood_counts_as_missing() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().to_owned(), directory.path().to_owned());
        store.keep_lease(MAC, lease());
        let path = path(directory.path(), "lease", MAC);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
        assert_eq!(store.lease(MAC), None);
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert_eq!(store.lease(MAC), None);
    }
}
