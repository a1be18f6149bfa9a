//! The bundle of a container: the OCI runtime configuration and the files that are bound into it.
//!
//! [`build`] is a pure function of what should run, the image and what the instance was given; equal
//! input gives equal bytes. [`write()`] puts a bundle in place. The shim's own instructions are annotations,
//! as `agent-shim` documents them; it looks nothing else up.
//!
//! Invariants: capabilities are always listed (left out, all would stay); memory is never swapped and
//! a container that runs out of it is killed whole; devices are denied unless listed; there is no network
//! namespace in the configuration, since the shim is started inside the container's.

mod linux;
mod mounts;
mod process;
mod seccomp;
mod user;
mod write;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use agent_core::container::Userns;
use agent_core::{Allocation, ContainerConfig, ContainerName, Secret};
use serde_json::{Value, json};

pub use seccomp::SeccompProfile;
pub use user::{User, UserError};
pub use write::{BundleError, remove, write};

use crate::ImageRecord;

/// Ids in an instance's range.
pub const IDS: u32 = 65_536;

/// Folders that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Of the store's layers.
    pub layers: PathBuf,
    /// That has a folder for each container's changes to its root.
    pub containers: PathBuf,
    /// Of the bundles.
    pub bundles: PathBuf,
}

impl Folders {
    /// The folder of a container's bundle.
    pub fn bundle(&self, name: &ContainerName) -> PathBuf {
        self.bundles.join(name.to_string())
    }

    /// The folder of what a container changed in its root.
    pub fn upper(&self, name: &ContainerName) -> PathBuf {
        self.containers.join(name.to_string())
    }
}

impl Default for Folders {
    /// Where the box has them.
    fn default() -> Folders {
        let state = Path::new("/var/lib/holdfast");
        Folders {
            layers: state.join("images/layers"),
            containers: state.join("containers"),
            bundles: PathBuf::from("/run/holdfast/bundles"),
        }
    }
}

/// What a bundle is made from.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// What should run.
    pub config: &'a ContainerConfig,
    /// The image that its reference was resolved to.
    pub image: &'a ImageRecord,
    /// What its instance was given.
    pub allocation: &'a Allocation,
    /// Where things are.
    pub folders: &'a Folders,
    /// Which system calls are allowed with which capabilities.
    pub seccomp: &'a SeccompProfile,
    /// Name servers that the container can reach.
    pub dns: &'a [IpAddr],
}

/// A bundle, not yet written.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Its folder.
    pub path: PathBuf,
    /// `config.json`.
    pub config: Value,
    /// The user that the container runs as.
    pub user: User,
    /// Signal that asks it to stop.
    pub stop_signal: String,
    /// Files in the folder.
    pub files: Vec<BundleFile>,
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFile {
    /// Relative to the bundle.
    pub path: PathBuf,
    /// What it holds.
    pub content: Secret,
    /// Permission bits.
    pub mode: u32,
    /// Host ids of its owner.
    pub owner: (u32, u32),
}

/// Why a container cannot run as asked.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SpecError {
    #[error("container `{0}`: neither the recipe nor the image says what to run")]
    NoCommand(ContainerName),
    #[error("container `{name}`: {source}")]
    User { name: ContainerName, source: UserError },
    #[error("container `{name}`: id {id} is not below {IDS}")]
    Id { name: ContainerName, id: u32 },
    #[error("container `{name}`: working directory `{path}` is not absolute")]
    WorkingDir { name: ContainerName, path: String },
    #[error("container `{name}`: `{capability}` is not a capability")]
    Capability { name: ContainerName, capability: String },
    #[error("container `{name}`: `{path}` cannot be mounted on")]
    Mount { name: ContainerName, path: String },
}

/// Makes the bundle of a container.
pub fn build(input: &Input<'_>) -> Result<Bundle, SpecError> {
    let config = input.config;
    let user = user::resolve(
        config.user.as_deref().unwrap_or(&input.image.config.user),
        input.image.passwd.as_deref().unwrap_or_default(),
        input.image.group.as_deref().unwrap_or_default(),
    )
    .map_err(|source| SpecError::User { name: config.name.clone(), source })?;
    let owners = Owners { name: &config.name, base: base(input) };
    for id in [user.uid, user.gid].into_iter().chain(user.groups.iter().copied()) {
        owners.host(id)?;
    }
    let path = input.folders.bundle(&config.name);
    let (mounts, files) = mounts::build(input, &path, &user, &owners)?;
    let stop_signal = config
        .stop_signal
        .clone()
        .or_else(|| Some(input.image.config.stop_signal.clone()).filter(|signal| !signal.is_empty()))
        .unwrap_or_else(|| "SIGTERM".to_owned());
    let document = json!({
        "ociVersion": "1.2.0",
        "hostname": config.name.container,
        "root": { "path": "rootfs", "readonly": config.read_only },
        "process": process::build(input, &user)?,
        "mounts": mounts,
        "linux": linux::build(input)?,
        "annotations": annotations(input, &stop_signal),
    });
    Ok(Bundle { path, config: document, user, stop_signal, files })
}

/// Host id of the container's 0; `None` without a user namespace.
fn base(input: &Input<'_>) -> Option<u32> {
    match input.config.userns {
        Userns::Auto => Some(input.allocation.id_base),
        Userns::Host => None,
    }
}

/// Maps the container's ids to the host's.
struct Owners<'a> {
    name: &'a ContainerName,
    base: Option<u32>,
}

impl Owners<'_> {
    fn host(&self, id: u32) -> Result<u32, SpecError> {
        match self.base {
            None => Ok(id),
            Some(base) if id < IDS => Ok(base + id),
            Some(_) => Err(SpecError::Id { name: self.name.clone(), id }),
        }
    }
}

fn annotations(input: &Input<'_>, stop_signal: &str) -> Value {
    let layers: Vec<PathBuf> = input
        .image
        .visible_layers()
        .map(|layer| input.folders.layers.join(format!("{}.erofs", layer.name)))
        .collect();
    let volumes: Vec<Value> = input
        .config
        .volumes
        .iter()
        .map(|(destination, volume)| {
            json!({ "source": volume.source, "destination": destination, "read_only": volume.read_only })
        })
        .collect();
    let mut annotations = json!({
        "org.holdfast.layers": json!(layers).to_string(),
        "org.holdfast.upper": input.folders.upper(&input.config.name),
        "org.holdfast.volumes": json!(volumes).to_string(),
        "org.holdfast.stop-signal": stop_signal,
        "org.holdfast.stop-timeout": input.config.stop_timeout_ms.to_string(),
    });
    if let Some(base) = base(input) {
        annotations["org.holdfast.idmap"] = json!(format!("{base}:{IDS}"));
    }
    annotations
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
