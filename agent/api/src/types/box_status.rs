//! The state of the box.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Container, Diagnostic, UpdateStatus};

/// Whether all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Everything that should run runs.
    Healthy,
    /// Work is under way.
    Settling,
    /// Something does not work; the rest does.
    Degraded,
}

/// The whole box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The worst of everything below.
    pub health: Health,
    /// What is wrong, one sentence each; empty when healthy.
    pub problems: Vec<String>,
    /// What deserves a look but is no fault: a port open to the internet, a container without a user
    /// namespace.
    pub warnings: Vec<String>,
    /// Host name.
    pub hostname: String,
    /// Version of the image.
    pub version: String,
    /// Seconds since the kernel started.
    pub uptime: u64,
    /// Where user-data came from and whether it was accepted.
    pub user_data: UserDataStatus,
    /// Instances by name.
    pub instances: Vec<Instance>,
    /// Containers of all instances.
    pub containers: Vec<Container>,
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
    /// Ports published on the box.
    pub ports: Vec<PublishedPort>,
    /// Clock synchronisation.
    pub time: TimeStatus,
    /// The data file system.
    pub disk: Disk,
    /// Memory of the box.
    pub memory: Memory,
    /// The slots.
    pub slots: Slots,
    /// Updates of the box.
    pub update: UpdateStatus,
    /// SHA256 fingerprints of the SSH host keys.
    pub host_keys: Vec<String>,
}

/// Where the settings came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserDataStatus {
    /// `nocloud`, `config-drive`, `fw-cfg`, `smbios`, `apply`; absent: none was offered.
    pub channel: Option<String>,
    /// Number of the accepted generation that is in force; 0 for none.
    pub generation: u64,
    /// Why the newest document was not accepted.
    pub errors: Vec<Diagnostic>,
    /// What was offered and is not used, as network documents of the provider.
    pub notes: Vec<String>,
}

/// An instance of a recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Name of its recipe.
    pub recipe: String,
    /// State of its containers and steps together.
    pub health: Health,
    /// Why it is degraded, or what it waits for.
    pub reason: Option<String>,
    /// Steps and how they stand.
    pub steps: Vec<Step>,
}

/// An ordered piece of work of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// Why it failed.
    pub reason: Option<String>,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Not started yet.
    Pending,
    /// Under way.
    Running,
    /// Done.
    Succeeded,
    /// Its tries are used up.
    Failed,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Hardware address.
    pub mac: String,
    /// Whether there is a carrier.
    pub up: bool,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
    /// Gateways of its default routes.
    pub gateways: Vec<String>,
    /// `dhcp`, `static`, `provider`, `last-good`, `fallback`, `none`.
    pub source: String,
    /// Name servers that it brings.
    #[serde(default)]
    pub dns: Vec<String>,
    /// Bytes.
    #[serde(default)]
    pub mtu: u32,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// A port published on the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublishedPort {
    /// `INSTANCE.CONTAINER`.
    pub container: String,
    /// Address on the box; absent: every address.
    pub address: Option<String>,
    /// Port on the box.
    pub host: u16,
    /// Port in the container.
    pub to: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Whether anyone who reaches the box reaches it.
    pub open: bool,
}

/// Clock synchronisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimeStatus {
    /// Now, RFC 3339 in UTC.
    pub now: String,
    /// Whether a time server has set the clock.
    pub synchronized: bool,
    /// The server in use.
    pub server: Option<String>,
}

/// The data file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disk {
    /// Bytes.
    pub size: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes free to containers.
    pub available: u64,
}

/// Memory of the box, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Memory {
    /// What the kernel has to give out.
    pub total: u64,
    /// What could be given to new work.
    pub available: u64,
    /// Sum of the processes' proportional set sizes.
    pub pss: u64,
    /// Kernel slab.
    pub slab: u64,
    /// What the kernel took for itself before anything ran, with page tables and stacks.
    pub kernel: u64,
}

/// The slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Slots {
    /// The one that runs: `a` or `b`.
    pub running: String,
    /// The one that is tried first at the next boot.
    pub next: String,
    /// The one that last proved healthy.
    pub good: String,
    /// Tries left, by slot.
    pub tries: BTreeMap<String, u8>,
}

/// Versions of agent and image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Of the agent.
    pub agent: String,
    /// Of the image.
    pub image: String,
}
