//! Checking the data file system with Debian's e2fsck: `-p` first, `-y` when that is not enough.
//!
//! Invariant: a file system with errors that are left is never called good. What e2fsck printed is kept
//! in `/run/holdfast/e2fsck.log`.

use crate::console;
use crate::watchdog::Watchdog;
use image_layout::initrd::E2FSCK;
use image_layout::paths;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A check of 2 TiB with everything to repair ends well within this.
const LIMIT: Duration = Duration::from_secs(3 * 3600);
const TICK: Duration = Duration::from_millis(50);
const FEED: Duration = Duration::from_secs(5);

/// What is known of the file system after the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Nothing was wrong, or the journal was enough.
    Clean,
    /// Something was wrong and is repaired.
    Repaired,
    /// It cannot be made whole, or is none.
    Broken,
}

/// The passes, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// `-p`: what can be repaired without a decision.
    Preen,
    /// `-y`: everything.
    Repair,
    /// `-y` again: a repair may uncover more.
    Again,
}

/// What an exit code leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Done(Checked),
    Run(Pass),
}

/// Reads an exit code of `e2fsck(8)`: 1 and 2 are repairs, 4 errors that are left, all else is a failure
/// of the program; `None`: it was killed, or took too long.
fn judge(pass: Pass, code: Option<i32>) -> Next {
    let repaired = code.is_some_and(|c| c != 0 && c & !3 == 0);
    match (pass, code) {
        (Pass::Preen, Some(0)) => Next::Done(Checked::Clean),
        (Pass::Preen, _) if repaired => Next::Done(Checked::Repaired),
        (Pass::Preen, _) => Next::Run(Pass::Repair),
        (_, Some(0)) => Next::Done(Checked::Repaired),
        (Pass::Repair, _) if repaired => Next::Done(Checked::Repaired),
        (Pass::Repair, Some(code)) if code & 4 != 0 && code & !7 == 0 => Next::Run(Pass::Again),
        (Pass::Again, _) if repaired => Next::Done(Checked::Repaired),
        (Pass::Repair | Pass::Again, _) => Next::Done(Checked::Broken),
    }
}

/// Checks the file system on `device`.
pub(crate) fn check(device: &Path, watchdog: &mut Watchdog) -> io::Result<Checked> {
    let log = Path::new(paths::RUN).join("e2fsck.log");
    let mut pass = Pass::Preen;
    loop {
        let code = run(pass, device, &log, watchdog)?;
        for line in fs::read_to_string(&log).unwrap_or_default().lines().take(20) {
            console::info(line);
        }
        match judge(pass, code) {
            Next::Done(checked) => return Ok(checked),
            Next::Run(next) => {
                console::warn(&format!("e2fsck ended with {code:?}; checking again, repairing everything"));
                pass = next;
            }
        }
    }
}

fn run(pass: Pass, device: &Path, log: &Path, watchdog: &mut Watchdog) -> io::Result<Option<i32>> {
    let output = File::create(log)?;
    let mut command = Command::new(E2FSCK);
    match pass {
        Pass::Preen => command.arg("-p"),
        Pass::Repair | Pass::Again => command.args(["-f", "-y"]),
    };
    let mut child =
        command.arg(device).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
    let started = Instant::now();
    let mut fed = started;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if started.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        if fed.elapsed() > FEED {
            watchdog.feed();
            fed = Instant::now();
        }
        thread::sleep(TICK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_lead_to_a_verdict_or_to_the_next_pass() {
        use Checked::*;
        use Next::*;
        for (pass, code, expect) in [
            (Pass::Preen, Some(0), Done(Clean)),
            (Pass::Preen, Some(1), Done(Repaired)),
            (Pass::Preen, Some(3), Done(Repaired)),
            (Pass::Preen, Some(4), Run(Pass::Repair)),
            (Pass::Preen, Some(8), Run(Pass::Repair)),
            (Pass::Preen, Some(12), Run(Pass::Repair)),
            (Pass::Preen, None, Run(Pass::Repair)),
            (Pass::Repair, Some(0), Done(Repaired)),
            (Pass::Repair, Some(1), Done(Repaired)),
            (Pass::Repair, Some(5), Run(Pass::Again)),
            (Pass::Repair, Some(8), Done(Broken)),
            (Pass::Repair, None, Done(Broken)),
            (Pass::Again, Some(1), Done(Repaired)),
            (Pass::Again, Some(4), Done(Broken)),
            (Pass::Again, Some(12), Done(Broken)),
        ] {
            assert_eq!(judge(pass, code), expect, "{pass:?} {code:?}");
        }
    }
}
