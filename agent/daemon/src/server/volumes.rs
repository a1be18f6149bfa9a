//! Volumes: listed, carried out and in, removed.

use std::os::fd::OwnedFd;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_api::types::{Changed, Volume};
use agent_core::state::VolumeRecord;
use agent_system::systemd::{Filter, Flag, List, Number, Stream, Text, TransientUnit};
use agent_system::{files, quota};
use anyhow::{Context, anyhow};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use image_layout::paths;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use super::error::{Answer, Failure};
use super::to_the_end;
use crate::agent::Agent;
use crate::execute;
use crate::records::RecordError;

/// Rights that a volume's files need: any owner, any mode. CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD.
const CAPABILITIES: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 27;
/// Bytes of one read.
const CHUNK: usize = 64 << 10;

pub(super) async fn list(State(agent): State<Arc<Agent>>) -> Json<Vec<Volume>> {
    Json(all(&agent))
}

/// All volumes.
pub(crate) fn all(agent: &Agent) -> Vec<Volume> {
    let (volumes, _) = agent.records.volumes();
    let desired = agent.live().desired.clone();
    let wire = |record: &VolumeRecord| {
        let data = agent.records.volume_data(record);
        let listed = desired.instances.get(&record.instance);
        Volume {
            instance: record.instance.clone(),
            name: record.name.clone(),
            id: record.id.to_string(),
            size: record.size,
            used: quota::usage(&data, record.project).ok().map(|usage| usage.used),
            in_use: listed.is_some_and(|wanted| wanted.volumes.contains_key(&record.name)),
        }
    };
    volumes.iter().map(wire).collect()
}

fn find(agent: &Agent, instance: &str, name: &str) -> Answer<VolumeRecord> {
    agent.records.volume(instance, name).map_err(|error| match error {
        RecordError::NoVolume(..) => Failure::not_found(error.to_string()).hint("see `holdfast volumes`"),
        error => Failure::failed(error.to_string()),
    })
}

pub(super) async fn remove(
    State(agent): State<Arc<Agent>>,
    Path((instance, name)): Path<(String, String)>,
) -> Answer<Json<Changed>> {
    let record = find(&agent, &instance, &name)?;
    let listed = agent.live().desired.instances.get(&instance).is_some_and(|i| i.volumes.contains_key(&name));
    let traces = agent.live().observed.containers.keys().any(|container| container.instance == instance);
    if listed || traces {
        return Err(Failure::not_allowed(format!("volume {instance}.{name} is in use"))
            .hint("a volume can be removed once user-data no longer lists what uses it"));
    }
    let left = agent.records.remove_volume(&record).context("failed to remove the volume")?;
    let message = format!("volume {instance}.{name} is removed");
    agent.events.add("volume-removed", Some(&instance), message.clone());
    agent.wake.notify_one();
    if let Some(left) = left {
        // It takes as long as it is large, and goes on when the client goes away.
        let removed = tokio::task::spawn_blocking(move || left.remove()).await;
        let removed = removed.context("removing what the volume held broke off")?;
        removed.with_context(|| format!("{message}, but not all that it held"))?;
    }
    Ok(Json(Changed { changed: true, message }))
}

