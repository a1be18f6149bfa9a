//! What must hold of a bundle's `config.json`, and the one that libcontainer gets instead of it.
//!
//! [`check`] refuses what would run with less protection than it seems to ask for. [`for_runtime`]
//! replaces every source of a mount by something the shim has prepared, so that nothing is looked
//! up by the container's own, unprivileged ids.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount, Spec};
use thiserror::Error;

use crate::annotations::{Annotations, IdMap, Volume};

/// Searched where the container's environment names no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A configuration that is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SpecError {
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`org.holdfast.upper` is missing, and the root is not read-only")]
    NoUpper,
    #[error("`linux.cgroupsPath` `{}` is not absolute", .0.display())]
    CgroupsPath(PathBuf),
    #[error("a network namespace is listed: the shim is to be started inside it instead")]
    NetworkNamespace,
    #[error("a user namespace is listed without `org.holdfast.idmap`, or the other way round")]
    UserNamespace,
    #[error("`linux.{0}` differs from `org.holdfast.idmap`")]
    Mappings(&'static str),
}

/// Checks what the shim relies on and what would silently protect less.
pub(crate) fn check(spec: &Spec, annotations: &Annotations) -> Result<(), SpecError> {
    let process = spec.process().as_ref().ok_or(SpecError::Missing("process"))?;
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(SpecError::Missing("process.args"));
    }
    // Left out, every capability would stay.
    if process.capabilities().is_none() {
        return Err(SpecError::Missing("process.capabilities"));
    }
    let read_only = spec.root().as_ref().ok_or(SpecError::Missing("root"))?.readonly();
    if annotations.upper.is_none() && read_only != Some(true) {
        return Err(SpecError::NoUpper);
    }
    let linux = spec.linux().as_ref().ok_or(SpecError::Missing("linux"))?;
    let cgroup = linux.cgroups_path().as_ref().ok_or(SpecError::Missing("linux.cgroupsPath"))?;
    if !cgroup.is_absolute() || cgroup == Path::new("/") {
        return Err(SpecError::CgroupsPath(cgroup.clone()));
    }

    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    let lists = |kind| namespaces.iter().any(|namespace| namespace.typ() == kind);
    for (kind, name) in [
        (LinuxNamespaceType::Mount, "the mount namespace in `linux.namespaces`"),
        (LinuxNamespaceType::Pid, "the PID namespace in `linux.namespaces`"),
    ] {
        if !lists(kind) {
            return Err(SpecError::Missing(name));
        }
    }
    if lists(LinuxNamespaceType::Network) {
        return Err(SpecError::NetworkNamespace);
    }
    if lists(LinuxNamespaceType::User) != annotations.id_map.is_some() {
        return Err(SpecError::UserNamespace);
    }
    if let Some(map) = annotations.id_map {
        check_mappings("uidMappings", linux.uid_mappings().as_deref(), map)?;
        check_mappings("gidMappings", linux.gid_mappings().as_deref(), map)?;
    }
    Ok(())
}

fn check_mappings(
    name: &'static str,
    mappings: Option<&[LinuxIdMapping]>,
    map: IdMap,
) -> Result<(), SpecError> {
    match mappings {
        Some([one]) if one.container_id() == 0 && one.host_id() == map.base && one.size() == map.size => {
            Ok(())
        }
        _ => Err(SpecError::Mappings(name)),
    }
}

/// Where the shim puts what it prepares, all below one folder.
pub(crate) struct Scratch<'a>(pub(crate) &'a Path);

impl Scratch<'_> {
    /// The merged root.
    pub(crate) fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// The fresh sysfs.
    pub(crate) fn sys(&self) -> PathBuf {
        self.0.join("sys")
    }

    /// The bind mount with this place in `mounts`.
    pub(crate) fn bind(&self, index: usize) -> PathBuf {
        self.0.join(format!("bind-{index}"))
    }

    /// The volume with this place in the annotation.
    pub(crate) fn volume(&self, index: usize) -> PathBuf {
        self.0.join(format!("volume-{index}"))
    }

    /// The layer with this place from the top.
    pub(crate) fn lower(&self, index: usize) -> PathBuf {
        self.0.join(format!("lower-{index}"))
    }
}

/// Whether a mount binds something, and if so, whether with what is mounted below it.
pub(crate) fn bind_kind(mount: &Mount) -> Option<bool> {
    let options = mount.options().as_deref().unwrap_or_default();
    let has = |name: &str| options.iter().any(|option| option == name);
    if has("rbind") {
        return Some(true);
    }
    (has("bind") || mount.typ().as_deref() == Some("bind")).then_some(false)
}

/// Whether the filter of system calls can be loaded last of all, by the shim's own hand: that needs
/// that new privileges are refused, as the capabilities are gone by then.
pub(crate) fn filtered_late(spec: &Spec) -> bool {
    spec.process().as_ref().is_some_and(|process| process.no_new_privileges() == Some(true))
}

/// The configuration for libcontainer.
pub(crate) fn for_runtime(spec: &Spec, volumes: &[Volume], scratch: &Scratch<'_>, home: &str) -> Spec {
    let mut spec = spec.clone();
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for (index, mount) in mounts.iter_mut().enumerate() {
        if bind_kind(mount).is_some() {
            mount.set_typ(Some("bind".to_owned())).set_source(Some(scratch.bind(index)));
        } else if mount.typ().as_deref() == Some("sysfs") {
            *mount = bind(&scratch.sys(), mount.destination(), &["ro", "nosuid", "nodev", "noexec"]);
        }
    }
    for (index, volume) in volumes.iter().enumerate() {
        let mut options = vec!["nosuid", "nodev"];
        if volume.read_only {
            options.push("ro");
        }
        mounts.push(bind(&scratch.volume(index), &volume.destination, &options));
    }
    // What lies above another comes first, whichever list it came from.
    mounts.sort_by_key(|mount| mount.destination().components().count());
    spec.set_mounts(Some(mounts));

    if filtered_late(&spec)
        && let Some(mut linux) = spec.linux().clone()
    {
        linux.set_seccomp(None);
        spec.set_linux(Some(linux));
    }
    if let Some(root) = spec.root().clone() {
        let mut root = root;
        root.set_path(scratch.root());
        spec.set_root(Some(root));
    }
    if let Some(mut process) = spec.process().clone() {
        let mut env = process.env().clone().unwrap_or_default();
        complete_env(&mut env, home);
        process.set_env(Some(env));
        spec.set_process(Some(process));
    }
    spec.set_annotations(None);
    spec
}

/// Adds PATH and HOME where they are missing. libcontainer would look HOME up through the name
/// service modules of the container.
pub(crate) fn complete_env(env: &mut Vec<String>, home: &str) {
    for (name, value) in [("PATH", DEFAULT_PATH), ("HOME", home)] {
        let given =
            |pair: &String| pair.split_once('=').is_some_and(|(key, value)| key == name && !value.is_empty());
        if !env.iter().any(given) {
            env.push(format!("{name}={value}"));
        }
    }
}

fn bind(source: &Path, destination: &Path, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.to_owned())
        .set_source(Some(source.to_owned()))
        .set_typ(Some("bind".to_owned()))
        .set_options(Some(["bind"].iter().chain(options).map(|&o| o.to_owned()).collect()));
    mount
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
