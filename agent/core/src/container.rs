//! A container as it should run: a recipe's container with every template rendered, every name
//! resolved and every default filled in, but for what only the image knows.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use recipes::Secret;
use serde::{Deserialize, Serialize};

/// The systemd slice that all containers are in.
pub const SLICE: &str = "containers.slice";

/// How a container is addressed: `INSTANCE.CONTAINER`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerName {
    /// Name of the instance.
    pub instance: String,
    /// Name of the container (or of the one-off step) in it.
    pub container: String,
}

impl ContainerName {
    /// Joins the two.
    pub fn new(instance: impl Into<String>, container: impl Into<String>) -> ContainerName {
        ContainerName { instance: instance.into(), container: container.into() }
    }

    /// Reads `INSTANCE.CONTAINER`.
    pub fn parse(text: &str) -> Option<ContainerName> {
        let (instance, container) = text.split_once('.')?;
        (!instance.is_empty() && !container.is_empty() && !container.contains('.'))
            .then(|| ContainerName::new(instance, container))
    }

    /// The systemd unit that runs it.
    pub fn unit(&self) -> String {
        format!("holdfast-{self}.service")
    }

    /// The unit's cgroup, from the root of all.
    pub fn cgroup(&self) -> String {
        format!("/{SLICE}/{}", self.unit())
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.instance, self.container)
    }
}

/// A container as it should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Its name.
    pub name: ContainerName,
    /// Full image reference as the recipe has it.
    pub image: String,
    /// Replaces the image's entrypoint; without `command` it drops the image's command too.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Added to the image's environment.
    pub env: BTreeMap<String, Secret>,
    /// Files `/run/secrets/NAME`, 0400, of the container's user.
    pub secrets: BTreeMap<String, Secret>,
    /// Files given by the recipe, by absolute path.
    pub files: BTreeMap<String, FileConfig>,
    /// Volumes mounted in it, by absolute path inside.
    pub volumes: BTreeMap<String, VolumeMount>,
    /// Paths of empty tmpfs mounts.
    pub tmpfs: Vec<String>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// `UID[:GID]` or names looked up in the image's passwd; absent: the image's.
    pub user: Option<String>,
    /// Absent: the image's.
    pub working_dir: Option<String>,
    /// Whether the root is read-only.
    pub read_only: bool,
    /// Limit in bytes.
    pub memory: Option<u64>,
    /// Limit in thousandths of a CPU.
    pub millicpus: Option<u64>,
    /// Limit on processes and threads.
    pub pids: u64,
    /// Capabilities beyond Podman's default set, without `CAP_`.
    pub cap_add: Vec<String>,
    /// Whether it has a user namespace of its own.
    pub userns: Userns,
    /// All capabilities, no seccomp, no masked paths.
    pub privileged: bool,
    /// `SIGTERM`, …; absent: the image's, else SIGTERM.
    pub stop_signal: Option<String>,
    /// Milliseconds from the stop signal to KILL.
    pub stop_timeout_ms: u64,
}

/// Whether a container has a user namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Userns {
    /// Its instance's id range.
    Auto,
    /// The host's ids.
    Host,
}

/// A file given by the recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileConfig {
    /// What it holds; may be made from a secret.
    pub content: Secret,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
}

/// A volume in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// The volume's directory on the box, absolute.
    pub source: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// Address on the box; absent: every address.
    pub address: Option<IpAddr>,
    /// Port on the box.
    pub host: u16,
    /// Port in the container.
    pub container: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// Transport of a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What an instance was given when it was created, recorded and never reused while its volumes live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// First host id of the instance's range of 65,536, for users and groups alike.
    pub id_base: u32,
    /// Names the bridge `hf-INDEX`, at most 15 bytes with prefix.
    pub index: u32,
    /// The bridge's address; the instance has the /24 around it.
    pub gateway4: Ipv4Addr,
    /// The bridge's address; the instance has the /64 around it.
    pub gateway6: Ipv6Addr,
    /// Each container's addresses.
    pub addresses: BTreeMap<String, (Ipv4Addr, Ipv6Addr)>,
}

impl Allocation {
    /// `/etc/hosts` of the container `own`: itself, then the others of its instance by name.
    pub fn hosts_file(&self, own: &str) -> String {
        let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
        let others = self.addresses.iter().filter(|(name, _)| *name != own);
        for (name, (v4, v6)) in self.addresses.get_key_value(own).into_iter().chain(others) {
            // A String takes everything.
            let _ = write!(text, "{v4} {name}\n{v6} {name}\n");
        }
        text
    }
}
