//! Runs of `holdfast-update`, in a unit without rights that is handed the partitions.

use std::sync::Arc;
use std::time::Duration;

use agent_core::update::{Checked, StagedPart, StagedRelease};
use agent_system::block;
use agent_system::files::{self, Access};
use agent_system::systemd::{List, Number, Span, Text, TransientUnit};
use agent_update::{Found, Outcome, Progress, Request, Staged, UpdateErrorKind, UpdateResult, Verb};
use anyhow::{Context, anyhow, bail};
use image_layout::release::Part;
use image_layout::{Slot, Version, paths};

use crate::agent::Agent;
use crate::{announce, clock, images, sandbox, slots};

/// The user that runs it.
const USER: &str = "holdfast-update";
const UNIT: &str = "holdfast-update.service";
/// Memory that it may take.
const MEMORY: u64 = 64 << 20;
/// Time that it may take: the slowest link is as good as none after that.
const TIME: Duration = Duration::from_secs(6 * 3600);
/// Where a time server's word is noted.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// What a run may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rights {
    /// Reach the update source.
    pub(super) network: bool,
    /// Write the slot that does not run.
    pub(super) target: bool,
    /// Write the slot that runs.
    pub(super) running: bool,
}

impl Rights {
    /// For a release.
    const RELEASE: Rights = Rights { network: true, target: true, running: false };
    /// To look.
    pub(super) const READ: Rights = Rights { network: false, target: false, running: false };
}

/// What a look at the channel brought.
#[derive(Debug)]
pub(crate) enum Looked {
    /// It has nothing newer.
    Current,
    /// It has this.
    Newer(Version),
}

/// Whether a time server has set the clock.
pub(crate) fn synchronized() -> bool {
    std::path::Path::new(SYNCHRONIZED).exists()
}

/// Looks which release the channel has.
pub(crate) async fn check(agent: &Arc<Agent>) -> anyhow::Result<Looked> {
    let _alone = begin(agent, "checking").await;
    match run(agent, Verb::Check, Rights::RELEASE).await? {
        Outcome::Found(found) => looked(agent, &found),
        other => bail!("holdfast-update answers a question that was not asked: {other:?}"),
    }
}

/// Looks, and stages what is newer.
pub(crate) async fn stage(agent: &Arc<Agent>) -> anyhow::Result<Looked> {
    let alone = begin(agent, "staging").await;
    if agent.updates.record().trial.is_some() {
        bail!("the version that runs has not proved itself yet");
    }
    let target = running(agent)?.other();
    let ended = run(agent, Verb::Stage, Rights::RELEASE).await;
    // What was in the other slot is no longer whole.
    if matches!(ended, Ok(Outcome::Staged(_))) || progress(agent).is_some() {
        slots::withdraw(target)?;
        super::change(agent, |record| record.previous = None)?;
        super::scrub::forget(agent, target)?;
    }
    let staged = match ended? {
        Outcome::Found(found) => return looked(agent, &found),
        Outcome::Staged(staged) => staged,
        other => bail!("holdfast-update answers a question that was not asked: {other:?}"),
    };
    let version = staged.found.version.clone();
    let looked = looked(agent, &staged.found)?;
    let known = agent.updates.record().staged.is_some_and(|known| known.version == version);
    if !known {
        let message =
            format!("{version} is staged; {} of {} bytes were fetched", staged.fetched, staged.needed);
        agent.events.add("update-staged", None, message);
    }
    super::change(agent, |record| {
        record.problem = None;
        record.staged = Some(release(staged, target));
    })?;
    drop(alone);
    Ok(looked)
}

/// Compares what was staged with the slot, once more and as a whole.
pub(super) async fn verify(agent: &Arc<Agent>, staged: &StagedRelease) -> anyhow::Result<()> {
    let part = |part: &StagedPart| agent_update::WrittenPart {
        part: part.part,
        size: part.size,
        sha256: part.sha256.clone(),
    };
    match run(agent, Verb::Verify(staged.parts.iter().map(part).collect()), Rights::READ).await? {
        Outcome::Verified => Ok(()),
        other => bail!("holdfast-update answers a question that was not asked: {other:?}"),
    }
}

/// How far a staging is.
pub(super) fn progress(agent: &Agent) -> Option<Progress> {
    let text = files::read_text(agent.records.path("update").join(Progress::FILE), 4096).ok()?;
    serde_json::from_str(&text).ok()
}

/// Work that is under way; one at a time.
pub(super) struct Alone<'a> {
    agent: &'a Agent,
    _guard: tokio::sync::MutexGuard<'a, ()>,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.agent.updates.live().doing = None;
    }
}

/// Waits until no other work is under way.
pub(super) async fn begin<'a>(agent: &'a Agent, what: &'static str) -> Alone<'a> {
    let guard = agent.updates.work.lock().await;
    agent.updates.live().doing = Some(what);
    Alone { agent, _guard: guard }
}

/// The slot that runs.
pub(super) fn running(agent: &Agent) -> anyhow::Result<Slot> {
    announce::running_slot(agent).context("which slot runs is not known")
}

