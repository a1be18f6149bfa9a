//! The data partition of a box that could not mount it: looked at, repaired, or made anew.
//!
//! Invariants: nothing is done to a device that is mounted, and [`format()`] is called by nobody but the
//! owner's own command. Of what a program says little is ever held: e2fsck has a line for each thing that is wrong.
//! Absent: what happens at boot, which is the initrd's, but for what both know of e2fsck.

use crate::block::{self, BlockError};
use image_layout::disk::{BLOCK, Role, data, partition};
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, PipeReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const E2FSCK: &str = "/usr/sbin/e2fsck";
const MKE2FS: &str = "/usr/sbin/mke2fs";

/// Why data could not be worked on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum DataError {
    /// The partition is not there.
    #[error("failed to find the data partition")]
    Partition(#[from] BlockError),
    /// It is mounted, or otherwise in use.
    #[error("`{device}` is in use")]
    InUse { device: PathBuf },
    /// It cannot be opened.
    #[error("failed to open `{device}`")]
    Open { device: PathBuf, source: io::Error },
    /// A program cannot be run.
    #[error("failed to run `{program}`")]
    Run { program: &'static str, source: io::Error },
    /// A program failed.
    #[error("`{program}` failed: {output}")]
    Failed { program: &'static str, output: String },
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether the file system is in order now.
    pub usable: bool,
    /// Whether something was repaired.
    pub repaired: bool,
    /// What e2fsck said.
    pub output: String,
}

/// The data partition of the disk that booted.
pub fn device() -> Result<PathBuf, DataError> {
    Ok(block::booted_disk()?.partition(partition(Role::Data).number)?)
}

/// Checks the file system and repairs all it can.
pub fn check(device: &Path) -> Result<Checked, DataError> {
    claim(device)?;
    let (code, said) = run(E2FSCK, &["-f", "-y"], device)?;
    Ok(judge(code, shortened(&said.text())))
}

/// Whether the disk gives all that is the file system's own, in whatever order that is. Changes nothing.
pub fn is_readable(device: &Path) -> Result<bool, DataError> {
    claim(device)?;
    let (_, said) = run(E2FSCK, &["-f", "-n"], device)?;
    Ok(!said.disk_failed())
}

/// Whether e2fsck says that it was the disk that failed, in the words of `strerror(3)`. A read behind the disk's end,
/// which wrong numbers in the file system lead to, has others.
pub fn disk_failed(said: &str) -> bool {
    said.contains(DISK_FAILED)
}

const DISK_FAILED: &str = "Input/output error";

/// Bytes that are kept of the beginning of what a program says, and of its end.
const KEPT: usize = 64 << 10;
/// Bytes of one read.
const CHUNK: usize = 8 << 10;

/// What a program said: how it began and how it ended, 64 KiB of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    first: Vec<u8>,
    last: VecDeque<u8>,
    /// Bytes between the two.
    left_out: usize,
    disk_failed: bool,
    /// The last bytes of all, in which words may have begun.
    seam: Vec<u8>,
}

impl Said {
    /// Reads to the end, however much that is.
    pub fn read(mut from: impl Read) -> io::Result<Said> {
        let (mut said, mut chunk) = (Said::default(), vec![0; CHUNK]);
        loop {
            match from.read(&mut chunk) {
                Ok(0) => return Ok(said),
                Ok(count) => said.add(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        let joined = [&self.seam[..], bytes].concat();
        self.disk_failed |= disk_failed(&String::from_utf8_lossy(&joined));
        self.seam = joined[joined.len().saturating_sub(DISK_FAILED.len() - 1)..].to_vec();
        let (first, rest) = bytes.split_at(bytes.len().min(KEPT - self.first.len()));
        self.first.extend_from_slice(first);
        self.last.extend(rest);
        let over = self.last.len().saturating_sub(KEPT);
        self.last.drain(..over);
        self.left_out += over;
    }

    /// Whether it said anywhere, in what is kept or not, that the disk failed: [`disk_failed`].
    pub fn disk_failed(&self) -> bool {
        self.disk_failed
    }

    /// What is kept, and how much is not.
    pub fn text(&self) -> String {
        let gap = match self.left_out {
            0 => String::new(),
            bytes => format!("\n… {bytes} bytes are left out …\n"),
        };
        let (last, more) = self.last.as_slices();
        String::from_utf8_lossy(&[&self.first[..], gap.as_bytes(), last, more].concat()).into_owned()
    }
}

/// Starts a program that has nothing to read. What it says, in whichever way, comes by the pipe.
pub fn start(mut command: Command) -> io::Result<(Child, PipeReader)> {
    let (reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    // With the command go all ends to write to but the program's own, so reading ends when it does.
    Ok((command.spawn()?, reader))
}

/// Makes an empty file system in place of whatever was there.
pub fn format(device: &Path) -> Result<(), DataError> {
    claim(device)?;
    let arguments = geometry();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(MKE2FS, &arguments, device)? {
        (Some(0), _) => Ok(()),
        (_, said) => Err(DataError::Failed { program: MKE2FS, output: shortened(&said.text()) }),
    }
}

/// Exit codes of `e2fsck(8)`: 1 and 2 are repairs, everything above is a failure.
fn judge(code: Option<i32>, output: String) -> Checked {
    let usable = code.is_some_and(|code| code & !3 == 0);
    let repaired = code.is_some_and(|code| code & 3 != 0);
    Checked { usable, repaired, output }
}

/// How the file system is made, for ever: `image_layout::disk::data`.
fn geometry() -> Vec<String> {
    let pairs = [
        ("-t", "ext4".to_owned()),
        // Whatever the size: not the profile for small disks.
        ("-T", "default".to_owned()),
        ("-e", "remount-ro".to_owned()),
        ("-b", BLOCK.to_string()),
        ("-I", data::INODE_SIZE.to_string()),
        ("-i", data::INODE_RATIO.to_string()),
        ("-J", format!("size={}", data::JOURNAL_MIB)),
        ("-O", data::FEATURES.to_owned()),
        ("-L", data::LABEL.to_owned()),
        ("-m", "1".to_owned()),
        ("-E", format!("resize={},quotatype=usrquota:grpquota:prjquota", data::MAX_BLOCKS)),
    ];
    let pairs = pairs.into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
    ["-q".to_owned(), "-F".to_owned()].into_iter().chain(pairs).collect()
}

/// Fails when the device is mounted: the kernel lets nobody else have it for himself then.
fn claim(device: &Path) -> Result<(), DataError> {
    let open = OpenOptions::new().read(true).custom_flags(nix::libc::O_EXCL).open(device);
    match open {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {
            Err(DataError::InUse { device: device.to_owned() })
        }
        Err(source) => Err(DataError::Open { device: device.to_owned(), source }),
    }
}

fn run(program: &'static str, arguments: &[&str], device: &Path) -> Result<(Option<i32>, Said), DataError> {
    let mut command = Command::new(program);
    command.args(arguments).arg(device).env_clear();
    ended(command).map_err(|source| DataError::Run { program, source })
}

/// Runs a program: its exit code, and what it said.
fn ended(command: Command) -> io::Result<(Option<i32>, Said)> {
    let (mut child, pipe) = start(command)?;
    let said = Said::read(pipe);
    Ok((child.wait()?.code(), said?))
}

fn shortened(output: &str) -> String {
    output.trim().chars().take(MAX_OUTPUT).collect()
}

/// As much of a program's words as is passed on.
const MAX_OUTPUT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_usable_only_when_nothing_is_left() {
        for (code, usable, repaired) in [
            (Some(0), true, false),
            (Some(1), true, true),
            (Some(3), true, true),
            (Some(4), false, false),
            (Some(5), false, true),
            (Some(8), false, false),
            (None, false, false),
        ] {
            let checked = judge(code, String::new());
            assert_eq!((checked.usable, checked.repaired), (usable, repaired), "{code:?}");
        }
    }

    #[test]
    fn of_a_program_that_says_very_much_little_is_kept() {
        let mut command = Command::new("/bin/sh");
        command.args([
            "-c",
            "echo first; yes out | head -c 20000000; yes err | head -c 20000000 >&2; echo '(Input/output error)'; \
             yes | head -c 20000000; echo last >&2; exit 4",
        ]);
        let (code, said) = ended(command).unwrap();
        assert_eq!(code, Some(4));
        assert_eq!((said.first.len(), said.last.len()), (KEPT, KEPT));
        let (text, all) = (said.text(), 6 + 60_000_000 + 21 + 5);
        assert!(text.starts_with("first\nout\n") && text.ends_with("\ny\nlast\n"));
        assert!(text.contains(&format!("{} bytes are left out", all - 2 * KEPT)) && text.len() < 3 * KEPT);
        assert!(said.disk_failed() && !text.contains(DISK_FAILED), "it stands in what is left out");
    }

    #[test]
    fn words_are_found_wherever_they_are_cut() {
        let text = "Error reading block 7 (Input/output error) while reading é";
        for at in 0..=text.len() {
            let (one, other) = text.as_bytes().split_at(at);
            let said = Said::read(one.chain(other)).unwrap();
            assert!(said.disk_failed(), "{at}");
            assert_eq!(said.text(), text, "{at}");
        }
        let short = "Attempt to read block from filesystem resulted in short read";
        assert!(!Said::read(short.as_bytes()).unwrap().disk_failed());
        assert_eq!(Said::read(&b""[..]).unwrap().text(), "");
    }

    #[test]
    fn the_geometry_is_that_of_the_layout() {
        let text = geometry().join(" ");
        for part in ["-b 4096", "-I 256", "-i 16384", "-J size=64", "project", "verity", "-L holdfast-data"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
