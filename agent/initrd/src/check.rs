//! Checking the data file system with Debian's e2fsck: `-p` first, `-y` when that is not enough.
//!
//! Invariants: a file system with errors that are left is never called good. Nothing is repaired on a disk that
//! fails: with `-y` e2fsck writes zeroes over what it cannot read, and a moment later that may be read again. What
//! e2fsck printed is kept in `/run/holdfast/e2fsck.log`.

use crate::console;
use crate::watchdog::Watchdog;
use agent_system::data::disk_failed;
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
/// A disk that fails is given so many more chances, and so long before each.
const CHANCES: u32 = 6;
const PAUSE: Duration = Duration::from_secs(10);

/// What is known of the file system after the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Nothing was wrong, or the journal was enough.
    Clean,
    /// Something was wrong and is repaired.
    Repaired,
    /// It cannot be made whole, or is none.
    Broken,
    /// The disk does not read or write it, so nothing was repaired.
    DiskFails,
}

/// The passes, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// `-p`: what can be repaired without a decision.
    Preen,
    /// `-n`: nothing, but all of it is read.
    Look,
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
    /// From the beginning, when the disk has had time to recover.
    Again,
}

/// Reads an exit code of `e2fsck(8)`: 1 and 2 are repairs, 4 errors that are left, all else is a failure
/// of the program; `None`: it was killed, or took too long.
fn judge(pass: Pass, code: Option<i32>, said: &str) -> Next {
    let repaired = code.is_some_and(|c| c != 0 && c & !3 == 0);
    match (pass, code) {
        (Pass::Preen, Some(0)) => Next::Done(Checked::Clean),
        (Pass::Preen, _) if repaired => Next::Done(Checked::Repaired),
        (Pass::Preen | Pass::Look, _) if disk_failed(said) => Next::Again,
        (Pass::Preen, _) => Next::Run(Pass::Look),
        (Pass::Look, _) => Next::Run(Pass::Repair),
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
    let (mut pass, mut chances) = (Pass::Preen, CHANCES);
    loop {
        let code = run(pass, device, &log, watchdog)?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        for line in said.lines().take(20) {
            console::info(line);
        }
        match judge(pass, code, &said) {
            Next::Done(checked) => return Ok(checked),
            Next::Run(next) => {
                console::warn(&format!("e2fsck ended with {code:?}; checking again: {next:?}"));
                pass = next;
            }
            Next::Again if chances == 0 => return Ok(Checked::DiskFails),
            Next::Again => {
                console::warn("the disk fails; data is checked again in a moment");
                watchdog.feed();
                thread::sleep(PAUSE);
                watchdog.feed();
                (pass, chances) = (Pass::Preen, chances - 1);
            }
        }
    }
}

fn run(pass: Pass, device: &Path, log: &Path, watchdog: &mut Watchdog) -> io::Result<Option<i32>> {
    let output = File::create(log)?;
    let mut command = Command::new(E2FSCK);
    match pass {
        Pass::Preen => command.arg("-p"),
        Pass::Look => command.args(["-f", "-n"]),
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
            (Pass::Preen, Some(4), Run(Pass::Look)),
            (Pass::Preen, Some(8), Run(Pass::Look)),
            (Pass::Preen, Some(12), Run(Pass::Look)),
            (Pass::Preen, None, Run(Pass::Look)),
            (Pass::Look, Some(0), Run(Pass::Repair)),
            (Pass::Look, Some(4), Run(Pass::Repair)),
            (Pass::Repair, Some(0), Done(Repaired)),
            (Pass::Repair, Some(1), Done(Repaired)),
            (Pass::Repair, Some(5), Run(Pass::Again)),
            (Pass::Repair, Some(8), Done(Broken)),
            (Pass::Repair, None, Done(Broken)),
            (Pass::Again, Some(1), Done(Repaired)),
            (Pass::Again, Some(4), Done(Broken)),
            (Pass::Again, Some(12), Done(Broken)),
        ] {
            assert_eq!(judge(pass, code, "UNEXPECTED INCONSISTENCY"), expect, "{pass:?} {code:?}");
        }
    }

    #[test]
    fn nothing_is_repaired_on_a_disk_that_fails() {
        let block = "/dev/vda7: Error reading block 1070 (Input/output error) while reading inode bitmap.";
        for pass in [Pass::Preen, Pass::Look] {
            for code in [Some(4), Some(8), Some(12)] {
                assert_eq!(judge(pass, code, block), Next::Again, "{pass:?} {code:?}");
            }
        }
        // It got over it.
        assert_eq!(judge(Pass::Preen, Some(1), block), Next::Done(Checked::Repaired));
        // Behind the disk's end there is nothing to be read, however often it is tried.
        let short =
            "Error reading block 99999999 (Attempt to read block from filesystem resulted in short read)";
        assert_eq!(judge(Pass::Preen, Some(4), short), Next::Run(Pass::Look));
    }
}
