//! Long runs: power cuts, reboots and killed processes, counted in `target/soak.json`.

#![forbid(unsafe_code)]

mod counts;
mod kills;
mod power_cuts;
mod reboots;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use qemu_tests::Stop;
use qemu_tests::cuts::{Cut, Recording};

use crate::counts::Counts;

/// Long runs of the box in QEMU. Each adds to target/soak.json; Ctrl-C keeps what was counted.
#[derive(Parser)]
#[command(name = "soak")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
    /// Decides what is chosen at random; the time without it.
    #[arg(long, global = true)]
    seed: Option<u64>,
}

#[derive(Subcommand)]
enum Task {
    /// Cut the power at the level of the disk, in recordings of all that a box does.
    PowerCuts {
        /// Disks that are looked at while no machine runs.
        count: usize,
        /// How many of them are booted [default: one of 33].
        #[arg(long)]
        boots: Option<usize>,
        /// Of this recording alone [default: all of them].
        #[arg(long)]
        only: Option<String>,
    },
    /// Restart one box: cleanly, by a reset, and by a cut.
    Reboots {
        /// How often.
        count: usize,
    },
    /// Kill each process of a box in turn.
    Kill {
        /// How many.
        count: usize,
    },
    /// Make the disk of a power cut that failed once more, and print its path.
    Remake {
        /// Where its recording was kept.
        folder: PathBuf,
        /// Requests done before it.
        entry: usize,
        /// What was lost: none, all, some, torn.
        loss: String,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let stop = Stop::default();
    let asked = stop.clone();
    let interrupted = async {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            done = tokio::signal::ctrl_c() => done,
            _ = term.recv() => Ok(()),
        }
    };
    let work = tokio::task::spawn_blocking(move || soak(&arguments, &asked));
    tokio::pin!(work);
    let result = tokio::select! {
        biased;
        _ = interrupted => {
            // The work ends where it next waits, and takes its machine down. What then fails fails for that.
            stop.ask();
            work.await.map(|_| Ok(false))
        }
        result = &mut work => result,
    };
    match result.context("the run crashed").and_then(|r| r) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing failed.
fn soak(arguments: &Arguments, stop: &Stop) -> Result<bool> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let seed = arguments.seed.unwrap_or(now);
    let (name, count) = match &arguments.task {
        Task::PowerCuts { count, .. } => ("power-cuts", *count),
        Task::Reboots { count } => ("reboots", *count),
        Task::Kill { count } => ("kill", *count),
        Task::Remake { folder, entry, loss } => {
            let loss = serde_json::from_value(loss.as_str().into()).context("no such loss")?;
            let disk = Recording::remake(folder, &Cut { entry: *entry, loss, seed })?;
            println!("{}", disk.display());
            return Ok(true);
        }
    };
    let mut counts = Counts::open(name, count, seed, now)?;
    println!("{name} {count} --seed {seed}");
    match arguments.task {
        Task::PowerCuts { boots, ref only, .. } => {
            let boots = boots.unwrap_or(count.div_ceil(33));
            power_cuts::run(&mut counts, only.as_deref(), count, boots, seed, stop)?;
        }
        Task::Reboots { .. } => reboots::run(&mut counts, count, seed, stop)?,
        _ => kills::run(&mut counts, count, seed, stop)?,
    }
    println!("{counts}");
    Ok(counts.failed() == 0 && !stop.asked())
}
