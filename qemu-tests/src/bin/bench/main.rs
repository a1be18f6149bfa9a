//! Figures of the box beside those of the peer, measured in one run.

#![forbid(unsafe_code)]

mod container;
mod figure;
mod ours;
mod peer;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::figure::{Aim, Figure, Table};
use crate::ours::{Boot, Ours};
use crate::peer::Peer;

/// Rounds of what is measured in turns; the median counts.
const ROUNDS: usize = 3;

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
        "boot-first" | "boot-later" => {
            let measured = match boots.take() {
                Some(measured) => measured,
                None => Boots::measure(ours, peer)?,
            };
            boots.insert(measured).figures(name)
        }
        "idle-memory" => vec![Figure::new(name, "MiB", ours.memory()?, Some(peer.memory(ours)?), ratio(0.5))],
        "least-memory" => {
            let (least, peers) = (ours.least_memory()?, peer.least_memory(ours)?);
            vec![Figure::new(name, "MiB", least, Some(peers), Aim::Ours(192.0))]
        }
        "container-run" => {
            let (mine, crun) = container::run(ours, &peer.crun()?)?;
            vec![Figure::new(name, "ms", mine, Some(crun), ratio(1.2))]
        }
        _ => vec![Figure::new(name, "s", ours.killed()?, Some(peer.killed(ours)?), ratio(0.3))],
    })
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

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
