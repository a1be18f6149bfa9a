//! The watchdog: armed first, fed while the initrd makes progress, left running for systemd.
//!
//! Invariant: from here on a box that hangs restarts. The device is never closed in the way that stops it.

use crate::modules::{self, Module};
use std::fs::{File, OpenOptions, read_to_string};
use std::io::Write;
use std::os::fd::AsRawFd;

/// Seconds without a sign of life after which the box restarts: a file system check feeds it, loading
/// modules on a slow machine must fit.
const TIMEOUT: i32 = 120;
/// Drivers of hardware that may be there, and what they need.
const HARDWARE: [&str; 3] = ["watchdog", "i6300esb", "wdat_wdt"];
/// The kernel's own, for boxes without one.
const SOFTWARE: &str = "softdog";

nix::ioctl_readwrite!(
    /// Sets the timeout in seconds; the driver answers with what it took.
    set_timeout, b'W', 6, i32
);

/// An armed watchdog, or none.
#[derive(Debug)]
pub(crate) struct Watchdog {
    device: Option<File>,
    /// What it is, for the report.
    pub(crate) identity: String,
}

impl Watchdog {
    /// Loads the drivers out of `list` and arms the first device; the kernel's own when there is no other.
    pub(crate) fn arm(list: &[Module]) -> Watchdog {
        let named = |names: &[&str]| -> Vec<Module> {
            list.iter().filter(|m| names.contains(&m.name().as_str())).cloned().collect()
        };
        modules::load(&named(&HARDWARE));
        let mut device = open();
        if device.is_none() {
            modules::load(&named(&[SOFTWARE]));
            device = open();
        }
        let Some(device) = device else { return Watchdog { device: None, identity: String::new() } };
        let mut timeout = TIMEOUT;
        // SAFETY: the descriptor is open, and the call reads and writes one int through a valid pointer. A
        // driver that refuses keeps its own timeout.
        let _ = unsafe { set_timeout(device.as_raw_fd(), &mut timeout) };
        let identity = read_to_string("/sys/class/watchdog/watchdog0/identity").unwrap_or_default();
        let mut watchdog = Watchdog { device: Some(device), identity: identity.trim().to_owned() };
        watchdog.feed();
        watchdog
    }

    /// Says that there is progress.
    pub(crate) fn feed(&mut self) {
        if let Some(device) = &mut self.device {
            // Any byte but `V`. A write that fails leaves the time running, which is the safe side.
            let _ = device.write_all(b"\n");
        }
    }
}

fn open() -> Option<File> {
    OpenOptions::new().write(true).open("/dev/watchdog").ok()
}
