//! What is in a report, one by one, and how it is had.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use agent_core::ContainerName;
use anyhow::{Context, bail};
use image_layout::paths;
use serde::Serialize;
use tokio::process::Command;

use super::records;
use crate::agent::Agent;
use crate::{clock, journal, notify, server, update};

/// A file of the report.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Its name.
    pub(super) name: String,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    About,
    Status,
    Doctor,
    Plan,
    Events,
    Update,
    Notify,
    Images,
    Volumes,
    Network,
    Ruleset,
    Units,
    Usage,
    Records,
    Document,
    File(&'static str),
    /// Arguments of `journalctl`, and bytes.
    Journal(Vec<String>, usize),
}

/// Files of the kernel and of ours that hold no secret.
const FILES: [(&str, &str); 16] = [
    ("initrd.json", paths::INITRD_REPORT),
    ("kernel/cmdline.txt", "/proc/cmdline"),
    ("kernel/loadavg.txt", "/proc/loadavg"),
    ("kernel/meminfo.txt", "/proc/meminfo"),
    ("kernel/mounts.txt", "/proc/self/mountinfo"),
    ("kernel/partitions.txt", "/proc/partitions"),
    ("kernel/pressure-cpu.txt", "/proc/pressure/cpu"),
    ("kernel/pressure-io.txt", "/proc/pressure/io"),
    ("kernel/pressure-memory.txt", "/proc/pressure/memory"),
    ("kernel/vmstat.txt", "/proc/vmstat"),
    ("network/addresses6.txt", "/proc/net/if_inet6"),
    ("network/counters.txt", "/proc/net/dev"),
    ("network/resolv.conf", "/etc/resolv.conf"),
    ("network/routes4.txt", "/proc/net/fib_trie"),
    ("network/routes4-main.txt", "/proc/net/route"),
    ("network/routes6.txt", "/proc/net/ipv6_route"),
];

/// What the box's own units say: systemd, and what it starts but containers. Of the agent's own unit only what the
/// agent says: steps that run in a container write there too.
const OWN: [&str; 19] = [
    "_SYSTEMD_UNIT=holdfastd.service",
    "_TRANSPORT=journal",
    "+",
    "_SYSTEMD_UNIT=holdfastd.service",
    "_COMM=holdfastd",
    "+",
    "_PID=1",
    "+",
    "_SYSTEMD_UNIT=dbus-broker.service",
    "_SYSTEMD_UNIT=sshd.service",
    "_SYSTEMD_UNIT=systemd-journald.service",
    "_SYSTEMD_UNIT=systemd-modules-load.service",
    "_SYSTEMD_UNIT=systemd-sysctl.service",
    "_SYSTEMD_UNIT=systemd-timesyncd.service",
    "_SYSTEMD_UNIT=systemd-udevd.service",
    "+",
    "SYSLOG_IDENTIFIER=holdfast-fetch",
    "SYSLOG_IDENTIFIER=holdfast-notify",
    "SYSLOG_IDENTIFIER=holdfast-update",
];
/// Lines of the journal that are looked at.
const LINES: usize = 50_000;
/// Containers whose output is taken.
const CONTAINERS: usize = 32;

