//! All figures by name, and the table of those that were asked for.

use anyhow::{Result, bail};

use crate::bench::Bench;
use crate::figure::{Aim, Figure, Table};
use crate::{boots, container, healing, idle, updates};

type Measure = fn(&Bench, &str) -> Result<Vec<Figure>>;

/// In the order in which they are measured.
const ALL: [(&str, Measure); 18] = [
    ("build-warm", build_warm),
    ("size-compressed", size_compressed),
    ("boot-first", boots::figures),
    ("boot-later", boots::figures),
    ("idle-memory", idle::memory),
    ("idle-cpu-1", idle::cpu),
    ("idle-cpu-10", idle::cpu),
    ("idle-cpu-100", idle::cpu),
    ("least-memory", least_memory),
    ("container-run", container::figures),
    ("container-killed", healing::container),
    ("heal-agent", healing::agent),
    ("heal-power", healing::power),
    ("update-bytes-own", updates::bytes),
    ("update-bytes-five", updates::bytes),
    ("update-bytes-all", updates::bytes_all),
    ("stage-memory", updates::memory),
    ("update-downtime", updates::downtime),
];

/// Measures these, or all when there is no name.
pub(crate) fn measure(names: &[String]) -> Result<()> {
    let known: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|n| !known.contains(&n.as_str())) {
        bail!("there is no figure `{unknown}`; there are {}", known.join(", "));
    }
    let bench = Bench::new()?;
    let mut table = Table::default();
    for (name, measure) in ALL.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|m| m == name))
    {
        eprintln!("measuring {name}");
        for figure in measure(&bench, name)? {
            table.add(figure);
        }
        table.write("target/bench.json")?;
    }
    print!("{table}");
    Ok(())
}

fn build_warm(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    // The peer's takes minutes: one, between two of ours.
    let (before, peers) = (bench.ours.build_warm()?, bench.peer()?.build_warm()?);
    let mine = median(&mut [before, bench.ours.build_warm()?]);
    Ok(vec![Figure::new(name, "s", mine, Some(peers), Aim::Ratio(0.25))])
}

fn size_compressed(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    let (mine, peers) = (bench.ours.size_compressed()?, bench.peer()?.size_compressed()?);
    Ok(vec![Figure::new(name, "MB", mine, Some(peers), Aim::Ours(60.0))])
}

fn least_memory(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    let (least, peers) = (bench.ours.least_memory()?, bench.peer()?.least_memory(&bench.ours)?);
    Ok(vec![Figure::new(name, "MiB", least, Some(peers), Aim::Ours(192.0))])
}

/// The one in the middle; the larger one of two.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
