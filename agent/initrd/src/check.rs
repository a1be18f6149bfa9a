//! Checking the data file system with Debian's e2fsck: `-p` first, `-y` when that is not enough.
//!
//! Invariants: a file system with errors that are left is never called good. Nothing is repaired on a disk that
//! fails: with `-y` e2fsck writes zeroes over what it cannot read, and a moment later that may be read again. How
//! what e2fsck printed began and ended is kept in `/run/holdfast/e2fsck.log`, and no more: both are in memory.

use crate::console;
use crate::watchdog::Watchdog;
use agent_system::data::{Said, start};
use image_layout::initrd::E2FSCK;
use image_layout::paths;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command};
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
/// of the program; `None`: it was killed, or took too long. `disk_failed`: it said so.
fn judge(pass: Pass, code: Option<i32>, disk_failed: bool) -> Next {
    let repaired = code.is_some_and(|c| c != 0 && c & !3 == 0);
    match (pass, code) {
        (Pass::Preen, Some(0)) => Next::Done(Checked::Clean),
        (Pass::Preen, _) if repaired => Next::Done(Checked::Repaired),
        (Pass::Preen | Pass::Look, _) if disk_failed => Next::Again,
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
        let (code, said) = run(e2fsck(pass, device), || watchdog.feed())?;
        let text = said.text();
        for line in text.lines().take(20) {
            console::info(line);
        }
        if let Err(error) = fs::write(&log, &text) {
            console::warn(&format!("what e2fsck said cannot be kept: {error}"));
        }
        match judge(pass, code, said.disk_failed()) {
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

fn e2fsck(pass: Pass, device: &Path) -> Command {
    let mut command = Command::new(E2FSCK);
    match pass {
        Pass::Preen => command.arg("-p"),
        Pass::Look => command.args(["-f", "-n"]),
        Pass::Repair | Pass::Again => command.args(["-f", "-y"]),
    };
    command.arg(device);
    command
}

/// Runs a program: its exit code, and what it said. Calls `feed` now and then meanwhile.
fn run(command: Command, feed: impl FnMut()) -> io::Result<(Option<i32>, Said)> {
    let (mut child, pipe) = start(command)?;
    let reading = thread::Builder::new().spawn(move || Said::read(pipe))?;
    let code = wait(&mut child, feed)?;
    let said = reading.join().map_err(|_| io::Error::other("reading what it said broke off"))?;
    Ok((code, said?))
}

fn wait(child: &mut Child, mut feed: impl FnMut()) -> io::Result<Option<i32>> {
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
            feed();
            fed = Instant::now();
        }
        thread::sleep(TICK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_system::data::disk_failed;

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
            assert_eq!(judge(pass, code, false), expect, "{pass:?} {code:?}");
        }
    }

    #[test]
    fn nothing_is_repaired_on_a_disk_that_fails() {
        let said = "/dev/vda7: Error reading block 1070 (Input/output error) while reading inode bitmap.";
        let block = disk_failed(said);
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
        assert_eq!(judge(Pass::Preen, Some(4), disk_failed(short)), Next::Run(Pass::Look));
    }

    #[test]
    fn a_check_that_says_very_much_is_read_to_its_end_and_little_of_it_is_kept() {
        let mut command = Command::new("/bin/sh");
        let line =
            "yes | head -c 30000000; echo '(Input/output error)' >&2; yes | head -c 30000000 >&2; exit 12";
        command.args(["-c", line]);
        let (code, said) = run(command, || {}).unwrap();
        assert_eq!(code, Some(12));
        assert!(said.disk_failed());
        assert!(said.text().len() < 200_000, "{}", said.text().len());
    }
}
