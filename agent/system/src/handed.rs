//! Descriptors that systemd hands over to a service, sd_listen_fds_with_names(3).

use std::env;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of the first one.
const FIRST: RawFd = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The descriptors that were handed over to this process, with their names; empty when there are none, and at
/// every call but the first.
pub fn descriptors() -> Vec<(String, OwnedFd)> {
    let of_us = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    let count: RawFd = env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    if !of_us || TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let descriptor = |number| {
        // SAFETY: systemd opened `count` descriptors from `FIRST` on for this process, which nothing else
        // in it knows of, and they are taken only once.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        (names.next().unwrap_or_default(), descriptor)
    };
    (FIRST..FIRST + count.clamp(0, 64)).map(descriptor).collect()
}
