//! The container's output, where it cannot be handed on as it is.
//!
//! systemd gives the shim a socket to the journal. A program that opens `/dev/stdout` or
//! `/dev/stderr` by name, as many images do, cannot open a socket again; a pipe it can. So the
//! container gets pipes of its own user, and the shim carries what comes out of them.
//!
//! systemd gives standard output and standard error the same socket, on which nobody could tell them
//! apart. Standard error gets one of its own (see [`journal`]), whose entries have the priority of errors.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Context;
use nix::poll::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// Where journald takes streams.
const JOURNAL: &str = "/run/systemd/journal/stdout";
/// Priority of what comes from standard error, as syslog(3) numbers them.
const ERROR: u8 = 3;

/// A stream to the journal for standard error, under the name that systemd gave the shim's: none
/// unless `stderr` is the journal's, which `journal_stream` says as systemd.exec(5) does.
pub(crate) fn journal(
    stderr: BorrowedFd<'_>,
    journal_stream: Option<&str>,
    identifier: &str,
) -> std::io::Result<Option<OwnedFd>> {
    let stat = rustix::fs::fstat(stderr)?;
    if journal_stream != Some(&format!("{}:{}", stat.st_dev, stat.st_ino)) {
        return Ok(None);
    }
    open(Path::new(JOURNAL), identifier).map(Some)
}

/// The head of a stream: identifier, unit (journald finds it itself), priority, and four times no: to
/// priorities at the start of lines, to syslog, kernel log and console.
fn open(socket: &Path, identifier: &str) -> std::io::Result<OwnedFd> {
    let mut stream = UnixStream::connect(socket)?;
    write!(stream, "{identifier}\n\n{ERROR}\n0\n0\n0\n0\n")?;
    Ok(stream.into())
}

/// Carries one stream from a pipe to a socket.
pub(crate) struct Relay {
    from: Option<OwnedFd>,
    to: OwnedFd,
    buffer: Box<[u8]>,
    /// What of the buffer is still to be sent.
    pending: std::ops::Range<usize>,
}

impl Relay {
    /// A relay to a stream of the shim's, and the container's end of it; none where the stream is
    /// no socket.
    pub(crate) fn to(stream: BorrowedFd<'_>, owner: (u32, u32)) -> anyhow::Result<Option<(Relay, OwnedFd)>> {
        let mode = rustix::fs::fstat(stream).context("failed to look at standard output")?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::Socket {
            return Ok(None);
        }
        let (read, write) = nix::unistd::pipe().context("failed to make a pipe")?;
        for fd in [&read, &write] {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
        }
        rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
        rustix::fs::fchmod(&write, Mode::RUSR | Mode::WUSR)?;
        let (uid, gid) = (rustix::fs::Uid::from_raw(owner.0), rustix::fs::Gid::from_raw(owner.1));
        rustix::fs::fchown(&write, Some(uid), Some(gid))
            .context("failed to give the container its output")?;
        let to = stream.try_clone_to_owned().context("failed to keep standard output")?;
        let relay = Relay { from: Some(read), to, buffer: vec![0; 16 << 10].into(), pending: 0..0 };
        Ok(Some((relay, write)))
    }

    /// What to wait for; nothing when the stream has ended.
    pub(crate) fn interest(&self) -> Option<PollFd<'_>> {
        let from = self.from.as_ref()?;
        Some(if self.pending.is_empty() {
            PollFd::new(from.as_fd(), PollFlags::POLLIN)
        } else {
            PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)
        })
    }

    /// Carries what there is, without waiting. Says whether anything moved.
    pub(crate) fn carry(&mut self) -> bool {
        let mut moved = false;
        while let Some(from) = &self.from {
            if self.pending.is_empty() {
                match rustix::io::read(from, &mut *self.buffer) {
                    Ok(0) => self.from = None,
                    Ok(length) => self.pending = 0..length,
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => continue,
                    Err(_) => self.from = None,
                }
            } else {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                match rustix::net::send(&self.to, &self.buffer[self.pending.clone()], flags) {
                    Ok(sent) => self.pending.start += sent,
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => continue,
                    // Nobody listens any more: the container must not be held up for it.
                    Err(_) => self.pending = 0..0,
                }
            }
            moved = true;
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn relay() -> (UnixStream, Relay, File) {
        let (journal, stream) = UnixStream::pair().unwrap();
        let owner = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let (relay, end) = Relay::to(stream.as_fd(), owner).unwrap().unwrap();
        (journal, relay, File::from(end))
    }

    #[test]
    fn what_goes_in_comes_out_and_then_ends() {
        let (mut journal, mut relay, mut end) = relay();
        assert!(!relay.carry());
        end.write_all(b"one\ntwo\n").unwrap();
        assert!(relay.carry());
        let mut text = [0; 8];
        journal.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"one\ntwo\n");
        drop(end);
        relay.carry();
        assert!(relay.interest().is_none());
    }

    #[test]
    fn a_reader_that_is_slow_loses_nothing() {
        let (mut journal, mut relay, mut end) = relay();
        let sent: Vec<u8> = (0..4 << 20).map(|n: u32| (n % 251) as u8).collect();
        let copy = sent.clone();
        let writer = std::thread::spawn(move || end.write_all(&copy).unwrap());
        let mut got = Vec::new();
        let mut part = [0; 3000];
        journal.set_nonblocking(true).unwrap();
        while got.len() < sent.len() {
            relay.carry();
            if let Ok(length) = journal.read(&mut part) {
                got.extend_from_slice(&part[..length]);
            }
        }
        writer.join().unwrap();
        assert!(got == sent);
    }

    #[test]
    fn a_reader_that_is_gone_holds_nothing_up() {
        let (journal, mut relay, mut end) = relay();
        // Not only dropped: a process that another test forks may hold it for a while.
        journal.shutdown(std::net::Shutdown::Both).unwrap();
        for _ in 0..100 {
            end.write_all(&[0; 4096]).unwrap();
            relay.carry();
        }
        assert!(relay.interest().is_some());
    }

    #[test]
    fn standard_error_has_a_stream_of_its_own() {
        use std::os::unix::net::UnixListener;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stdout");
        let listener = UnixListener::bind(&path).unwrap();
        let stream = open(&path, "site.web").unwrap();
        UnixStream::from(stream).write_all(b"a line\n").unwrap();
        let mut said = String::new();
        listener.accept().unwrap().0.read_to_string(&mut said).unwrap();
        assert_eq!(said, "site.web\n\n3\n0\n0\n0\n0\na line\n");
    }

    #[test]
    fn what_is_not_the_journals_stays_where_it_is() {
        let (ours, _other) = UnixStream::pair().unwrap();
        for said in [None, Some("0:0"), Some("")] {
            assert!(journal(ours.as_fd(), said, "x").unwrap().is_none(), "{said:?}");
        }
    }

    #[test]
    fn files_need_no_relay() {
        let file = File::open("/dev/null").unwrap();
        assert!(Relay::to(file.as_fd(), (0, 0)).unwrap().is_none());
    }
}
