//! A disk that fails: said, and got over by a restart once it works again.
//!
//! After an error the kernel lets nothing more be done to the data file system, and a box whose disk failed at
//! boot has no data at all. A boot mends both, since it checks data before it is mounted, and nothing else does.
//! Invariant: the box restarts for this only when the disk has just taken a write and gives what is to be read, and
//! not soon after its start: a disk that fails again and again costs it a restart now and then, no more.
//! Absent: repairs; those are the initrd's, and the owner's.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_core::healing::Millis;
use agent_system::data;
use agent_system::slots::SlotStore;
use agent_system::systemd::Systemd;
use anyhow::{Context, ensure};
use image_layout::{SlotState, paths};

use crate::agent::Agent;
use crate::console::Console;
use crate::{clock, server};

/// How often the disk is looked at.
const EVERY: Duration = Duration::from_secs(20);
/// The same while it fails: a look reads all of data's metadata.
const FAILING: Duration = Duration::from_secs(60);
/// A file that there always is under the state folder.
const LOG: &str = "events/log";
/// The box has run for so long before it restarts for this.
const LEAST: Millis = 5 * 60_000;

/// Whether data failed under the running box.
#[derive(Debug, Default)]
pub(crate) struct Failed(AtomicBool);

impl Failed {
    /// What is wrong with data, in a sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        self.0.load(Ordering::Relaxed).then(|| {
            "data failed (I/O errors) and is out of use until the box restarts, which it does when the disk works \
             again"
                .to_owned()
        })
    }
}

/// Looks at the disk for ever.
pub(crate) async fn watch(agent: Arc<Agent>) {
    loop {
        let failed = agent.boot.disk_failed() || failed(&agent).await;
        tokio::time::sleep(if failed { FAILING } else { EVERY }).await;
        if failed && clock::uptime() >= LEAST {
            match works(!agent.boot.data_available()).await {
                Ok(()) => {
                    match server::restart(&agent, "the disk works again, and data is to be checked").await {
                        Ok(()) => return,
                        Err(error) => tracing::error!("the box does not restart: {error:#}"),
                    }
                }
                Err(error) => tracing::warn!("the disk does not work yet: {error:#}"),
            }
        }
    }
}

/// The agent cannot live: if the disk is to blame for it, it says so, and restarts the box once that works again.
/// It is started anew after this, as often as that takes.
pub(crate) async fn without_state(error: &anyhow::Error) {
    if !out_of_use(Path::new(paths::STATE).join(LOG)).await {
        return;
    }
    Console::open().say("error", &format!("error the agent cannot run, since data failed: {error:#}"));
    tokio::time::sleep(FAILING).await;
    if clock::uptime() >= LEAST && works(false).await.is_ok() {
        let restarted = match Systemd::connect().await {
            Ok(systemd) => systemd.enqueue("reboot.target").await,
            Err(error) => Err(error),
        };
        if let Err(error) = restarted {
            tracing::error!("the box does not restart: {error}");
        }
    }
}

/// Whether data is out of use, which is said once.
pub(crate) async fn failed(agent: &Agent) -> bool {
    let failed = agent.boot.data_available() && out_of_use(agent.records.path(LOG)).await;
    if agent.data_failed.0.swap(failed, Ordering::Relaxed) != failed {
        if failed {
            agent.events.add(
                "data-failed",
                None,
                "data failed and is out of use; `holdfast reboot` checks it",
            );
        }
        agent.wake.notify_one();
    }
    failed
}

/// Whether a file cannot be written to any more, for what became of its file system.
async fn out_of_use(file: PathBuf) -> bool {
    let opened = tokio::task::spawn_blocking(move || OpenOptions::new().append(true).open(file)).await;
    matches!(&opened, Ok(Err(error)) if is_of_disk(error))
}

/// The kernel gives either for all files of a file system that met an error.
fn is_of_disk(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::IO | rustix::io::Errno::ROFS))
}

/// Fails unless the disk takes a write of what it holds already, and where data is `unused` gives what a boot would
/// read of it.
async fn works(unused: bool) -> anyhow::Result<()> {
    let tried = tokio::task::spawn_blocking(move || {
        let store = SlotStore::booted().context("failed to find the slot state")?;
        let known: Option<SlotState> = store.read()?.into_iter().find_map(Result::ok);
        store.write(&known.context("the slot state cannot be read")?)?;
        ensure!(!unused || data::is_readable(&data::device()?)?, "data cannot be read");
        anyhow::Ok(())
    });
    tried.await.context("the look broke off")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_is_to_blame_for_is_told_from_the_rest() {
        for (code, expect) in [(5, true), (30, true), (2, false), (13, false), (24, false), (28, false)] {
            assert_eq!(is_of_disk(&io::Error::from_raw_os_error(code)), expect, "{code}");
        }
    }
}
