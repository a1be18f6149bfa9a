//! Containers: network namespace, bundle, unit.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_containers::spec::{self, Folders, SeccompProfile};
use agent_containers::{Digest, ImageRecord};
use agent_core::container::{SLICE, Userns};
use agent_core::desired::ContainerDesired;
use agent_core::state::InstanceRecord;
use agent_core::{ContainerConfig, ContainerName};
use agent_net::Outcome;
use agent_net::containers::{Attachment, netns_name};
use agent_system::files::{self, Access};
use agent_system::quota;
use agent_system::systemd::{Flag, List, Number, Span, Text, TransientUnit};
use anyhow::{Context, bail};
use image_layout::disk::data::RESERVE_GROUP;
use image_layout::paths;
use rustix::thread::CapabilitySet;

use crate::agent::{Agent, bundles, shim_state};
use crate::observe::{FINGERPRINT, HOSTS, RESOLVER, STARTED};
use crate::{space, starts};

/// What a writable layer was made from: the digest of the image.
const IMAGE: &str = "image";
/// Time a container may take until its first process runs, images on slow disks considered.
const START: Duration = Duration::from_secs(120);
/// Time beyond the stop timeout until systemd kills what is left.
const GRACE: Duration = Duration::from_secs(5);
/// Capabilities that no work of the shim needs, and that nobody in a user namespace has of the host.
const UNNEEDED: [CapabilitySet; 14] = [
    CapabilitySet::AUDIT_CONTROL,
    CapabilitySet::AUDIT_READ,
    CapabilitySet::BLOCK_SUSPEND,
    CapabilitySet::LEASE,
    CapabilitySet::MAC_ADMIN,
    CapabilitySet::MAC_OVERRIDE,
    CapabilitySet::SYSLOG,
    CapabilitySet::SYS_BOOT,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_PACCT,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYS_TIME,
    CapabilitySet::SYS_TTY_CONFIG,
    CapabilitySet::WAKE_ALARM,
];
/// All that the kernel has: the last one, and those below.
const CAPABILITIES: u64 = (CapabilitySet::CHECKPOINT_RESTORE.bits() << 1) - 1;

fn record(agent: &Agent, name: &ContainerName) -> anyhow::Result<InstanceRecord> {
    agent
        .records
        .instance(&name.instance)?
        .with_context(|| format!("instance {} is not on record", name.instance))
}

pub(super) async fn attach(agent: &Arc<Agent>, name: &ContainerName) -> anyhow::Result<bool> {
    let record = record(agent, name)?;
    let place = Attachment::new(name, &record.allocation).context("the container has no address")?;
    let outcome = agent.networks.lock().await.ensure_container(&place).await?;
    agent.live().attached.insert(name.clone());
    Ok(outcome == Outcome::Changed)
}

/// Name servers that containers are told.
fn resolvers(agent: &Agent) -> Vec<IpAddr> {
    agent.live().network.dns.clone()
}

/// The image that a reference means to the instance, every layer's seal measured.
fn image(agent: &Agent, record: &InstanceRecord, reference: &str) -> anyhow::Result<ImageRecord> {
    let pin = record.pins.get(reference).with_context(|| format!("{reference} is not resolved"))?;
    let digest: Digest = pin.digest.parse().context("the recorded digest is none")?;
    let image = agent.store.image(&digest)?;
    if let Err(error) = agent.store.verify(&image) {
        discard(agent, reference, &image)?;
        return Err(error.into());
    }
    Ok(image)
}

/// Removes an image that is damaged, which is fetched again then. Says whether it was.
fn discard(agent: &Agent, reference: &str, image: &ImageRecord) -> anyhow::Result<bool> {
    let Some(damage) = agent.store.discard_damaged(image)? else { return Ok(false) };
    let damage = anyhow::Error::new(damage);
    agent.events.add("image-damaged", None, format!("{reference} is damaged and fetched again: {damage:#}"));
    Ok(true)
}

/// Reads every block of the image of a container that failed 2, 4, 8 … times in a row: it may be rotten.
async fn check_image(agent: &Arc<Agent>, name: &ContainerName, reference: &str) -> anyhow::Result<()> {
    let failures = agent.live().memory.containers.get(name).map_or(0, |memory| memory.healing.failures);
    if failures < 2 || !failures.is_power_of_two() {
        return Ok(());
    }
    let image = image(agent, &record(agent, name)?, reference)?;
    let (checking, of) = (agent.clone(), reference.to_owned());
    if tokio::task::spawn_blocking(move || discard(&checking, &of, &image)).await?? {
        spec::remove(&agent.bundle(name))?;
        bail!("{reference} is damaged");
    }
    Ok(())
}

pub(super) async fn write_bundle(
    agent: &Arc<Agent>,
    name: &ContainerName,
    wanted: &ContainerDesired,
) -> anyhow::Result<bool> {
    let config = wanted.config.ready().context("something of the container is not known yet")?;
    prepare(agent, name, &wanted.image, config)
}

