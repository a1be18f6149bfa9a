//! Figures of the box beside those of the peer, measured in one run.

#![forbid(unsafe_code)]

mod figure;
mod ours;
mod peer;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::figure::{Aim, Figure, Table};
use crate::ours::Ours;
use crate::peer::Peer;

/// Rounds of what is measured in turns; the median counts.
const ROUNDS: usize = 3;

/// All figures, in the order in which they are measured.
const NAMES: [&str; 7] = [
    "build-warm",
    "size-compressed",
    "boot-first",
    "boot-later",
    "idle-memory",
    "least-memory",
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
    for name in NAMES.into_iter().filter(|n| names.is_empty() || names.iter().any(|m| m == n)) {
        eprintln!("measuring {name}");
        for figure in measure(name, &ours, &peer)? {
            table.add(figure);
        }
        table.write("target/bench.json")?;
    }
    print!("{table}");
    Ok(())
}

fn measure(name: &str, ours: &Ours, peer: &Peer) -> Result<Vec<Figure>> {
    let ratio = |aim| Aim::Ratio(aim);
    Ok(match name {
        "build-warm" => {
            vec![Figure::new(name, "s", ours.build_warm()?, Some(peer.build_warm()?), ratio(0.25))]
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
        "boot-first" | "boot-later" => boots(name, ours, peer)?,
        "idle-memory" => vec![Figure::new(name, "MiB", ours.memory()?, Some(peer.memory(ours)?), ratio(0.5))],
        "least-memory" => {
            let (least, peers) = (ours.least_memory()?, peer.least_memory(ours)?);
            vec![Figure::new(name, "MiB", least, Some(peers), Aim::Ours(192.0))]
        }
        _ => vec![Figure::new(name, "s", ours.killed()?, Some(peer.killed(ours)?), ratio(0.3))],
    })
}

/// Wall time and QEMU's CPU time of a first or a later boot, ours and the peer's in turns.
fn boots(name: &str, ours: &Ours, peer: &Peer) -> Result<Vec<Figure>> {
    let later = name == "boot-later";
    let (mut walls, mut cpus) = (Pairs::default(), Pairs::default());
    for _ in 0..ROUNDS {
        let (mine, theirs) = (ours.boot(later)?, peer.boot(ours, later)?);
        walls.push(mine.wall, theirs.wall);
        cpus.push(mine.cpu, theirs.cpu);
    }
    let cpu = format!("{name}-cpu");
    Ok(vec![walls.figure(name, Aim::Ratio(0.6)), cpus.figure(&cpu, Aim::Ratio(0.6))])
}

#[derive(Default)]
struct Pairs {
    ours: Vec<f64>,
    peers: Vec<f64>,
}

impl Pairs {
    fn push(&mut self, ours: f64, peers: f64) {
        self.ours.push(ours);
        self.peers.push(peers);
    }

    fn figure(mut self, name: &str, aim: Aim) -> Figure {
        let (ours, peers) = (median(&mut self.ours), median(&mut self.peers));
        Figure::new(name, "s", ours, Some(peers), aim)
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
