//! The data partition of a box that could not mount it: looked at, repaired, or made anew.
//!
//! Invariant: nothing is done to a device that is mounted, and [`format()`] is called by nobody but the
//! owner's own command. Absent: what happens at boot, which is the initrd's, but for what both know of e2fsck.

use crate::block::{self, BlockError};
use image_layout::disk::{BLOCK, Role, data, partition};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    let (code, output) = run(E2FSCK, &["-f", "-y"], device)?;
    Ok(judge(code, shortened(&output)))
}

/// Whether the disk gives all that is the file system's own, in whatever order that is. Changes nothing.
pub fn is_readable(device: &Path) -> Result<bool, DataError> {
    claim(device)?;
    let (_, output) = run(E2FSCK, &["-f", "-n"], device)?;
    Ok(!disk_failed(&output))
}

/// Whether e2fsck says that it was the disk that failed, in the words of `strerror(3)`. A read behind the disk's end,
/// which wrong numbers in the file system lead to, has others.
pub fn disk_failed(said: &str) -> bool {
    said.contains("Input/output error")
}

/// Makes an empty file system in place of whatever was there.
pub fn format(device: &Path) -> Result<(), DataError> {
    claim(device)?;
    let arguments = geometry();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(MKE2FS, &arguments, device)? {
        (Some(0), _) => Ok(()),
        (_, output) => Err(DataError::Failed { program: MKE2FS, output: shortened(&output) }),
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

fn run(program: &'static str, arguments: &[&str], device: &Path) -> Result<(Option<i32>, String), DataError> {
    let output = Command::new(program)
        .args(arguments)
        .arg(device)
        .env_clear()
        .output()
        .map_err(|source| DataError::Run { program, source })?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
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
    fn the_geometry_is_that_of_the_layout() {
        let text = geometry().join(" ");
        for part in ["-b 4096", "-I 256", "-i 16384", "-J size=64", "project", "verity", "-L holdfast-data"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
