//! Waiting that can be told to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

/// Asks long work to end where it waits; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for it.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks until something holds; the error is how it is instead.
    pub fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut() -> Result<T, String>,
    ) -> Result<T> {
        let end = Instant::now() + limit;
        loop {
            ensure!(!self.asked(), "stopped while waiting for {what}");
            match holds() {
                Ok(found) => return Ok(found),
                Err(state) if Instant::now() > end => bail!("no {what} in {limit:?}: {state}"),
                Err(_) => std::thread::sleep(Duration::from_millis(300)),
            }
        }
    }
}
