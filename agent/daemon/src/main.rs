//! `holdfastd`: keeps the box as its owner wants it.

#![forbid(unsafe_code)]

mod agent;
mod announce;
mod boot;
mod clock;
mod console;
mod disk;
mod doctor;
mod document;
mod eviction;
mod exec;
mod execute;
mod host_keys;
mod images;
mod journal;
mod network;
mod notify;
mod observe;
mod power_button;
mod probe;
mod provider_network;
mod reconcile;
mod records;
mod report;
mod reserve;
mod run;
mod sandbox;
mod server;
mod service;
mod slots;
mod space;
mod starts;
mod update;
mod user_data;
mod volume_tar;

use std::process::ExitCode;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let ended = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {
            log();
            agent()
        }
        ["volume-export", folder] => volume_tar::export(folder.as_ref(), std::io::stdout().lock()),
        ["volume-import", folder] => volume_tar::import(folder.as_ref(), std::io::stdin().lock()),
        _ => Err(anyhow::anyhow!("usage: holdfastd [volume-export FOLDER | volume-import FOLDER]")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn agent() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(run::run());
    // What is being removed goes on at the next start.
    runtime.shutdown_background();
    ended
}

/// To the journal, with the fields of each entry as they are named; to stderr where there is no journal.
fn log() {
    let level = tracing_subscriber::filter::LevelFilter::INFO;
    match tracing_journald::layer() {
        Ok(journal) => {
            tracing_subscriber::registry().with(level).with(journal.with_field_prefix(None)).init()
        }
        Err(_) => tracing_subscriber::registry().with(level).with(tracing_subscriber::fmt::layer()).init(),
    }
}