fn looked(agent: &Agent, found: &Found) -> anyhow::Result<Looked> {
    let checked = Checked { version: found.version.clone(), at: clock::epoch(), expires: found.expires };
    super::change(agent, |record| {
        record.checked = Some(checked);
        record.problem = None;
    })?;
    let newer = agent.updates.image.version.as_ref().is_some_and(|running| found.version > *running);
    let version = found.version.clone();
    Ok(if newer { Looked::Newer(version) } else { Looked::Current })
}

fn release(staged: Staged, slot: Slot) -> StagedRelease {
    let part = |part: agent_update::WrittenPart| StagedPart {
        part: part.part,
        size: part.size,
        sha256: part.sha256,
    };
    StagedRelease {
        version: staged.found.version,
        slot,
        parts: staged.parts.into_iter().map(part).collect(),
        at: clock::epoch(),
        needed: staged.needed,
        fetched: staged.fetched,
    }
}

/// Runs `holdfast-update` to its end.
pub(super) async fn run(agent: &Arc<Agent>, verb: Verb, rights: Rights) -> anyhow::Result<Outcome> {
    let request = request(agent, verb, rights.network)?;
    let folder = agent.records.path("update");
    let (uid, gid) = images::user(USER)?;
    files::create_dir(&folder, Access::owned(0o700, uid, gid))?;
    files::remove(folder.join(UpdateResult::FILE))?;
    let text = serde_json::to_vec_pretty(&request).context("the request cannot be written")?;
    files::write_atomic_as(folder.join(Request::FILE), text, Access::owned(0o600, uid, gid))?;
    agent.systemd.stop(UNIT).await?;
    agent.systemd.start_transient(unit(agent, &folder.display().to_string(), rights)?).await?;
    let ended = agent.systemd.wait_down(UNIT).await?;
    agent.systemd.release(UNIT).await?;
    let ended = ended.map(|status| status.result).unwrap_or_default();
    let read = files::read_limited(folder.join(UpdateResult::FILE), 1 << 20);
    let bytes = read.map_err(|error| match (error.is_not_found(), ended.as_str()) {
        (true, "oom-kill") => anyhow!("it took more than {} MiB of memory", MEMORY >> 20),
        (true, "timeout") => anyhow!("it took longer than {} hours", TIME.as_secs() / 3600),
        (true, "signal" | "core-dump") => anyhow!("it was killed"),
        _ => anyhow::Error::from(error).context("it ended without a result"),
    })?;
    let result: UpdateResult = serde_json::from_slice(&bytes).context("it left a result that is none")?;
    match result.outcome {
        Outcome::Error(error) => Err(error.into()),
        outcome => Ok(outcome),
    }
}

fn request(agent: &Agent, verb: Verb, network: bool) -> anyhow::Result<Request> {
    let image = &agent.updates.image;
    let settings = agent.live().document.settings.update.clone();
    let settings = match (settings, network) {
        (None, true) => bail!("no update source is set: `[box.update]` has no `url`"),
        (settings, _) => settings,
    };
    let root = match (&image.root, network) {
        (Some(root), _) => root.clone(),
        (None, false) => String::new(),
        (None, true) => bail!("this image follows no publisher: it was built without `--update-root`"),
    };
    if network && !synchronized() {
        bail!("no time server has set the clock, and releases are judged by a set clock only");
    }
    let settings = settings.filter(|_| network);
    Ok(Request {
        format: Request::FORMAT,
        verb,
        url: settings.as_ref().map(|update| update.url.as_str().to_owned()).unwrap_or_default(),
        channel: settings.map(|update| update.channel).unwrap_or_default(),
        installed: image.version.clone().context("the image that runs has no version")?,
        epoch: image.epoch,
        root,
    })
}

fn unit(agent: &Agent, folder: &str, rights: Rights) -> anyhow::Result<TransientUnit> {
    let disk = block::booted_disk().context("failed to find the disk that booted")?;
    let running = running(agent)?;
    let mut devices = Vec::new();
    let slots = [(running.other(), "target", rights.target), (running, "running", rights.running)];
    for (slot, kind, write) in slots {
        for part in Part::ALL {
            let path = disk.partition(part.of(slot).number)?;
            let name = format!("{kind}-{}", part.as_str());
            devices.push((path.display().to_string(), name, !write));
        }
    }
    let argv = vec![format!("{}/holdfast-update", paths::LIBEXEC), folder.to_owned()];
    // The same user's, with an address in it that is nobody's business.
    let messages = format!("-{}", agent.records.path("notify").display());
    Ok(sandbox::unit(UNIT, argv, USER, rights.network)
        .text(Text::Description, "Update of the box")
        .text(Text::SyslogIdentifier, "holdfast-update")
        .number(Number::MemoryMax, MEMORY)
        .span(Span::RuntimeMaxUSec, TIME)
        .list(List::ReadWritePaths, [folder.to_owned()])
        .list(List::InaccessiblePaths, [messages])
        // systemd opens them in the unit's own group of devices; by name nothing there can be opened.
        .allow_devices(devices.iter().map(allowed).collect())
        .open_files(devices))
}

fn allowed((path, _, read_only): &(String, String, bool)) -> (String, String) {
    (path.clone(), if *read_only { "r" } else { "rw" }.to_owned())
}

/// Whether it was the way to the server that failed.
pub(super) fn unreachable(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<agent_update::UpdateError>();
    error.is_some_and(|error| error.kind == UpdateErrorKind::Unreachable)
}
