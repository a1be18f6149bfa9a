//! A blob on its way: a file that may take several answers, and several runs.
//!
//! Invariants: what is in the file when a run begins is hashed like what comes over the network; nothing is
//! taken for the blob before the digest of all of it is right. So it does not matter whether what is there
//! is the beginning of the same blob, and the answers need no validators (`If-Range`): the name of a blob is
//! the digest of its content.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use ureq::Body;
use ureq::http::{Response, header};

use super::error::{FetchError, FetchErrorKind};
use super::http::Failure;
use crate::Digest;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 16;
/// Bytes between two lines about a download.
const STEP: u64 = 16 << 20;

/// A download.
pub(super) struct Download {
    file: File,
    hasher: Sha256,
    /// Bytes that are there.
    pub(super) bytes: u64,
    /// The most bytes that ever were: what came twice is no progress.
    pub(super) furthest: u64,
    /// Whether what is there came in more than one piece.
    pub(super) pieced: bool,
    /// Bytes of the whole.
    size: u64,
}

impl Download {
    /// Goes on with what an earlier run left at `path`, or begins. What is no file there is refused: a pipe
    /// would be waited for.
    pub(super) fn open(path: &Path, size: u64) -> Result<Download, FetchError> {
        let fail = |error: io::Error| FetchError::io("failed to make a file for a layer", &error);
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).custom_flags(flags);
        let file = options.open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() {
            return Err(FetchError::new(FetchErrorKind::Local, "what is kept of a layer is no file"));
        }
        let there = metadata.len();
        let hasher = Sha256::new();
        let mut download = Download { file, hasher, bytes: 0, furthest: 0, pieced: false, size };
        if there > size {
            download.restart()?;
        } else {
            download.hash()?;
        }
        download.pieced = download.bytes > 0;
        Ok(download)
    }

    /// Hashes what is there.
    fn hash(&mut self) -> Result<(), FetchError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = self.file.read(&mut buffer);
            match read.map_err(|error| FetchError::io("failed to read a layer", &error))? {
                0 => break,
                read => {
                    self.hasher.update(&buffer[..read]);
                    self.bytes += read as u64;
                }
            }
        }
        self.furthest = self.bytes;
        Ok(())
    }

    /// Forgets what is there.
    pub(super) fn restart(&mut self) -> Result<(), FetchError> {
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.set_len(0))
            .map_err(|error| FetchError::io("failed to write a layer", &error))?;
        self.hasher = Sha256::new();
        self.bytes = 0;
        self.pieced = false;
        Ok(())
    }

    /// Whether an answer, 206, goes on just where we are, to the end of a blob of this size.
    pub(super) fn goes_on_with(&self, response: &Response<Body>) -> bool {
        let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let Some((from, total)) = range.and_then(content_range) else { return false };
        response.status().as_u16() == 206
            && from == self.bytes
            && total.is_none_or(|total| total == self.size)
    }

    /// Takes what comes, to its end or until there is more than there should be; `say` is told how far it is.
    pub(super) fn take(&mut self, what: &str, body: Body, say: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        self.pieced |= self.bytes > 0;
        let mut body = body.into_reader();
        let mut buffer = vec![0; CHUNK];
        let mut next = self.bytes + STEP;
        while self.bytes <= self.size {
            let read = body.read(&mut buffer).map_err(|error| {
                Failure::transient(format!("the download of {what} was cut off: {error}"))
            })?;
            if read == 0 {
                break;
            }
            let written = self.file.write_all(&buffer[..read]);
            written.map_err(|error| FetchError::io("failed to write a layer", &error))?;
            self.hasher.update(&buffer[..read]);
            self.bytes += read as u64;
            self.furthest = self.furthest.max(self.bytes);
            if self.bytes >= next {
                next += STEP;
                say(&self.place());
            }
        }
        if self.bytes < self.size {
            let (bytes, size) = (self.bytes, self.size);
            let message = format!("the download of {what} ended after {bytes} of {size} bytes");
            return Err(Failure::transient(message));
        }
        Ok(())
    }

    /// How far it is, for people.
    pub(super) fn place(&self) -> String {
        format!("{} of {} MiB", self.bytes >> 20, self.size >> 20)
    }

    /// Whether all is there, and is the blob of that digest.
    pub(super) fn is(&self, digest: &Digest) -> bool {
        self.bytes == self.size && Digest::finish(self.hasher.clone()) == *digest
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }
}

/// First byte and bytes in all of a `Content-Range`, RFC 9110, section 14.4; the latter may be left open.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((from.parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), b"half").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RWXU).unwrap();
        assert_eq!(Download::open(&path("file"), 10).unwrap().bytes, 4);
        for name in ["link", "pipe"] {
            assert!(Download::open(&path(name), 10).is_err(), "{name}");
        }
    }

    #[test]
    fn content_ranges() {
        for (value, expect) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes */10", None),
            ("bytes 5-9", None),
            ("bytes -5/10", None),
            ("lines 5-9/10", None),
            ("bytes 99999999999999999999-1/2", None),
            ("", None),
        ] {
            assert_eq!(content_range(value), expect, "{value}");
        }
    }
}
