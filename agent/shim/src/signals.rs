//! Names and numbers of signals, and the exit code that stands for one.

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::WaitStatus;

/// The signals that are handed on to the container: those that ask a program for something.
pub(crate) const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// The forwarded signals and SIGCHLD.
pub(crate) fn watched() -> SigSet {
    let mut set = SigSet::empty();
    for signal in FORWARDED {
        set.add(signal);
    }
    set.add(Signal::SIGCHLD);
    set
}

/// Reads `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3` or `RTMAX-1`, in any case.
pub(crate) fn number(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    if let Ok(number) = upper.parse::<i32>() {
        return (1..=libc::SIGRTMAX()).contains(&number).then_some(number);
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return real_time(libc::SIGRTMIN(), offset, '+');
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return real_time(libc::SIGRTMAX(), offset, '-');
    }
    format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32)
}

fn real_time(from: i32, offset: &str, sign: char) -> Option<i32> {
    let offset = match offset {
        "" => 0,
        text => text.strip_prefix(sign)?.parse::<u8>().ok()?.into(),
    };
    let number = if sign == '+' { from + offset } else { from - offset };
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number).then_some(number)
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

impl Ended {
    /// What a status means; none while the process lives.
    pub(crate) fn from_status(status: WaitStatus) -> Option<Ended> {
        match status {
            // The kernel keeps eight bits of a code.
            WaitStatus::Exited(_, code) => Some(Ended::Code((code & 0xff) as u8)),
            WaitStatus::Signaled(_, signal, _) => Some(Ended::Signal(signal as i32)),
            _ => None,
        }
    }

    /// The exit code that hands the end on: the code itself, or 128 and the signal's number.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Ended::Code(code) => code,
            Ended::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, expected) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("15", Some(15)),
            ("SIGQUIT", Some(3)),
            ("SIGRTMIN", Some(libc::SIGRTMIN())),
            ("SIGRTMIN+3", Some(libc::SIGRTMIN() + 3)),
            ("rtmax-1", Some(libc::SIGRTMAX() - 1)),
            ("SIGRTMIN+99", None),
            ("SIGRTMIN-1", None),
            ("SIGRTMAX+1", None),
            ("RTMIN+", None),
            ("0", None),
            ("65", None),
            ("-9", None),
            ("", None),
            ("SIG", None),
            ("SIGTERM ", None),
        ] {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    #[test]
    fn ends_become_exit_codes() {
        let pid = Pid::from_raw(7);
        for (status, code) in [
            (WaitStatus::Exited(pid, 0), Some(0)),
            (WaitStatus::Exited(pid, 255), Some(255)),
            (WaitStatus::Signaled(pid, Signal::SIGKILL, false), Some(137)),
            (WaitStatus::Signaled(pid, Signal::SIGSEGV, true), Some(139)),
            (WaitStatus::StillAlive, None),
            (WaitStatus::Stopped(pid, Signal::SIGSTOP), None),
        ] {
            assert_eq!(Ended::from_status(status).map(Ended::exit_code), code, "{status:?}");
        }
    }
}
