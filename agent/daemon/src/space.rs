//! Room on data: watched, kept for the box itself, and made by removing images that nothing uses.
//!
//! Every few seconds: what containers may still make in files is divided anew, what is short of room loses unused images,
//! the oldest first, and a disk that is full is told of. Blocks are kept back by ext4 itself. Deliberately absent: what
//! is little and how inodes are divided, which is [`agent_core::space`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_containers::Digest;
use agent_containers::fetch::FetchResult;
use agent_containers::store::Name;
use agent_core::Action;
use agent_core::healing::Millis;
use agent_core::space::{self, Project, Room};
use agent_system::quota::{self, QuotaError};
use anyhow::Context;
use image_layout::paths;
use tokio::sync::Notify;

use crate::agent::{Agent, Live};
use crate::server::{self, disk};
use crate::{clock, images};

/// The project of all writable layers; those of volumes are above 1000.
pub(crate) const LAYERS: u32 = 1;
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(5);
/// Between two searches for unused images, once there were none.
const VAIN: Millis = 60_000;

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Space {
    asked: AtomicBool,
    wake: Notify,
    /// Uptime until which nobody looks for unused images unasked: none could be removed.
    vain_until: AtomicU64,
    /// Held while limits are set: those of two looks, mixed, would give away more than there is.
    dividing: Mutex<()>,
}

impl Space {
    /// Something had too little room: all that nothing uses goes.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }
}

/// Looks, for ever.
pub(crate) async fn run(agent: Arc<Agent>) {
    let mut seen = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = agent.space.wake.notified() => {}
        }
        // Where nothing was written, and there is room, there is nothing to do.
        let now = room();
        let rests = seen.as_ref() == Some(&now) && !now.short();
        if rests && !agent.space.asked.load(Ordering::Relaxed) {
            continue;
        }
        // Removing images takes as long as they are large, and nothing else waits for it.
        let looking = agent.clone();
        seen = match tokio::task::spawn_blocking(move || look(&looking)).await {
            Ok(done) => done.then_some(now),
            Err(error) => {
                tracing::error!("looking at the room on data broke off: {error}");
                None
            }
        };
    }
}

/// Looks once: whether all was done. Data that is not there has no room to be kept.
pub(crate) fn look(agent: &Agent) -> bool {
    if !agent.boot.data_available() {
        return true;
    }
    let mut done = true;
    let mut failed = |problem| {
        tell_once(agent, problem);
        done = false;
    };
    if let Err(error) = divide(agent) {
        failed(format!("inodes cannot be kept back for the box: {:#}", anyhow::Error::from(error)));
    }
    let asked = agent.space.asked.load(Ordering::Relaxed);
    let due = clock::uptime() >= agent.space.vain_until.load(Ordering::Relaxed);
    if (asked || due && room().short())
        && let Err(error) = collect(agent, asked)
    {
        failed(format!("unused images cannot be removed: {error:#}"));
    }
    tell(agent);
    done
}

/// Divides the inodes that are free among everything that containers write.
pub(crate) fn divide(agent: &Agent) -> Result<(), QuotaError> {
    let _alone = agent.space.dividing.lock().unwrap_or_else(PoisonError::into_inner);
    let state = agent.records.path("");
    let projects = quota::inodes(&state)?;
    let (used, empty): (Vec<_>, Vec<_>) = projects.into_iter().partition(|project| project.used > 0);
    // What a volume that is gone was counted under.
    for project in empty.iter().filter(|project| project.limit.is_some() && project.project != LAYERS) {
        quota::forget(&state, project.project)?;
    }
    let project = |of: quota::Inodes| Project { number: of.project, used: of.used, limit: of.limit };
    let projects: Vec<Project> = used.into_iter().map(project).collect();
    for (number, limit) in space::limits(&projects, &room()) {
        quota::set_inode_limit(&state, number, limit)?;
    }
    Ok(())
}

/// The data file system as it is.
fn room() -> Room {
    let disk = disk();
    let inodes = rustix::fs::statvfs(paths::STATE).map(|all| (all.f_files, all.f_ffree));
    let (inodes, free_inodes) = inodes.unwrap_or_default();
    Room { size: disk.size, available: disk.available, inodes, free_inodes }
}

