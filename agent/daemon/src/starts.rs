//! Room for what starts while data is full: a container that writes a little to its own root before it serves.
//!
//! Blocks that are kept back serve that, and no volume gets at them: ext4 gives them to a group, as which the shim
//! mounts the writable layer, and with which no process runs. Invariant: the group may use them only while each layer
//! that is mounted so has a limit, by which all together leave the box its own, whatever they do. A container has its
//! layer mounted so when it starts while data is full and the layer holds little; until it is started anew, the layer
//! has a limit whenever data is full. Absent: how much that is, which is [`agent_core::space`].

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use agent_core::ContainerName;
use agent_core::space::{Room, layer_project};
use agent_system::{files, quota, reserve};
use anyhow::Context;
use image_layout::disk::data::RESERVE_GROUP;
use image_layout::paths;

use crate::agent::{Agent, bundles};
use crate::{observe, space};

/// In a bundle: its writable layer is mounted as the group's.
const MARK: &str = "reserve";

/// Whether the group may use what is kept back, where that is known. Held while it changes.
#[derive(Debug, Default)]
pub(crate) struct Starts(Mutex<Option<bool>>);

/// The writable layer of a container, and the project that counts it alone.
struct Layer {
    folder: PathBuf,
    project: u32,
}

impl Layer {
    /// None where there is no layer, or one that an earlier version made, which counts them together.
    fn of(agent: &Agent, name: &ContainerName) -> anyhow::Result<Option<Layer>> {
        let folder = agent.layer(name);
        let found = project(&folder).and_then(|own| Ok((own, quota::project(&folder)?)));
        match found {
            Ok((own, counted)) => Ok((counted == Some(own)).then_some(Layer { folder, project: own })),
            Err(_) if !folder.exists() => Ok(None),
            Err(error) => Err(error.context("failed to look at a writable layer")),
        }
    }

    fn used(&self) -> anyhow::Result<u64> {
        let usage = quota::usage(&self.folder, self.project);
        Ok(usage.context("failed to read what a writable layer holds")?.used)
    }

    fn limit(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        quota::set_limit(&self.folder, self.project, bytes).context("failed to limit a writable layer")?;
        Ok(())
    }
}

/// The project of a writable layer.
pub(crate) fn project(folder: &Path) -> anyhow::Result<u32> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(folder).context("failed to look at a writable layer")?;
    Ok(layer_project(metadata.ino()))
}

/// Whether a bundle's writable layer is to be mounted as the group's.
pub(crate) fn marked(bundle: &Path) -> bool {
    bundle.join(MARK).exists()
}

/// Before a container starts: decides how its layer is mounted. One that has a group of the host's may be in this one,
/// and `closed` says that it has none.
pub(crate) fn before(agent: &Agent, name: &ContainerName, closed: bool) -> anyhow::Result<()> {
    let mark = agent.bundle(name).join(MARK);
    files::remove(&mark)?;
    let layer = if agent.boot.data_available() { Layer::of(agent, name)? } else { None };
    let Some(layer) = layer else { return Ok(()) };
    let mut given = agent.starts.0.lock().unwrap_or_else(PoisonError::into_inner);
    let room = space::room();
    let full = arrange(agent, &mut given, &room)?;
    let used = layer.used()?;
    let limit = room.layer_limit(used, all_marked(agent).len() + 1);
    let marked = full && closed && used < limit;
    layer.limit(marked.then_some(limit))?;
    if marked {
        std::fs::write(mark, "").context("failed to mark the bundle")?;
    }
    Ok(())
}

/// As data is now full, or not any more.
pub(crate) fn look(agent: &Agent) -> anyhow::Result<()> {
    let mut given = agent.starts.0.lock().unwrap_or_else(PoisonError::into_inner);
    arrange(agent, &mut given, &space::room()).map(drop)
}

/// Containers whose bundle is marked.
fn all_marked(agent: &Agent) -> Vec<ContainerName> {
    let all = observe::names(&bundles()).into_iter();
    all.filter(|name| marked(&agent.bundle(name))).collect()
}

/// Limits come before the group gets at the blocks, and go after it. Says whether data is full.
fn arrange(agent: &Agent, given: &mut Option<bool>, room: &Room) -> anyhow::Result<bool> {
    let full = room.full(*given == Some(true));
    let mut give = || -> anyhow::Result<()> {
        if *given != Some(full) {
            reserve::give_to(Path::new(paths::DATA), if full { RESERVE_GROUP } else { 0 })?;
            *given = Some(full);
        }
        Ok(())
    };
    if !full {
        give()?;
    }
    let all = all_marked(agent);
    let limit = |name: &ContainerName| -> anyhow::Result<()> {
        let Some(layer) = Layer::of(agent, name)? else { return Ok(()) };
        let limit = if full { Some(room.layer_limit(layer.used()?, all.len())) } else { None };
        layer.limit(limit)
    };
    // One that cannot be limited holds up no other, but the group.
    all.iter().map(limit).fold(Ok(()), Result::and)?;
    if full {
        give()?;
    }
    Ok(full)
}
