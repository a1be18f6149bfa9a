//! Sizes of volumes: ext4 project quotas on data.
//!
//! Invariant: what is made in a volume's directory counts for the volume's project, since the directory
//! hands its project on. Absent: files that were in the directory before; a project is set on a directory
//! that is new.

use crate::ioctl::{self, FileAttributes};
use nix::libc;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Why a size cannot be set or read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum QuotaError {
    /// The directory cannot be opened.
    #[error("failed to open `{path}`")]
    Open { path: PathBuf, source: io::Error },
    /// The project cannot be read or set.
    #[error("failed to give `{path}` the project {project}")]
    Project { path: PathBuf, project: u32, source: nix::Error },
    /// The limit cannot be set.
    #[error("failed to limit project {project} on `{path}`")]
    Limit { path: PathBuf, project: u32, source: io::Error },
    /// The use cannot be read.
    #[error("failed to read the use of project {project} on `{path}`")]
    Usage { path: PathBuf, project: u32, source: io::Error },
}

/// What a project has and may have, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Used now.
    pub used: u64,
    /// The limit, when there is one.
    pub limit: Option<u64>,
}

/// Gives a directory, and what will be made in it, a project; says whether it had another one.
pub fn set_project(directory: &Path, project: u32) -> Result<bool, QuotaError> {
    let file = open(directory)?;
    let failed = |source| QuotaError::Project { path: directory.to_owned(), project, source };
    let mut attributes = FileAttributes::default();
    // SAFETY: the descriptor is open, and the call fills a structure of the kernel's layout.
    unsafe { ioctl::fs_get_attributes(file.as_raw_fd(), &mut attributes) }.map_err(failed)?;
    if attributes.project == project && attributes.flags & INHERIT != 0 {
        return Ok(false);
    }
    attributes.project = project;
    attributes.flags |= INHERIT;
    // SAFETY: as above; the call only reads the structure.
    unsafe { ioctl::fs_set_attributes(file.as_raw_fd(), &attributes) }.map_err(failed)?;
    Ok(true)
}

/// Limits a project on the file system that `directory` is on; `None` lifts the limit. Says whether it was
/// another one before.
pub fn set_limit(directory: &Path, project: u32, bytes: Option<u64>) -> Result<bool, QuotaError> {
    let blocks = bytes.map_or(0, |bytes| bytes.div_ceil(QUOTA_BLOCK).max(1));
    let now = usage(directory, project)?;
    if now.limit == bytes.map(|_| blocks * QUOTA_BLOCK) {
        return Ok(false);
    }
    let mut wanted = no_quota();
    wanted.dqb_bhardlimit = blocks;
    wanted.dqb_bsoftlimit = blocks;
    wanted.dqb_valid = libc::QIF_BLIMITS;
    quotactl(&open(directory)?, SET_QUOTA, project, &mut wanted).map_err(|source| QuotaError::Limit {
        path: directory.to_owned(),
        project,
        source,
    })?;
    Ok(true)
}

/// What a project uses on the file system that `directory` is on.
pub fn usage(directory: &Path, project: u32) -> Result<Usage, QuotaError> {
    let mut quota = no_quota();
    match quotactl(&open(directory)?, GET_QUOTA, project, &mut quota) {
        Ok(()) => {}
        // A project that no file has yet.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT)) => {}
        Err(source) => {
            return Err(QuotaError::Usage { path: directory.to_owned(), project, source });
        }
    }
    let limit = (quota.dqb_bhardlimit != 0).then_some(quota.dqb_bhardlimit * QUOTA_BLOCK);
    Ok(Usage { used: quota.dqb_curspace, limit })
}

/// `FS_XFLAG_PROJINHERIT`.
const INHERIT: u32 = 0x200;
/// Bytes in the unit of limits.
const QUOTA_BLOCK: u64 = 1024;
const GET_QUOTA: u32 = 0x80_0007;
const SET_QUOTA: u32 = 0x80_0008;
/// `PRJQUOTA`.
const PROJECTS: u32 = 2;

fn quotactl(file: &File, command: u32, project: u32, quota: &mut libc::dqblk) -> io::Result<()> {
    let command = command << 8 | PROJECTS;
    // SAFETY: quotactl_fd(2) takes a descriptor, a command, an id and a pointer to a structure of the
    // kernel's layout, which lives longer than the call.
    let done = unsafe {
        libc::syscall(libc::SYS_quotactl_fd, file.as_raw_fd(), command, project, std::ptr::from_mut(quota))
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn no_quota() -> libc::dqblk {
    libc::dqblk {
        dqb_bhardlimit: 0,
        dqb_bsoftlimit: 0,
        dqb_curspace: 0,
        dqb_ihardlimit: 0,
        dqb_isoftlimit: 0,
        dqb_curinodes: 0,
        dqb_btime: 0,
        dqb_itime: 0,
        dqb_valid: 0,
    }
}

fn open(path: &Path) -> Result<File, QuotaError> {
    File::open(path).map_err(|source| QuotaError::Open { path: path.to_owned(), source })
}
