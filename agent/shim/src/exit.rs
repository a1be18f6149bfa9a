//! What `run` tells the agent besides its exit code: `exit.json` in the bundle.
//!
//! The file is removed when the shim starts and written whole when it ends; a shim that was killed
//! leaves none. `code` is the shim's exit code, `signal` what ended the container's first process,
//! `oom` whether that was the kernel for want of memory, `error` why the container never ran.

use std::io::Write;
use std::os::fd::BorrowedFd;

use anyhow::Context;
use rustix::fs::{AtFlags, Mode, OFlags};
use serde::Serialize;

use crate::signals::Ended;

const NAME: &str = "exit.json";
const BESIDE: &str = ".exit.json.new";

/// How a container ended.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Exit {
    /// The shim's exit code.
    pub(crate) code: u8,
    /// The signal that ended the container's first process.
    pub(crate) signal: Option<i32>,
    /// Whether it was killed for want of memory.
    pub(crate) oom: bool,
    /// How many processes of the container were killed for want of memory in all.
    pub(crate) oom_kills: u64,
    /// Why it never ran.
    pub(crate) error: Option<String>,
}

impl Exit {
    /// A container that ran. Only a KILL that nobody else explains is put down to memory.
    pub(crate) fn ended(ended: Ended, oom_kills: u64) -> Exit {
        let killed = ended == Ended::Signal(nix::libc::SIGKILL);
        Exit {
            code: ended.exit_code(),
            signal: match ended {
                Ended::Signal(signal) => Some(signal),
                Ended::Code(_) => None,
            },
            oom: killed && oom_kills > 0,
            oom_kills,
            error: None,
        }
    }

    /// A container that never ran.
    pub(crate) fn failed(error: &anyhow::Error) -> Exit {
        Exit {
            code: crate::SETUP_FAILED,
            signal: None,
            oom: false,
            oom_kills: 0,
            error: Some(one_line(error)),
        }
    }
}

/// An error and its causes on one line, each said once.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string().replace('\n', " ");
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// Says something on standard error. That nobody listens is no failure.
pub(crate) fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "holdfast-shim: {what}");
}

/// Removes what an earlier run said.
pub(crate) fn clear(bundle: BorrowedFd<'_>) -> anyhow::Result<()> {
    match rustix::fs::unlinkat(bundle, NAME, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error).context("failed to remove exit.json of the last run"),
    }
}

/// Writes `exit.json` whole. The bundle lies in memory, so nothing is synced.
pub(crate) fn write(bundle: BorrowedFd<'_>, exit: &Exit) -> anyhow::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(bundle, BESIDE, flags, Mode::RUSR | Mode::WUSR)
        .context("failed to create exit.json")?;
    let mut file = std::fs::File::from(file);
    file.write_all(&serde_json::to_vec(exit)?).context("failed to write exit.json")?;
    rustix::fs::renameat(bundle, BESIDE, bundle, NAME).context("failed to put exit.json in place")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_signal_and_memory_are_told_apart() {
        let kill = Ended::Signal(nix::libc::SIGKILL);
        let cases = [
            (Exit::ended(Ended::Code(3), 0), (3, None, false)),
            (Exit::ended(Ended::Code(3), 2), (3, None, false)),
            (Exit::ended(kill, 0), (137, Some(9), false)),
            (Exit::ended(kill, 1), (137, Some(9), true)),
            (Exit::ended(Ended::Signal(nix::libc::SIGTERM), 1), (143, Some(15), false)),
        ];
        for (exit, expected) in cases {
            assert_eq!((exit.code, exit.signal, exit.oom), expected, "{exit:?}");
        }
    }

    #[test]
    fn an_error_is_one_line_without_repetition() {
        let error = anyhow::anyhow!("no such file").context("no such file").context("failed to\nmount");
        assert_eq!(one_line(&error), "failed to mount: no such file");
        let exit = Exit::failed(&error);
        assert_eq!((exit.code, exit.error.as_deref()), (125, Some("failed to mount: no such file")));
    }

    #[test]
    fn written_whole_and_cleared() {
        let folder = std::env::temp_dir().join(format!("holdfast-shim-exit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let fd = std::fs::File::open(&folder).unwrap();
        let fd = std::os::fd::AsFd::as_fd(&fd);
        clear(fd).unwrap();
        write(fd, &Exit::ended(Ended::Code(7), 0)).unwrap();
        let text = std::fs::read_to_string(folder.join(NAME)).unwrap();
        assert_eq!(text, r#"{"code":7,"signal":null,"oom":false,"oom_kills":0,"error":null}"#);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        clear(fd).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