/// The volume as a tar stream. A stream that breaks off was not whole: its end is missing.
pub(super) async fn export(
    State(agent): State<Arc<Agent>>,
    Path((instance, name)): Path<(String, String)>,
) -> Answer<Response> {
    let record = find(&agent, &instance, &name)?;
    let (reader, writer) = std::io::pipe().context("failed to make a pipe")?;
    let unit = format!("holdfast-volume-{}-export.service", record.id);
    let data = agent.records.volume_data(&record);
    let helper = helper(&unit, "volume-export", &data)
        .text(Text::StandardInput, "null")
        .list(List::ReadOnlyPaths, [data.display().to_string()])
        .stream(Stream::StandardOutputFileDescriptor, OwnedFd::from(writer));
    agent.systemd.start_transient(helper).await.context("failed to start the export")?;
    let reader = pipe::Receiver::from_owned_fd(reader.into()).context("failed to read from the export")?;
    let body = stream::unfold(Some((reader, agent, unit)), |state| async {
        let (mut reader, agent, unit) = state?;
        let mut chunk = vec![0; CHUNK];
        match reader.read(&mut chunk).await {
            Ok(0) => match ended(&agent, &unit).await {
                Ok(()) => None,
                Err(error) => Some((Err(std::io::Error::other(error.to_string())), None)),
            },
            Ok(count) => {
                chunk.truncate(count);
                Some((Ok(chunk), Some((reader, agent, unit))))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(([(CONTENT_TYPE, "application/x-tar")], Body::from_stream(body)).into_response())
}

/// Puts what a tar stream holds in the place of all that the volume holds, once the stream has ended well.
/// Containers that use the volume are made anew by the next round.
pub(super) async fn import(
    State(agent): State<Arc<Agent>>,
    Path((instance, name)): Path<(String, String)>,
    body: Body,
) -> Answer<Json<Changed>> {
    to_the_end(import_all(agent, instance, name, body)).await
}

async fn import_all(agent: Arc<Agent>, instance: String, name: String, body: Body) -> Answer<Json<Changed>> {
    let record = find(&agent, &instance, &name)?;
    let staged = agent.records.stage_volume(&record).map_err(|error| match error {
        RecordError::VolumeBusy(..) => Failure::failed(error.to_string()).hint("wait for the other import"),
        error => Failure::failed(error.to_string()),
    })?;
    let replaced = match fill(&agent, &staged, body).await {
        Ok(()) => agent.records.replace_volume(&staged).map_err(|error| Failure::failed(error.to_string())),
        Err(error) => Err(error),
    };
    let left = if replaced.is_ok() { &record } else { &staged };
    discard(agent.records.volume_data(left)).await;
    let replaced = replaced?;
    let message = format!("volume {instance}.{name} was replaced");
    agent.events.add("volume-imported", Some(&instance), message.clone());
    agent.wake.notify_one();
    // Its size may be another one since it was staged.
    execute::limit(&agent, &replaced).context("failed to limit the volume")?;
    Ok(Json(Changed { changed: true, message }))
}

/// Has a helper unpack the stream into an empty folder of a volume.
async fn fill(agent: &Agent, staged: &VolumeRecord, body: Body) -> Answer<()> {
    execute::limit(agent, staged).context("failed to limit the volume")?;
    let (reader, writer) = std::io::pipe().context("failed to make a pipe")?;
    let unit = format!("holdfast-volume-{}-import.service", staged.id);
    let data = agent.records.volume_data(staged);
    let helper = helper(&unit, "volume-import", &data)
        .text(Text::StandardOutput, "journal")
        .list(List::ReadWritePaths, [data.display().to_string()])
        .stream(Stream::StandardInputFileDescriptor, OwnedFd::from(reader));
    agent.systemd.start_transient(helper).await.context("failed to start the import")?;
    let carried = carry(body, writer.into()).await;
    if carried.is_err() {
        // The client went away: what it sent so far must not be taken for all.
        agent.systemd.stop(&unit).await.context("failed to stop the import")?;
    }
    let ended = ended(agent, &unit).await;
    carried?;
    ended.map_err(|error| Failure::invalid(error.to_string()).hint("see `holdfast logs` for the cause"))
}

/// Removes a folder of a volume that nobody needs any more; if it cannot, the next start does.
async fn discard(folder: PathBuf) {
    let shown = folder.display().to_string();
    let removed = tokio::task::spawn_blocking(move || files::remove_tree(folder)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!("`{shown}` was not removed: {error}");
    }
}

async fn carry(body: Body, to: OwnedFd) -> Answer<()> {
    let mut writer = pipe::Sender::from_owned_fd(to).context("failed to write to the import")?;
    let mut body = body.into_data_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| Failure::failed(format!("the stream broke: {error}")))?;
        // An import that ended early says why itself.
        if writer.write_all(&chunk).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Waits for a helper's end.
async fn ended(agent: &Agent, unit: &str) -> anyhow::Result<()> {
    let status = agent.systemd.wait_down(unit).await?;
    agent.systemd.release(unit).await?;
    match status.map(|status| status.result).as_deref() {
        Some("success") => Ok(()),
        other => Err(anyhow!("the volume's helper failed: {}", other.unwrap_or("it is gone"))),
    }
}

/// A unit that sees the volume and nothing else that matters. Not `PrivateUsers`: files keep their owners. Not
/// `RestrictSUIDSGID`: nor do they lose such modes. Not `UMask`: folders that a stream leaves out are for all to walk
/// through.
fn helper(unit: &str, verb: &str, data: &FsPath) -> TransientUnit {
    let program = std::env::current_exe().map(|path| path.display().to_string());
    let program = program.unwrap_or_else(|_| format!("{}/holdfastd", paths::LIBEXEC));
    let argv = vec![program, verb.to_owned(), data.display().to_string()];
    TransientUnit::service(unit, argv)
        .text(Text::Description, format!("{verb} of a volume"))
        .text(Text::Type, "exec")
        .text(Text::StandardError, "journal")
        .text(Text::SyslogIdentifier, "holdfastd")
        .text(Text::ProtectSystem, "strict")
        .text(Text::ProtectHome, "yes")
        .text(Text::ProtectProc, "invisible")
        .text(Text::ProcSubset, "pid")
        .text(Text::KeyringMode, "private")
        .flag(Flag::AddRef, true)
        .flag(Flag::NoNewPrivileges, true)
        .flag(Flag::PrivateDevices, true)
        .flag(Flag::PrivateIPC, true)
        .flag(Flag::PrivateNetwork, true)
        .flag(Flag::PrivateTmp, true)
        .flag(Flag::ProtectClock, true)
        .flag(Flag::ProtectControlGroups, true)
        .flag(Flag::ProtectHostname, true)
        .flag(Flag::ProtectKernelLogs, true)
        .flag(Flag::ProtectKernelModules, true)
        .flag(Flag::ProtectKernelTunables, true)
        .flag(Flag::LockPersonality, true)
        .flag(Flag::RestrictRealtime, true)
        .flag(Flag::MemoryDenyWriteExecute, true)
        .number(Number::CapabilityBoundingSet, CAPABILITIES)
        .number(Number::RestrictNamespaces, 0)
        .number(Number::MemoryMax, 128 << 20)
        .number(Number::TasksMax, 16)
        .span(agent_system::systemd::Span::TimeoutStopUSec, Duration::from_secs(5))
        .list(List::InaccessiblePaths, ["-/run/holdfast", "-/run/dbus"])
        .list(List::SystemCallArchitectures, ["native"])
        .allow(Filter::SystemCallFilter, ["@system-service"])
        .allow(Filter::RestrictAddressFamilies, ["AF_UNIX"])
}
