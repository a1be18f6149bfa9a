//! What the box writes to its serial console.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Text in a console line that means trouble, whatever the test is about.
pub const TROUBLE: [&str; 12] = [
    "Kernel panic",
    "Oops:",
    "BUG:",
    "Call Trace",
    "segfault at",
    "general protection",
    "ordering cycle",
    "Out of memory",
    "oom-kill:",
    "blocked for more than",
    "panicked at",
    "I/O error",
];

/// What the boot loader says.
const STARTS: &str = "starting slot";

/// Parts of what the kernel says before it restarts the box for what it has read.
const ROTTEN: [&str; 2] = ["device-mapper: verity: ", "is corrupted"];

/// The console, read by a thread of its own from a socket.
#[derive(Clone, Debug)]
pub struct Console {
    state: Arc<(Mutex<State>, Condvar)>,
    /// Where the box would read.
    port: Option<Arc<UnixStream>>,
}

/// An emulated port that has lost an interrupt sends nothing until it has another. A byte that is received is one,
/// and nobody reads it.
const NUDGE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
struct State {
    text: String,
    ended: bool,
}

impl Console {
    pub(crate) fn follow(mut socket: UnixStream) -> Console {
        let port = socket.try_clone().ok().map(Arc::new);
        let console = Console { state: Arc::default(), port };
        let state = console.state.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = socket.read(&mut buffer).unwrap_or(0);
                let mut locked = state.0.lock().unwrap_or_else(|e| e.into_inner());
                locked.text.push_str(&String::from_utf8_lossy(&buffer[..read]));
                locked.ended = read == 0;
                state.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        console
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.state.0.lock().unwrap_or_else(|e| e.into_inner()).text.clone()
    }

    /// How long the text is now, for [`Console::wait_after`].
    pub fn mark(&self) -> usize {
        self.state.0.lock().unwrap_or_else(|e| e.into_inner()).text.len()
    }

    /// Waits for `wanted` to appear anywhere and gives the line that it is in.
    pub fn wait(&self, wanted: &str, limit: Duration) -> Result<String> {
        self.wait_after(0, wanted, limit)
    }

    /// Waits for `wanted` to appear behind `mark`.
    pub fn wait_after(&self, mark: usize, wanted: &str, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        let mut locked = self.state.0.lock().unwrap_or_else(|e| e.into_inner());
        loop {
            if let Some(at) = locked.text.get(mark..).and_then(|t| t.find(wanted)) {
                let (before, after) = locked.text.split_at(mark + at);
                let start = before.rfind('\n').map_or(0, |n| n + 1);
                let stop = after.find('\n').map_or(locked.text.len(), |n| before.len() + n);
                return Ok(locked.text[start..stop].trim_end().to_owned());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || locked.ended {
                let why = if locked.ended { "ended" } else { "timed out" };
                bail!("the console {why} without `{wanted}`; its last lines:\n{}", tail(&locked.text, 40));
            }
            let waited = self.state.1.wait_timeout(locked, left.min(NUDGE));
            let (again, out) = waited.unwrap_or_else(|e| e.into_inner());
            locked = again;
            if let Some(mut port) = self.port.as_deref().filter(|_| out.timed_out()) {
                // One that is gone has ended, which is noticed above.
                let _ = port.write_all(b"\0");
            }
        }
    }

    /// The last `lines` lines.
    pub fn tail(&self, lines: usize) -> String {
        tail(&self.text(), lines)
    }

    /// Lines that mean trouble, but for those that contain one of `expected`.
    pub fn trouble(&self, expected: &[&str]) -> Vec<String> {
        trouble(&self.text(), expected)
    }
}

fn trouble(text: &str, expected: &[&str]) -> Vec<String> {
    let mut restarts = false;
    let counts = |line: &&str| {
        // What is being read when the kernel restarts the box for a wrong byte of the root is broken off.
        restarts = !line.contains(STARTS) && (restarts || ROTTEN.iter().all(|part| line.contains(part)));
        let broken_off = restarts && line.contains("I/O error");
        // An emulated processor that the host did not run for a while: nothing that the box could help.
        let starved = line.contains("soft lockup - CPU#");
        let bad = TROUBLE.iter().any(|t| line.contains(t));
        bad && !broken_off && !starved && !expected.iter().any(|e| line.contains(e))
    };
    text.lines().filter(counts).map(str::to_owned).collect()
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_trouble_but_what_is_expected() {
        let text = "fine\nsh[1]: segfault at 0\nMemory cgroup: Out of memory: site.web\n";
        assert_eq!(trouble(text, &[]).len(), 2);
        assert_eq!(trouble(text, &["site.web"]), ["sh[1]: segfault at 0"]);
    }

    #[test]
    fn what_a_restart_breaks_off_is_no_trouble() {
        const READ: &str = "I/O error, dev vda, sector 8\n";
        let restarts = "device-mapper: verity: 254:5: data block 6631 is corrupted\n";
        assert_eq!(trouble(&format!("{restarts}{READ}"), &[]), [""; 0]);
        assert_eq!(trouble(&format!("{READ}{restarts}"), &[]), [READ.trim_end()]);
        assert_eq!(trouble(&format!("{restarts}starting slot a\n{READ}"), &[]), [READ.trim_end()]);
        assert_eq!(trouble(&format!("{restarts}Oops: 1\n"), &[]), ["Oops: 1"]);
    }
}
