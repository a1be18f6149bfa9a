//! What outlives a reboot, on data: leases, and the last settings whose gateway answered. What
//! outlives the agent alone, in `/run`: settings that led nowhere, and MTUs before they were changed.
//!
//! A file that cannot be read counts as missing, with a line in the log: DHCP then asks for any
//! address. Data that cannot be written costs no network.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use agent_core::network::{InterfaceConfig, Mac};
use agent_system::files;
use nix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dhcp::lease::{Ages, FORMAT, KeptLease, Uptime};
use crate::links::Link;

/// A lease of DHCP.
pub(super) const LEASE: &str = "lease";
/// A lease of DHCPv6.
pub(super) const LEASE6: &str = "lease6";

/// The kernel's name for this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

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

    /// The lease of a link, if it has not ended.
    pub(super) fn lease<L: Ages + DeserializeOwned>(&self, kind: &str, key: &str) -> Option<L> {
        let kept: KeptLease<L> = self.read(&path(&self.directory, kind, key))?;
        let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        if kept.format == FORMAT { kept.now(now, uptime().as_ref()) } else { None }
    }

    pub(super) fn keep_lease<L: Serialize>(&self, kind: &str, key: &str, lease: L) {
        let acknowledged = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let kept = KeptLease { format: FORMAT, acknowledged, uptime: uptime(), lease };
        self.write(&path(&self.directory, kind, key), &kept);
    }

    pub(super) fn forget_lease(&self, kind: &str, key: &str) {
        if let Err(error) = files::remove(path(&self.directory, kind, key)) {
            tracing::warn!(key, %error, "a void lease stays on data");
        }
    }

    /// The last settings of a link whose gateway answered.
    pub(super) fn last_good(&self, key: &str) -> Option<InterfaceConfig> {
        self.settings(&path(&self.directory, "good", key))
    }

    pub(super) fn keep_good(&self, key: &str, settings: &InterfaceConfig) {
        self.keep_settings(&path(&self.directory, "good", key), settings);
    }

    /// Settings that led nowhere in this boot.
    pub(super) fn silent(&self, key: &str) -> Option<InterfaceConfig> {
        self.settings(&path(&self.volatile, "silent", key))
    }

    pub(super) fn keep_silent(&self, key: &str, settings: &InterfaceConfig) {
        self.keep_settings(&path(&self.volatile, "silent", key), settings);
    }

    pub(super) fn forget_silent(&self, key: &str) {
        if let Err(error) = files::remove(path(&self.volatile, "silent", key)) {
            tracing::warn!(key, %error, "what was found out stays in /run");
        }
    }

    /// The MTU that a link had before settings or a lease changed it in this boot.
    pub(super) fn own_mtu(&self, key: &str) -> Option<u32> {
        self.read(&path(&self.volatile, "mtu", key))
    }

    pub(super) fn keep_own_mtu(&self, key: &str, mtu: u32) {
        self.write(&path(&self.volatile, "mtu", key), &mtu);
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

/// What is kept of a NIC is named by its hardware address, which it shares with what stands on it: of a
/// device by its name.
pub(super) fn key(link: &Link, mac: Mac) -> String {
    if link.is_device() { format!("device-{}", link.name) } else { mac.to_string().replace(':', "") }
}

/// This moment of this boot; none where the kernel does not say which boot it is.
fn uptime() -> Option<Uptime> {
    let boot = files::read_text(BOOT_ID, 64).ok()?.trim().to_owned();
    let since = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
    Some(Uptime { boot, seconds: since.as_secs() })
}

fn path(directory: &Path, kind: &str, key: &str) -> PathBuf {
    directory.join(format!("{kind}-{key}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::Lease;
    use crate::dhcp::lease::tests::lease;

    const KEY: &str = "020000000001";

    #[test]
    fn leases_and_settings_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("network"), directory.path().join("run"));
        assert_eq!(store.lease::<Lease>(LEASE, KEY), None);
        store.keep_lease(LEASE, KEY, lease());
        assert_eq!(store.lease(LEASE, KEY).map(|kept: Lease| kept.address), Some(lease().address));
        assert_eq!(store.lease::<Lease>(LEASE, "020000000002"), None);
        store.forget_lease(LEASE, KEY);
        assert_eq!(store.lease::<Lease>(LEASE, KEY), None);
        let settings = InterfaceConfig::automatic("ens3");
        store.keep_good(KEY, &settings);
        assert_eq!(store.last_good(KEY), Some(settings.clone()));
        assert_eq!(store.silent(KEY), None);
        store.keep_silent(KEY, &settings);
        assert_eq!(store.silent(KEY), Some(settings));
        store.forget_silent(KEY);
        assert_eq!(store.silent(KEY), None);
    }

    #[test]
    fn a_clock_that_is_set_ends_no_lease_of_this_boot() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().to_owned(), directory.path().to_owned());
        store.keep_lease(LEASE, KEY, lease());
        let path = path(directory.path(), LEASE, KEY);
        let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        file["acknowledged"] = 1000.into();
        std::fs::write(&path, file.to_string()).unwrap();
        assert_eq!(store.lease(LEASE, KEY).map(|kept: Lease| kept.address), Some(lease().address));
        file["uptime"]["boot"] = "another".into();
        std::fs::write(&path, file.to_string()).unwrap();
        assert_eq!(store.lease::<Lease>(LEASE, KEY), None);
    }

    #[test]
    fn what_is_not_understood_counts_as_missing() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().to_owned(), directory.path().to_owned());
        store.keep_lease(LEASE, KEY, lease());
        let path = path(directory.path(), LEASE, KEY);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
        assert_eq!(store.lease::<Lease>(LEASE, KEY), None);
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert_eq!(store.lease::<Lease>(LEASE, KEY), None);
    }
}
