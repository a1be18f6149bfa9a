//! The box as it is, in what a plan is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::container::ContainerName;
use crate::healing::Millis;
use crate::network::HostConfig;
use crate::state::{InstanceRecord, VolumeRecord};

/// Everything that was observed.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Kernel boot id.
    pub boot: String,
    /// Kernel host name.
    pub hostname: String,
    /// What the admins' key file holds; `None` when it is missing.
    pub admin_keys: Option<Vec<String>>,
    /// Time servers that timesyncd was given; `None` before the first time.
    pub time_servers: Option<Vec<String>>,
    /// Settings that the network was given; `None` before the first time.
    pub network: Option<HostConfig>,
    /// The resolver's servers, in order.
    pub resolvers: Vec<IpAddr>,
    /// Ruleset in force, as a digest of its text; `None` before the first.
    pub firewall: Option<String>,
    /// Digests of the images in the store.
    pub images: BTreeSet<String>,
    /// What references in the store were last resolved to.
    pub references: BTreeMap<String, String>,
    /// References that were fetched and wait to be adopted.
    pub fetched: BTreeSet<String>,
    /// Fetches that were cut and had downloaded something, by [`crate::fingerprint::fetch`].
    pub downloads: BTreeSet<String>,
    /// References that come with the box, and as `REFERENCE@DIGEST` those pinned to what comes with it.
    pub embedded: BTreeSet<String>,
    /// Instances as recorded.
    pub records: BTreeMap<String, InstanceRecord>,
    /// Volumes as recorded.
    pub volumes: Vec<VolumeRecord>,
    /// Names of the secrets kept, by instance.
    pub secrets: BTreeMap<String, BTreeSet<String>>,
    /// Containers that left any trace: a unit, a bundle, a writable layer, a network namespace.
    pub containers: BTreeMap<ContainerName, ObservedContainer>,
    /// Indexes of the bridges that are there.
    pub bridges: BTreeSet<u32>,
}

impl Observed {
    /// The volume of that name.
    pub fn volume(&self, instance: &str, volume: &str) -> Option<&VolumeRecord> {
        self.volumes.iter().find(|v| v.instance == instance && v.name == volume)
    }

    /// What is known of a container, which is nothing where it left no trace.
    pub fn container(&self, name: &ContainerName) -> ObservedContainer {
        self.containers.get(name).cloned().unwrap_or_default()
    }
}

/// What a container left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedContainer {
    /// Its unit.
    pub unit: UnitState,
    /// Fingerprint of the configuration in its bundle.
    pub bundle: Option<String>,
    /// Fingerprint of the configuration that its writable layer belongs to.
    pub layer: Option<String>,
    /// What its hosts file says.
    pub hosts: Option<String>,
    /// What its resolver's file says.
    pub resolver: Option<String>,
    /// Whether it was started from this bundle before.
    pub started: bool,
    /// Whether its network namespace is there.
    pub attached: bool,
}

/// Where a unit stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UnitState {
    /// Not there, or ended.
    #[default]
    Absent,
    /// Ended, and systemd remembers how.
    Ended(Exit),
    /// On its way up.
    Starting,
    /// Up.
    Running {
        /// Main process on the host.
        pid: Option<u32>,
        /// When it came up.
        since: Millis,
    },
    /// On its way down.
    Stopping,
}

impl UnitState {
    /// Whether nothing of it runs.
    pub fn is_down(&self) -> bool {
        matches!(self, UnitState::Absent | UnitState::Ended(_))
    }
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Killed for want of memory.
    OutOfMemory,
}

impl Exit {
    /// Whether it ended well.
    pub fn is_success(self) -> bool {
        self == Exit::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exited with {code}"),
            Exit::Signal(signal) => write!(f, "killed by signal {signal}"),
            Exit::OutOfMemory => f.write_str("ran out of memory"),
        }
    }
}
