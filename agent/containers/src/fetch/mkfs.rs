//! Runs `mkfs.erofs` on a normalised layer.
//!
//! Invariant: it gets only streams that `layer::emit` wrote, through a pipe; it may use a bounded share
//! of CPU and memory; its output counts only when it ends well, and the same stream and UUID give the
//! same bytes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Digest;
use crate::layer::LayerError;

/// CPU seconds that one layer may take.
const CPU: u64 = 600;
/// Address space in bytes; a layer of a million entries takes under half of it.
const MEMORY: u64 = 2 << 30;
/// Bytes of its messages that are kept.
const MESSAGES: u64 = 4096;

/// Why there is no erofs file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(super) enum MkfsError {
    #[error("failed to start `{program}`")]
    Start { program: String, source: io::Error },
    #[error(transparent)]
    Layer(LayerError),
    #[error("mkfs.erofs failed with {status}: {messages}")]
    Failed { status: ExitStatus, messages: String },
}

impl MkfsError {
    /// Whether it looks as if there was too little memory: it was killed, or says so.
    pub(super) fn is_out_of_memory(&self) -> bool {
        match self {
            MkfsError::Failed { status, messages } => {
                status.signal() == Some(9) || messages.contains("Cannot allocate memory")
            }
            _ => false,
        }
    }
}

/// Makes `out` from what `feed` writes. `work` is a folder for temporary files; `seed` decides the UUID.
pub(super) fn make(
    program: &Path,
    out: &Path,
    work: &Path,
    seed: &Digest,
    feed: impl FnOnce(&mut dyn Write) -> Result<(), LayerError>,
) -> Result<(), MkfsError> {
    let messages = work.join("mkfs.log");
    let made = start(program, out, work, seed, &messages).and_then(|child| run(child, &messages, feed));
    // The log has been read, and a failed run's output is nothing.
    let _ = fs::remove_file(&messages);
    if made.is_err() {
        let _ = fs::remove_file(out);
    }
    made
}

fn start(
    program: &Path,
    out: &Path,
    work: &Path,
    seed: &Digest,
    messages: &Path,
) -> Result<Child, MkfsError> {
    let fail = |source| MkfsError::Start { program: program.display().to_string(), source };
    let log = File::create(messages).map_err(fail)?;
    let mut command = Command::new(program);
    command
        .args(["--tar=f", "--quiet", "-Enoinline_data", "--sort=none", "-T0", "--mkfs-time", "-U"])
        .arg(uuid(seed))
        .arg(out)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C")
        .env("TMPDIR", work)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().map_err(fail)?)
        .stderr(log);
    limited(|| command.spawn()).map_err(fail)
}

fn run(
    mut child: Child,
    messages: &Path,
    feed: impl FnOnce(&mut dyn Write) -> Result<(), LayerError>,
) -> Result<(), MkfsError> {
    let fed = child.stdin.take().map_or(Ok(()), |stdin| write_all(stdin, feed));
    if fed.is_err() {
        // It may wait for more than it gets.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|source| MkfsError::Layer(LayerError::Write(source)))?;
    match fed {
        // It closed the pipe early: what it says tells more than the broken pipe.
        Err(LayerError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(MkfsError::Layer(error)),
        Ok(()) if status.success() => return Ok(()),
        Ok(()) => {}
    }
    let mut text = Vec::new();
    if let Ok(file) = File::open(messages) {
        // Without its messages the status has to do.
        let _ = file.take(MESSAGES).read_to_end(&mut text);
    }
    let messages = String::from_utf8_lossy(&text).split_whitespace().collect::<Vec<_>>().join(" ");
    if messages.contains("No space left on device") {
        return Err(MkfsError::Layer(LayerError::Write(io::ErrorKind::StorageFull.into())));
    }
    Err(MkfsError::Failed { status, messages })
}

fn write_all(
    stdin: ChildStdin,
    feed: impl FnOnce(&mut dyn Write) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let mut pipe = BufWriter::with_capacity(1 << 16, stdin);
    feed(&mut pipe)?;
    pipe.flush().map_err(LayerError::Write)
}

/// Runs `spawn` with lower limits of this process, which the child keeps, and restores them.
fn limited<T>(spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let lowered = [(Resource::Cpu, CPU), (Resource::As, MEMORY), (Resource::Core, 0)];
    let before = lowered.map(|(resource, _)| (resource, getrlimit(resource)));
    for (resource, value) in lowered {
        let maximum = getrlimit(resource).maximum;
        let current = Some(maximum.map_or(value, |maximum| maximum.min(value)));
        setrlimit(resource, Rlimit { current, maximum })?;
    }
    let child = spawn();
    for (resource, limit) in before {
        setrlimit(resource, limit)?;
    }
    child
}

/// A UUID (version 8, of our own making) from a digest.
fn uuid(seed: &Digest) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&seed.as_bytes()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
