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
use agent_core::healing::Millis;
use agent_core::space::{self, Project, Room};
use agent_core::{Action, ContainerName};
use agent_system::quota::{self, QuotaError};
use anyhow::Context;
use image_layout::paths;
use tokio::sync::Notify;

use crate::agent::{Agent, Live};
use crate::server::{self, disk};
use crate::{clock, execute, images, starts};

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
    if let Err(error) = starts::look(agent) {
        failed(format!("what is kept for containers that start cannot be given or taken back: {error:#}"));
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
    // What a volume or layer that is gone was counted under.
    for project in empty.iter().filter(|project| project.limit.is_some()) {
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
pub(crate) fn room() -> Room {
    let disk = disk();
    let inodes = rustix::fs::statvfs(paths::STATE).map(|all| (all.f_files, all.f_ffree));
    let (inodes, free_inodes) = inodes.unwrap_or_default();
    let free = disk.size - disk.used;
    Room { size: disk.size, available: disk.available, free, inodes, free_inodes }
}

/// Removes images that nothing uses until there is room, or all when they were asked for.
fn collect(agent: &Agent, all: bool) -> anyhow::Result<()> {
    let came = |reference: &str| agent_containers::fetch::offers(Path::new(paths::IMAGES), reference);
    let fetched = |reference: &str| images::staging(agent, reference).join(FetchResult::FILE).exists();
    let (mut removed, mut bytes) = (Vec::new(), 0);
    // At first what belongs to no image, and what was downloaded of images that could not be had.
    let mut images = 0;
    loop {
        let _alone = agent.store.alone();
        let names = agent.store.names().context("failed to read the image store")?;
        let made_from = execute::made_from(agent)?;
        let rounds = *agent.rounds.borrow();
        let on_trial = agent.updates.on_trial();
        let keep = kept(&agent.live(), rounds, on_trial, &made_from, &names, came, fetched);
        let Some(keep) = keep else { break };
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
/// layers may be those of unused images, or something that the box should have or has cannot be read. `came` says
/// whether a reference came with the box, `fetched` whether it waits to be taken into the store.
fn kept(
    live: &Live,
    rounds: u64,
    on_trial: bool,
    made_from: &BTreeMap<ContainerName, Option<String>>,
    names: &BTreeMap<String, Name>,
    came: impl Fn(&str) -> bool,
    fetched: impl Fn(&str) -> bool,
) -> Option<BTreeSet<Digest>> {
    let wanted: BTreeSet<&str> = live.desired.instances.values().flat_map(|i| i.references()).collect();
    let known = rounds > 0
        && live.planned == live.generation
        && live.unusable.is_empty()
        && live.complaints.is_empty();
    if !known || fetching(live) || wanted.iter().any(|reference| fetched(reference)) {
        return None;
    }
    let named = names.iter().filter(|(reference, _)| wanted.contains(reference.as_str()) || came(reference));
    let used = server::used_images(live, made_from, on_trial);
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

#[cfg(test)]
mod tests {
    use agent_core::allocate::{Taken, allocate};
    use agent_core::desired::{ContainerDesired, InstanceDesired, Rendered, StepDesired, StepPlace};
    use agent_core::state::{Counters, InstanceRecord, Pin};
    use agent_core::{Desired, Observed};
    use recipes::model::{Restart, When};

    use super::*;

    type Layers = BTreeMap<ContainerName, Option<String>>;

    fn digest(of: &str) -> Digest {
        Digest::of(of.as_bytes())
    }

    fn pin(of: &str, previous: Option<&str>) -> Pin {
        Pin { digest: digest(of).to_string(), previous: previous.map(|of| digest(of).to_string()) }
    }

    /// What containers were made from.
    fn layers(of: &[(&str, Option<&str>)]) -> Layers {
        let layer = |(name, of): &(&str, Option<&str>)| {
            (ContainerName::parse(name).unwrap(), of.map(|of| digest(of).to_string()))
        };
        of.iter().map(layer).collect()
    }

    /// A box with an instance `site` that had `site:1` and `site:2`, and whose document names `site:3` for its
    /// container and `job:1` for its step.
    fn live() -> Live {
        let web = ContainerDesired {
            image: "site:3".into(),
            ports: vec![],
            config: Rendered::Waiting(BTreeSet::new()),
            health: None,
            restart: Restart::Always,
            require: vec![],
        };
        let job = StepDesired {
            place: StepPlace::OneOff { image: "job:1".into(), config: Rendered::Waiting(BTreeSet::new()) },
            run: Rendered::Waiting(BTreeSet::new()),
            require: vec![],
            when: When::Once,
            timeout: Duration::ZERO,
            retries: 0,
        };
        let wanted = InstanceDesired {
            name: "site".into(),
            recipe: "site".into(),
            volumes: BTreeMap::new(),
            secrets: BTreeMap::new(),
            containers: BTreeMap::from([("web".into(), web)]),
            steps: BTreeMap::from([("job".into(), job)]),
            params: String::new(),
            health_timeout: Duration::ZERO,
        };
        let pins = ["site:1", "site:2", "site:3", "job:1"].map(|name| (name.to_owned(), pin(name, None)));
        let record = InstanceRecord {
            name: "site".into(),
            in_force: true,
            allocation: allocate(&Counters::default(), &Taken::default(), &[], 1).unwrap().0,
            pins: pins.into(),
            steps: BTreeMap::new(),
        };
        let desired = Desired { instances: BTreeMap::from([("site".into(), wanted)]), ..Desired::default() };
        let observed = Observed { records: BTreeMap::from([("site".into(), record)]), ..Observed::default() };
        Live {
            generation: 3,
            planned: 3,
            desired: Arc::new(desired),
            observed: Arc::new(observed),
            ..Live::default()
        }
    }

    fn record(live: &mut Live) -> &mut InstanceRecord {
        Arc::make_mut(&mut live.observed).records.get_mut("site").unwrap()
    }

    fn runs(live: &mut Live, action: Action) {
        live.memory.running.insert(action.id(), action);
    }

    /// Which images are used, and by whom, once a box was changed and its layers were made so.
    fn check(what: &str, change: fn(&mut Live), made: &[(&str, Option<&str>)], expect: &[(&str, &str)]) {
        let mut live = live();
        change(&mut live);
        let used = server::used_images(&live, &layers(made), false).into_iter();
        let used = used.map(|(digest, users)| (digest, Vec::from_iter(users).join(" ")));
        let expect = expect.iter().map(|(of, users)| (digest(of).to_string(), (*users).to_owned()));
        assert_eq!(used.collect::<BTreeMap<_, _>>(), expect.collect::<BTreeMap<_, _>>(), "{what}");
    }

    #[test]
    fn an_image_is_used_as_long_as_something_is_made_from_it_or_will_be() {
        let named = [("site:3", "site.web"), ("job:1", "site.job")];
        let all = [named[0], named[1], ("site:1", "site"), ("site:2", "site")];
        check("what the document names", |_| (), &[("site.web", Some("site:3"))], &named);
        check("a container that was never made", |_| (), &[], &named);
        check(
            "a container of the image before, while the new one cannot be had",
            |live| drop(record(live).pins.remove("site:3")),
            &[("site.web", Some("site:2"))],
            &[("site:2", "site.web"), ("job:1", "site.job")],
        );
        check(
            "what a pull would go back to",
            |live| drop(record(live).pins.insert("site:3".into(), pin("new", Some("site:3")))),
            &[("site.web", Some("site:3"))],
            &[("new", "site.web"), named[0], named[1]],
        );
        check("a container made from what is not known", |_| (), &[("site.web", None)], &all);
        check("one of another instance", |_| (), &[("other.web", None)], &named);
        check("a document that is not planned", |live| live.generation = 4, &[], &all);
        check("a newer one that cannot be read", |live| live.unusable.push("generation 4".into()), &[], &all);
        check(
            "documents that are lost",
            |live| live.desired = Arc::new(Desired { lost: true, ..Desired::default() }),
            &[],
            &["site:1", "site:2", "site:3", "job:1"].map(|name| (name, "site")),
        );
        check(
            "an instance that was removed",
            |live| {
                live.desired = Arc::default();
                record(live).in_force = false;
            },
            &[],
            &[],
        );
    }

    #[test]
    fn the_version_before_one_on_trial_finds_its_images() {
        let used = server::used_images(&live(), &layers(&[("site.web", Some("site:3"))]), true);
        let all: BTreeSet<String> =
            ["site:1", "site:2", "site:3", "job:1"].map(|name| digest(name).to_string()).into();
        assert_eq!(used.into_keys().collect::<BTreeSet<_>>(), all);
    }

    /// Digests that stay of all that the store has, of which `own:1` came with the box.
    fn keep(live: &Live, rounds: u64, fetched: &str) -> Option<BTreeSet<Digest>> {
        let known = ["site:1", "site:2", "site:3", "job:1", "own:1", "other:1"];
        let name = |name: &str| (name.to_owned(), Name { image: digest(name), resolved: digest(name) });
        let names = BTreeMap::from(known.map(name));
        let made_from = layers(&[("site.web", Some("site:3"))]);
        kept(live, rounds, false, &made_from, &names, |name| name == "own:1", |name| name == fetched)
    }

    #[test]
    fn images_go_only_where_it_is_known_for_sure_that_nothing_needs_them() {
        let some = |names: &[&str]| Some(names.iter().map(|name| digest(name)).collect::<BTreeSet<_>>());
        assert_eq!(keep(&live(), 1, ""), some(&["site:3", "job:1", "own:1"]));
        let mut unpinned = live();
        record(&mut unpinned).pins.clear();
        assert_eq!(keep(&unpinned, 1, ""), some(&["site:3", "job:1", "own:1"]), "named, and not pinned yet");

        assert_eq!(keep(&live(), 0, ""), None, "before the first round");
        assert_eq!(keep(&live(), 1, "site:3"), None, "fetched, and not taken in yet");
        assert_eq!(keep(&live(), 1, "gone:1"), keep(&live(), 1, ""), "fetched, and not wanted any more");
        let unsure: [(&str, fn(&mut Live)); 6] = [
            ("not planned yet", |live| live.generation = 4),
            ("a document that cannot be read", |live| live.unusable.push("generation 4".into())),
            ("a record that cannot be read", |live| live.complaints.push("other.json".into())),
            ("being fetched", |live| {
                let reference = "site:4".into();
                runs(live, Action::FetchImage { reference, digest: None, embedded: false });
            }),
            ("being taken in", |live| runs(live, Action::AdoptImage { reference: "site:4".into() })),
            ("a digest that is none", |live| {
                let pin = Pin { digest: "none".into(), previous: None };
                record(live).pins.insert("site:3".into(), pin);
            }),
        ];
        for (what, change) in unsure {
            let mut live = live();
            change(&mut live);
            assert_eq!(keep(&live, 1, ""), None, "{what}");
        }
        let mut busy = live();
        runs(&mut busy, Action::Allocate("site".into()));
        assert_eq!(keep(&busy, 1, ""), keep(&live(), 1, ""), "other work");
    }
}