/// Writes what the shim starts a container from, with the fingerprint of its configuration beside it and
/// beside its writable layer, and there its image, too.
pub(super) fn prepare(
    agent: &Agent,
    name: &ContainerName,
    reference: &str,
    config: &ContainerConfig,
) -> anyhow::Result<bool> {
    let record = record(agent, name)?;
    let image = image(agent, &record, reference)?;
    let fingerprint =
        agent_core::fingerprint::container(config, &image.digest.to_string(), &record.allocation);
    let seccomp = files::read_text(paths::SECCOMP, 4 << 20)?;
    let seccomp = SeccompProfile::parse(&seccomp).context("the seccomp profile cannot be read")?;
    let folders = folders(agent);
    let bundle = spec::build(&spec::Input {
        config,
        image: &image,
        allocation: &record.allocation,
        folders: &folders,
        seccomp: &seccomp,
        dns: &resolvers(agent),
    })?;
    let layer = agent.layer(name);
    files::create_dir(&layer, Access::mode(0o711))?;
    count(agent, &layer)?;
    // What is there already needs no room.
    files::write_if_changed(layer.join(IMAGE), image.digest.to_string(), 0o600)?;
    files::write_if_changed(layer.join(FINGERPRINT), &fingerprint, 0o600)?;
    files::create_dir_all(bundles(), Access::mode(0o711))?;
    spec::write(&bundle)?;
    std::fs::write(bundle.path.join(FINGERPRINT), &fingerprint).context("failed to finish the bundle")?;
    Ok(true)
}

/// Digest of the image that each writable layer was made from; `None` where that is not known, as of one that an
/// earlier version made.
pub(crate) fn made_from(agent: &Agent) -> anyhow::Result<BTreeMap<ContainerName, Option<String>>> {
    let folder = agent.records.path("containers");
    let entries = std::fs::read_dir(&folder).context("failed to list the writable layers")?;
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry.context("failed to list the writable layers")?;
        let Some(name) = entry.file_name().to_str().and_then(ContainerName::parse) else { continue };
        let digest = files::read_text(entry.path().join(IMAGE), 1 << 10).ok();
        found.insert(name, digest.filter(|digest| digest.parse::<Digest>().is_ok()));
    }
    Ok(found)
}

/// Has the file system count the files of a writable layer, which is new, so that they can be limited.
fn count(agent: &Agent, layer: &Path) -> anyhow::Result<()> {
    if layer.join("upper").exists() || !agent.boot.data_available() {
        return Ok(());
    }
    quota::set_project(layer, starts::project(layer)?).context("failed to count the container's files")?;
    space::divide(agent).context("failed to limit the container's files")
}

fn folders(agent: &Agent) -> Folders {
    Folders { layers: agent.store.layers(), containers: agent.records.path("containers"), bundles: bundles() }
}

/// In place, since the files are bound into the container.
pub(super) fn write_hosts(agent: &Agent, name: &ContainerName) -> anyhow::Result<bool> {
    let hosts = record(agent, name)?.allocation.hosts_file(&name.container);
    let resolver = agent_core::network::resolver(&resolvers(agent));
    let bundle = agent.bundle(name);
    rewrite(&bundle.join(HOSTS), &hosts).context("failed to write the hosts file")?;
    rewrite(&bundle.join(RESOLVER), &resolver).context("failed to write the resolver file")?;
    Ok(true)
}

