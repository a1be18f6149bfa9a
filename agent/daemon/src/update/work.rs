//! Runs of `holdfast-update`, in a unit without rights that is handed the partitions.

use std::sync::Arc;
use std::time::Duration;

use agent_core::update::{Checked, StagedRelease};
use agent_system::block;
use agent_system::files::{self, Access};
use agent_system::systemd::{List, Text, TransientUnit};
use agent_update::{Found, Outcome, Progress, Request, Staged, UpdateErrorKind, UpdateResult, Verb};
use anyhow::{Context, bail};
use image_layout::release::Part;
use image_layout::{Slot, Version, paths};

use super::refusal::Refusal;
use crate::agent::Agent;
use crate::sandbox::{self, Program};
use crate::{clock, slots};

/// The user that runs it.
const USER: &str = "holdfast-update";
const UNIT: &str = "holdfast-update.service";
/// Memory that it may take, what it reads and writes included; the kernel counts up to 2 MiB more at times.
const MEMORY: u64 = 56 << 20;
/// Bytes of what it says.
const RESULT: u64 = 1 << 20;
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

/// Looks which release the channel has, because an admin asks: what came to nothing before is history.
pub(crate) async fn check(agent: &Arc<Agent>) -> anyhow::Result<Looked> {
    let looked = look(agent).await?;
    super::change(agent, |record| record.problem = None)?;
    Ok(looked)
}

/// Looks which release the channel has.
pub(super) async fn look(agent: &Arc<Agent>) -> anyhow::Result<Looked> {
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
    let known = agent.updates.record().staged;
    let ended = run(agent, Verb::Stage, Rights::RELEASE).await;
    if matches!(ended, Ok(Outcome::Staged(_))) || progress(agent).is_some() {
        written_over(agent, target)?;
    }
    let staged = match ended? {
        Outcome::Found(found) => return looked(agent, &found),
        Outcome::Staged(staged) => staged,
        other => bail!("holdfast-update answers a question that was not asked: {other:?}"),
    };
    let version = staged.found.version.clone();
    let looked = looked(agent, &staged.found)?;
    if known.is_none_or(|known| known.version != version) {
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

/// A staging that a power cut or a kill ended: what it was at has been written over.
pub(super) async fn settle_cut(agent: &Agent) -> anyhow::Result<()> {
    let _alone = begin(agent, "settling").await;
    // A run may have outlived the agent that began it, and nobody takes in what comes of it.
    agent.systemd.stop(UNIT).await?;
    match progress(agent) {
        Some(_) => written_over(agent, running(agent)?.other()),
        None => Ok(()),
    }
}

/// What was in a slot is no longer whole, and is not spoken of any more.
fn written_over(agent: &Agent, slot: Slot) -> anyhow::Result<()> {
    slots::withdraw(slot)?;
    super::change(agent, |record| {
        record.previous = None;
        record.staged = None;
    })?;
    super::scrub::forget(agent, slot)
}

/// Compares what was staged with the slot, once more and as a whole.
pub(super) async fn verify(agent: &Arc<Agent>, staged: &StagedRelease) -> anyhow::Result<()> {
    match run(agent, Verb::Verify(staged.parts.clone()), Rights::READ).await? {
        Outcome::Verified => Ok(()),
        other => bail!("holdfast-update answers a question that was not asked: {other:?}"),
    }
}

/// How far a staging is.
pub(super) fn progress(agent: &Agent) -> Option<Progress> {
    let bytes = files::read_foreign(agent.records.path("update").join(Progress::FILE), 4096).ok()?;
    serde_json::from_slice(&bytes).ok()
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
    agent.boot.slot().context("which slot runs is not known")
}

fn looked(agent: &Agent, found: &Found) -> anyhow::Result<Looked> {
    let checked = Checked { version: found.version.clone(), at: clock::epoch(), expires: found.expires };
    let newer = agent.updates.image.version.as_ref().is_some_and(|running| found.version > *running);
    super::change(agent, |record| {
        record.checked = Some(checked);
        // What is newer may be what could not be staged.
        if !newer {
            record.problem = None;
        }
    })?;
    let version = found.version.clone();
    Ok(if newer { Looked::Newer(version) } else { Looked::Current })
}

fn release(staged: Staged, slot: Slot) -> StagedRelease {
    StagedRelease {
        version: staged.found.version,
        slot,
        parts: staged.parts,
        at: clock::epoch(),
        needed: staged.needed,
        fetched: staged.fetched,
    }
}

/// Runs `holdfast-update` to its end.
pub(super) async fn run(agent: &Arc<Agent>, verb: Verb, rights: Rights) -> anyhow::Result<Outcome> {
    let request = request(agent, verb, rights.network)?;
    let folder = agent.records.path("update");
    let (uid, gid) = sandbox::user(USER)?;
    files::create_dir(&folder, Access::owned(0o700, uid, gid))?;
    files::remove(folder.join(UpdateResult::FILE))?;
    let text = serde_json::to_vec_pretty(&request).context("the request cannot be written")?;
    files::write_atomic_as(folder.join(Request::FILE), text, Access::owned(0o600, uid, gid))?;
    let program = Program {
        what: "holdfast-update",
        unit: UNIT,
        argv: vec![format!("{}/holdfast-update", paths::LIBEXEC), folder.display().to_string()],
        user: USER,
        network: rights.network,
        memory: MEMORY,
        time: TIME,
        folder,
    };
    let unit = unit(agent, &program, rights)?;
    let result: UpdateResult = program.run(agent, unit, UpdateResult::FILE, RESULT).await?;
    match result.outcome {
        Outcome::Error(error) => Err(error.into()),
        outcome => Ok(outcome),
    }
}

fn request(agent: &Agent, verb: Verb, network: bool) -> anyhow::Result<Request> {
    let image = &agent.updates.image;
    let settings = agent.live().document.settings.update.clone();
    let settings = match (settings, network) {
        (None, true) => return Err(Refusal::Source.into()),
        (settings, _) => settings,
    };
    let root = match (&image.root, network) {
        (Some(root), _) => root.clone(),
        (None, false) => String::new(),
        (None, true) => return Err(Refusal::Publisher.into()),
    };
    if network && !synchronized() {
        return Err(Refusal::Clock.into());
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

fn unit(agent: &Agent, program: &Program<'_>, rights: Rights) -> anyhow::Result<TransientUnit> {
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
    // The same user's, with an address in it that is nobody's business.
    let messages = format!("-{}", agent.records.path("notify").display());
    Ok(program
        .unit()
        .text(Text::Description, "Update of the box")
        .text(Text::SyslogIdentifier, "holdfast-update")
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
