//! Figures of the box beside those of the peer, measured in one run.

#![forbid(unsafe_code)]

mod container;
mod figure;
mod ours;
mod peer;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::figure::{Aim, Figure, Table};
use crate::ours::{Boot, Ours};
use crate::peer::Peer;

/// Rounds of what is measured in turns; the median counts.
const ROUNDS: usize = 3;
/// How long boxes are left alone before their memory is looked at.
const IDLE: Duration = Duration::from_secs(60);
/// How long they are left alone before something in one of them is killed.
const SETTLED: Duration = Duration::from_secs(20);

/// All figures, in the order in which they are measured.
const NAMES: [&str; 8] = [
    "build-warm",
    "size-compressed",
    "boot-first",
    "boot-later",
    "idle-memory",
    "least-memory",
    "container-run",
    "container-killed",
];

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    match bench(&names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(names: &[String]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|n| !NAMES.contains(&n.as_str())) {
        bail!("there is no figure `{unknown}`; there are {}", NAMES.join(", "));
    }
    let ours = Ours::new()?;
    let peer = Peer::build(&ours)?;
    let mut table = Table::default();
    let mut boots = None;
    for name in NAMES.into_iter().filter(|n| names.is_empty() || names.iter().any(|m| m == n)) {
        eprintln!("measuring {name}");
        for figure in measure(name, &ours, &peer, &mut boots)? {
            table.add(figure);
        }
        table.write("target/bench.json")?;
    }
    print!("{table}");
    Ok(())
}

fn measure(name: &str, ours: &Ours, peer: &Peer, boots: &mut Option<Boots>) -> Result<Vec<Figure>> {
    let ratio = |aim| Aim::Ratio(aim);
    Ok(match name {
        "build-warm" => {
            // The peer's takes minutes: one, between two of ours.
            let (before, peers) = (ours.build_warm()?, peer.build_warm()?);
            let mine = median(&mut [before, ours.build_warm()?]);
            vec![Figure::new(name, "s", mine, Some(peers), ratio(0.25))]
        }
        "size-compressed" => {
            vec![Figure::new(
                name,
                "MB",
                ours.size_compressed()?,
                Some(peer.size_compressed()?),
                Aim::Ours(60.0),
            )]
        }
        "boot-first" | "boot-later" => {
            let measured = match boots.take() {
                Some(measured) => measured,
                None => Boots::measure(ours, peer)?,
            };
            boots.insert(measured).figures(name)
        }
        "idle-memory" => {
            let [mine, peers] = idle_memory(ours, peer)?;
            vec![Figure::new(name, "MiB", mine, Some(peers), ratio(0.5))]
        }
        "least-memory" => {
            let (least, peers) = (ours.least_memory()?, peer.least_memory(ours)?);
            vec![Figure::new(name, "MiB", least, Some(peers), Aim::Ours(192.0))]
        }
        "container-run" => {
            let (mine, crun) = container::run(ours, &peer.crun()?)?;
            vec![Figure::new(name, "ms", mine, Some(crun), ratio(1.2))]
        }
        _ => {
            let [mine, peers] = container_killed(ours, peer)?;
            vec![Figure::new(name, "s", mine, Some(peers), ratio(0.3))]
        }
    })
}

/// MiB in use, ours and the peer's, of boxes that are idle side by side.
fn idle_memory(ours: &Ours, peer: &Peer) -> Result<[f64; 2]> {
    let mut used = [vec![], vec![]];
    for _ in 0..ROUNDS {
        let (mine, peers) = (ours.served("memory.raw", false)?, peer.served(ours)?);
        std::thread::sleep(IDLE);
        used[0].push(ours.memory(&mine)?);
        used[1].push(peer.memory(&peers)?);
        mine.kill()?;
        peers.kill()?;
    }
    Ok(used.map(|mut side| median(&mut side)))
}

/// Seconds without a page after the container's first process is killed: on a box of ours and on one of the
/// peer's in turns, while the other one is left alone.
fn container_killed(ours: &Ours, peer: &Peer) -> Result<[f64; 2]> {
    let (mut mine, peers) = (ours.served("killed.raw", true)?, peer.served(ours)?);
    let mut gaps = [vec![], vec![]];
    for _ in 0..ROUNDS {
        std::thread::sleep(SETTLED);
        gaps[0].push(ours.killed(&mut mine)?);
        std::thread::sleep(SETTLED);
        gaps[1].push(peer.killed(&peers)?);
    }
    mine.kill()?;
    peers.kill()?;
    Ok(gaps.map(|mut side| median(&mut side)))
}

/// First and later boots, ours and the peer's in turns.
#[derive(Default)]
struct Boots {
    first: Vec<[Boot; 2]>,
    later: Vec<[Boot; 2]>,
}

impl Boots {
    fn measure(ours: &Ours, peer: &Peer) -> Result<Boots> {
        let mut boots = Boots::default();
        for _ in 0..ROUNDS {
            let ([first, later], [peers_first, peers_later]) = (ours.boots()?, peer.boots(ours)?);
            boots.first.push([first, peers_first]);
            boots.later.push([later, peers_later]);
        }
        Ok(boots)
    }

    /// Wall time, and QEMU's CPU time, which is steadier.
    fn figures(&self, name: &str) -> Vec<Figure> {
        let pairs = if name == "boot-first" { &self.first } else { &self.later };
        let figure = |name: &str, seconds: fn(&Boot) -> f64| {
            let [ours, peer] = [0, 1]
                .map(|side| median(&mut pairs.iter().map(|pair| seconds(&pair[side])).collect::<Vec<_>>()));
            Figure::new(name, "s", ours, Some(peer), Aim::Ratio(0.6))
        };
        vec![figure(name, |boot| boot.wall), figure(&format!("{name}-cpu"), |boot| boot.cpu)]
    }
}

/// The one in the middle; the larger one of two.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