/// All of it, what says most first.
pub(super) fn all(agent: &Agent, logs: bool) -> Vec<Item> {
    let named = [
        ("about.txt", Source::About),
        ("doctor.json", Source::Doctor),
        ("status.json", Source::Status),
        ("plan.json", Source::Plan),
        ("events.jsonl", Source::Events),
        ("document.toml", Source::Document),
        ("update.json", Source::Update),
        ("notify.json", Source::Notify),
        ("images.json", Source::Images),
        ("volumes.json", Source::Volumes),
        ("units.txt", Source::Units),
        ("usage.txt", Source::Usage),
        ("records.txt", Source::Records),
        ("network/status.json", Source::Network),
        ("network/ruleset.txt", Source::Ruleset),
    ];
    let files = FILES.map(|(name, path)| (name, Source::File(path)));
    let kernel = ["--dmesg", "--boot=0"].map(str::to_owned).to_vec();
    let of_boot = |boot: &str, more: &[&str]| {
        let all = [boot].into_iter().chain(OWN).chain(more.iter().copied());
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    let journals = [
        ("journal/kernel.txt", Source::Journal(kernel, 1 << 20)),
        ("journal/own.txt", Source::Journal(of_boot("--boot=0", &[]), 2 << 20)),
        ("journal/previous.txt", Source::Journal(of_boot("--boot=-1", &["+", "_TRANSPORT=kernel"]), 1 << 20)),
    ];
    let fixed = named.into_iter().chain(files).chain(journals);
    let fixed = fixed.map(|(name, source)| Item { name: name.to_owned(), source });
    fixed.chain(if logs { of_containers(agent) } else { Vec::new() }).collect()
}

/// The output of containers, and of steps that are containers of their own.
fn of_containers(agent: &Agent) -> Vec<Item> {
    let live = agent.live();
    let names = live.desired.instances.iter().flat_map(|(instance, wanted)| {
        wanted.addressed().into_iter().map(move |name| ContainerName::new(instance, name))
    });
    let item = |name: ContainerName| Item {
        name: format!("logs/{name}.txt"),
        source: Source::Journal(
            vec!["--boot=all".into(), format!("_SYSTEMD_UNIT={}", name.unit())],
            512 << 10,
        ),
    };
    // Steps that run in a container write where the agent does. The unit that journald names is theirs or the agent's,
    // as they still run or not when it looks.
    let steps = ["--boot=all", "SYSLOG_IDENTIFIER=holdfastd", "_TRANSPORT=stdout"].map(str::to_owned);
    let steps = Item { name: "logs/steps.txt".into(), source: Source::Journal(steps.into(), 512 << 10) };
    names.take(CONTAINERS).map(item).chain([steps]).collect()
}

/// The text of an item.
pub(super) async fn collect(agent: &Arc<Agent>, item: &Item) -> anyhow::Result<String> {
    match &item.source {
        Source::About => Ok(about()),
        Source::Status => json(&server::state(agent).await),
        Source::Doctor => json(&server::doctor(agent).await),
        Source::Plan => json(&server::plan(agent)),
        Source::Events => events(agent),
        Source::Update => json(&update::status(agent)),
        Source::Notify => json(&notify::status(agent)),
        Source::Images => json(&server::images(agent)?),
        Source::Volumes => json(&server::volumes(agent)),
        Source::Network => json(&agent.live().network.clone()),
        Source::Ruleset => {
            let mut nft = Command::new("/usr/sbin/nft");
            nft.env_clear().args(["list", "ruleset"]);
            journal::run(nft, 1 << 20).await
        }
        Source::Units => units(agent).await,
        Source::Usage => usage(),
        Source::Records => Ok(records::list(Path::new(paths::STATE))),
        Source::Document => document(agent),
        Source::File(path) => {
            let bytes = std::fs::read(path).with_context(|| format!("failed to read `{path}`"))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Source::Journal(arguments, bytes) => {
            let arguments =
                ["--output=short-iso-precise"].into_iter().chain(arguments.iter().map(String::as_str));
            journal::read(&arguments.collect::<Vec<_>>(), LINES, *bytes).await
        }
    }
}

fn json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn about() -> String {
    format!(
        "A report on a Holdfast box, made at {} by `holdfast report`.\n\
         Image {}, agent {}, kernel {}.\n\
         Secrets are left out, or stand as [hidden]. What could not be had is in notes.txt.\n\
         Read doctor.json first, then status.json and events.jsonl.\n",
        clock::rfc3339(clock::epoch()),
        server::image_version(),
        env!("CARGO_PKG_VERSION"),
        rustix::system::uname().release().to_string_lossy(),
    )
}

fn events(agent: &Agent) -> anyhow::Result<String> {
    let (events, _) = agent.events.follow(0);
    let mut text = String::new();
    for event in events {
        text += &(serde_json::to_string(&event)? + "\n");
    }
    Ok(text)
}

async fn units(agent: &Agent) -> anyhow::Result<String> {
    let mut text = String::new();
    for unit in agent.systemd.list(&["*"]).await? {
        let _ = writeln!(text, "{:<12} {:<12} {}", format!("{:?}", unit.active), unit.sub, unit.name);
    }
    Ok(text)
}

/// Room on each file system that holds something.
fn usage() -> anyhow::Result<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("failed to read the mounts")?;
    let mut text = String::from("size used available files free-files where\n");
    for path in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let Ok(stat) = rustix::fs::statvfs(path) else { continue };
        if stat.f_blocks == 0 {
            continue;
        }
        let unit = stat.f_frsize;
        let (size, free, available) = (stat.f_blocks * unit, stat.f_bfree * unit, stat.f_bavail * unit);
        let used = size - free;
        let _ = writeln!(text, "{size} {used} {available} {} {} {path}", stat.f_files, stat.f_ffree);
    }
    Ok(text)
}

/// The document in force, without its secrets.
fn document(agent: &Agent) -> anyhow::Result<String> {
    let number = agent.live().generation;
    if number == 0 {
        bail!("none is in force");
    }
    let in_force = |generation: &agent_core::state::Generation| match generation.number == number {
        true => Ok(()),
        false => Err(String::new()),
    };
    let (generation, _) = agent.records.newest_generation(in_force);
    let generation = generation.context("it cannot be read")?;
    let shown = recipes::hide(generation.document.expose()).context("it is no TOML")?;
    let (channel, at) = (generation.source.channel, clock::rfc3339(generation.accepted_at));
    Ok(format!("# Generation {number}, from {channel}, accepted at {at}; comments are left out.\n{shown}"))
}