/// Puts a text in the place of another without the file ever being empty between.
fn rewrite(path: &Path, text: &str) -> std::io::Result<()> {
    let file = std::fs::File::options().write(true).open(path)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

pub(super) async fn start(
    agent: &Arc<Agent>,
    name: &ContainerName,
    wanted: &ContainerDesired,
) -> anyhow::Result<bool> {
    let config = wanted.config.ready().context("something of the container is not known yet")?;
    check_image(agent, name, &wanted.image).await?;
    let bundle = agent.bundle(name);
    std::fs::write(bundle.join(STARTED), "").context("failed to mark the start")?;
    let stop = Duration::from_millis(config.stop_timeout_ms);
    // One with the host's ids, or that is privileged, may be given any capability.
    let free = config.privileged || config.userns == Userns::Host;
    before_start(agent, name, !free).await;
    let unit = open(name, &bundle, stop, config.pids);
    agent.systemd.start_transient(if free { unit } else { closed(unit) }).await?;
    agent.events.add("started", Some(&name.to_string()), format!("{name} runs"));
    Ok(true)
}

/// What is kept for starts is given to it where it needs that; without, it may start all the same. `closed` is whether
/// it has a user namespace of its own and is not privileged.
pub(super) async fn before_start(agent: &Arc<Agent>, name: &ContainerName, closed: bool) {
    let (given, to) = (agent.clone(), name.clone());
    // The file system may be busy for as long as its disk is slow.
    let done = tokio::task::spawn_blocking(move || starts::before(&given, &to, closed)).await;
    if let Err(error) = done.context("it broke off").and_then(|done| done) {
        tracing::warn!("{name}: room to start cannot be given: {error:#}");
    }
}

/// The unit of a container with a user namespace of its own that is not privileged.
pub(super) fn unit(name: &ContainerName, bundle: &Path, stop: Duration, pids: u64) -> TransientUnit {
    closed(open(name, bundle, stop, pids))
}

/// Takes from a container's unit what can be taken. Most of what systemd forbids the shim it forbids the container:
///
/// - Not `SystemCallFilter`, `SystemCallArchitectures`, `RestrictAddressFamilies`, `RestrictNamespaces`,
///   `RestrictRealtime`, `RestrictSUIDSGID`, `LockPersonality`, `MemoryDenyWriteExecute`: filters of system calls,
///   which the container would inherit. It has one of its own, by what its recipe asks for.
/// - Not `ProtectHostname`, `ProtectClock`, `ProtectKernelModules`: the same, and the shim names the container. Clock
///   and modules are out of its reach without their capabilities.
/// - Not `ProtectKernelTunables`, `ProtectKernelLogs`, `ProtectProc`, `ProcSubset`: the kernel lets a container mount
///   `/proc` only where the shim's own hides nothing.
/// - Not `ProtectControlGroups`: the shim makes the container's.
/// - Not `ProtectSystem`, `ProtectHome`, `PrivateTmp`, `PrivateDevices`: who may mount, as the shim must, undoes them.
/// - Not `PrivateUsers`, `PrivateIPC`, `PrivateNetwork`: it makes the container's users and IPC, and is in its network.
/// - Not `DeviceAllow`, `IPAddressDeny`: the container's own control group and the box's firewall hold it.
fn closed(unit: TransientUnit) -> TransientUnit {
    let unneeded: CapabilitySet = UNNEEDED.into_iter().collect();
    unit.flag(Flag::NoNewPrivileges, true)
        .number(Number::CapabilityBoundingSet, CAPABILITIES & !unneeded.bits())
}

/// The unit of a container: its shim, in the container's network namespace, with a cgroup of its own that
/// the shim hands down. It may have as many processes as the container, and the shim's own.
fn open(name: &ContainerName, bundle: &Path, stop: Duration, pids: u64) -> TransientUnit {
    let mut argv = vec![
        format!("{}/holdfast-shim", paths::LIBEXEC),
        "run".into(),
        "--state".into(),
        shim_state().display().to_string(),
    ];
    if starts::marked(bundle) {
        argv.extend(["--group".into(), RESERVE_GROUP.to_string()]);
    }
    argv.push(bundle.display().to_string());
    TransientUnit::service(name.unit(), argv)
        .text(Text::Description, format!("Container {name}"))
        .text(Text::Type, "notify")
        .text(Text::NotifyAccess, "main")
        .text(Text::KillMode, "mixed")
        .text(Text::Slice, SLICE)
        .number(Number::TasksMax, pids + 16)
        .text(Text::DelegateSubgroup, "shim")
        .text(Text::NetworkNamespacePath, agent_net::netns::path(&netns_name(name)).display().to_string())
        .text(Text::OOMPolicy, "kill")
        .text(Text::SyslogIdentifier, name.to_string())
        .flag(Flag::Delegate, true)
        .flag(Flag::AddRef, true)
        // What a container says is text: it cannot choose the priority that tells its streams apart.
        .flag(Flag::SyslogLevelPrefix, false)
        .span(Span::TimeoutStartUSec, START)
        .span(Span::TimeoutStopUSec, stop + GRACE)
        .list(List::After, ["holdfastd.service"])
        .success(vec![143, 137], vec![])
        .journal_fields([
            format!("HOLDFAST_INSTANCE={}", name.instance),
            format!("HOLDFAST_CONTAINER={name}"),
        ])
}

pub(super) async fn stop(agent: &Arc<Agent>, name: &ContainerName) -> anyhow::Result<bool> {
    Ok(agent.systemd.stop(&name.unit()).await?)
}

pub(super) async fn remove(agent: &Arc<Agent>, name: &ContainerName) -> anyhow::Result<bool> {
    agent.systemd.release(&name.unit()).await?;
    agent.live().attached.remove(name);
    let _ = agent.networks.lock().await.remove_container(name).await?;
    spec::remove(&agent.bundle(name))?;
    remove_layer(agent, name).await?;
    Ok(true)
}

/// Removes a writable layer; it takes as long as that is large, and is done beside the other work.
pub(super) async fn remove_layer(agent: &Agent, name: &ContainerName) -> anyhow::Result<()> {
    let layer = agent.layer(name);
    tokio::task::spawn_blocking(move || files::remove_tree(layer)).await??;
    Ok(())
}