/// Removes images that nothing uses until there is room, or all when they were asked for.
fn collect(agent: &Agent, all: bool) -> anyhow::Result<()> {
    let (mut removed, mut bytes) = (Vec::new(), 0);
    // At first what belongs to no image, and what was downloaded of images that could not be had.
    let mut images = 0;
    loop {
        let _alone = agent.store.alone();
        let names = agent.store.names().context("failed to read the image store")?;
        let Some(keep) = kept(&names, agent, &agent.live()) else { break };
        if images == 0 {
            agent.space.asked.store(false, Ordering::Relaxed);
            bytes += agent.store.forget_downloads(&BTreeSet::new()).context("failed to remove downloads")?;
        }
        let unused = agent.store.unused(&keep).context("failed to read the image store")?;
        let (gone, left) = unused.split_at(images.min(unused.len()));
        let left: BTreeSet<Digest> = keep.iter().chain(left).copied().collect();
        bytes += agent.store.prune(&left).context("failed to prune")?.bytes;
        removed.extend(gone.iter().map(|gone| {
            let known = names.iter().find(|(_, name)| name.image == *gone);
            known.map_or_else(|| gone.to_string(), |(reference, _)| reference.clone())
        }));
        if unused.len() <= images || !all && !room().short() {
            break;
        }
        images = 1;
    }
    if bytes > 0 {
        let what = if removed.is_empty() { "what was left of images".into() } else { removed.join(", ") };
        let message = format!(
            "data is short of room: removed {what}, which nothing uses; {} MiB are free again",
            bytes >> 20
        );
        agent.events.add("images-collected", None, message);
        retry(&mut agent.live());
        agent.wake.notify_one();
    } else {
        agent.space.vain_until.store(clock::uptime() + VAIN, Ordering::Relaxed);
    }
    Ok(())
}

/// Images that are used, or came with the box. None while that is not known for sure: something is being had, whose
/// layers may be those of unused images, or something that the box should have or has cannot be read.
fn kept(names: &BTreeMap<String, Name>, agent: &Agent, live: &Live) -> Option<BTreeSet<Digest>> {
    let wanted: BTreeSet<&str> = live.desired.instances.values().flat_map(|i| i.references()).collect();
    let known = *agent.rounds.borrow() > 0
        && live.planned == live.generation
        && live.unusable.is_empty()
        && live.complaints.is_empty();
    let fetched = |reference: &&str| images::staging(agent, reference).join(FetchResult::FILE).exists();
    if !known || fetching(live) || wanted.iter().any(fetched) {
        return None;
    }
    let came = |reference: &str| agent_containers::fetch::offers(Path::new(paths::IMAGES), reference);
    let named = names.iter().filter(|(reference, _)| wanted.contains(reference.as_str()) || came(reference));
    let used = server::used_images(live);
    let used = used.keys().map(|digest| digest.parse().ok());
    used.chain(named.map(|(_, name)| Some(name.image))).collect()
}

/// Whether an image is being had.
pub(crate) fn fetching(live: &Live) -> bool {
    live.memory.running.keys().any(|id| id.starts_with("fetch:") || id.starts_with("adopt:"))
}

/// What had too little room is tried again now.
fn retry(live: &mut Live) {
    let had = |action: &Action| matches!(action, Action::FetchImage { .. } | Action::AdoptImage { .. });
    for failure in live.memory.failures.values_mut().filter(|failure| had(&failure.action)) {
        failure.healing.not_before = 0;
    }
}

/// Tells of a disk that is full, and when it is not any more.
fn tell(agent: &Agent) {
    let room = room();
    let (before, now) = {
        let mut live = agent.live();
        let now = room.problem(live.full.is_some());
        (std::mem::replace(&mut live.full, now.clone()), now)
    };
    match (before, now) {
        (None, Some(problem)) => agent.events.add("data-full", None, problem),
        (Some(_), None) => agent.events.add("data-room", None, "data has room again"),
        _ => return,
    }
    crate::announce::state(agent);
    agent.notices.wake.notify_one();
}

/// Adds an event, unless it was the last of its kind.
fn tell_once(agent: &Agent, problem: String) {
    let known = agent.live().space_problem.replace(problem.clone()).is_some_and(|known| known == problem);
    if !known {
        agent.events.add("data", None, problem);
    }
}
