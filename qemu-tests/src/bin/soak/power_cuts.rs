//! Power cuts at the level of the disk, over all recordings.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use qemu_tests::cuts::{Checker, Cut, Loss, RECORDINGS, Recording, Stage, boot_problems};
use qemu_tests::{Disk, Lab, Registry, Stop};

use crate::counts::{Counts, Failure};

/// A line is printed after so many disks.
const PROGRESS: usize = 25;

/// Looks at `count` disks, and boots `boots` of them, of all recordings or of the one with that name.
pub(crate) fn run(
    counts: &mut Counts,
    only: Option<&str>,
    count: usize,
    boots: usize,
    seed: u64,
    stop: &Stop,
) -> Result<()> {
    let chosen: Vec<_> =
        RECORDINGS.into_iter().filter(|subject| only.is_none_or(|only| only == subject.name)).collect();
    ensure!(
        !chosen.is_empty(),
        "there is no such recording; there are {}",
        RECORDINGS.map(|s| s.name).join(", ")
    );
    let lab = Lab::new()?;
    let registry = Registry::with_apps(&lab, &["nginx", "probe"])?;
    let stage = Stage { lab: &lab, registry: &registry, stop };
    let share = |all: usize, n: usize| all / chosen.len() + usize::from(n < all % chosen.len());
    for (n, subject) in chosen.iter().enumerate() {
        let (disks, boots) = (share(count, n), share(boots, n).min(share(count, n)));
        if disks == 0 {
            continue;
        }
        let start = Instant::now();
        let recording = subject.record(&stage)?;
        let entries = recording.log.entries.len();
        println!("{}: {entries} requests recorded in {:.0} s", subject.name, start.elapsed().as_secs_f64());
        cuts(counts, &stage, &recording, &Cut::spread(entries, &recording.moments(), disks, seed), boots)?;
        recording.remove()?;
        if stop.asked() {
            break;
        }
    }
    Ok(())
}

fn cuts(
    counts: &mut Counts,
    stage: &Stage<'_>,
    recording: &Recording,
    cuts: &[Cut],
    boots: usize,
) -> Result<()> {
    let checker = Checker::new(stage.lab, recording)?;
    let mut replay = recording.replay("soak")?;
    let start = Instant::now();
    for (n, cut) in cuts.iter().enumerate() {
        if stage.stop.asked() {
            return Ok(());
        }
        let disk = replay.cut(cut, "cut.raw")?;
        let problems = checker.problems(&disk, cut)?;
        count(counts, recording, cut, "checked", problems, &disk)?;
        // Spread evenly over the cuts, each in the middle of its share.
        let before = |n: usize| (n * boots + cuts.len() / 2) / cuts.len();
        if before(n + 1) > before(n) {
            let problems = boot_problems(stage.lab, recording, &disk, cut, stage.stop)?;
            if stage.stop.asked() {
                return Ok(());
            }
            println!("{}: booted {cut:?}", recording.name);
            count(counts, recording, cut, "booted", problems, &disk)?;
        }
        if (n + 1) % PROGRESS == 0 || n + 1 == cuts.len() {
            let seconds = start.elapsed().as_secs_f64();
            println!("{}: {} of {} cuts, {seconds:.0} s", recording.name, n + 1, cuts.len());
        }
    }
    Ok(())
}

fn count(
    counts: &mut Counts,
    recording: &Recording,
    cut: &Cut,
    how: &str,
    problems: Vec<String>,
    disk: &Disk,
) -> Result<()> {
    let way = match cut.loss {
        Loss::None => "nothing-lost",
        Loss::All => "all-lost",
        Loss::Some => "some-lost",
        Loss::Torn => "some-lost-one-torn",
    };
    let failure = match problems.is_empty() {
        true => None,
        false => Some(Failure {
            run: 0,
            what: format!("{} ({how})", recording.name),
            cut: Some(*cut),
            problems,
            kept: keep(recording, disk)?,
        }),
    };
    counts.add(recording.name, &format!("{way}, {how}"), failure)
}

/// Keeps what a failure can be seen with again, of the first one of a recording.
fn keep(recording: &Recording, disk: &Disk) -> Result<Option<String>> {
    let folder = PathBuf::from(format!("target/soak/{}-{}", recording.name, std::process::id()));
    let first = !folder.exists();
    if first {
        recording.keep(&folder, disk)?;
    }
    Ok(Some(folder.display().to_string()))
}
