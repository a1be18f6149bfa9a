//! `holdfastd`: keeps the box as its owner wants it.

#![forbid(unsafe_code)]

mod agent;
mod announce;
mod boot;
mod clock;
mod console;
mod document;
mod exec;
mod execute;
mod host_keys;
mod images;
mod observe;
mod probe;
mod reconcile;
mod records;
mod run;
mod server;
mod slots;
mod user_data;

use std::process::ExitCode;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run::run()));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
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
