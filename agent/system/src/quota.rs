//! Sizes of volumes, and the inodes of all that containers write: ext4 project quotas on data.
//!
//! Invariant: what is made in a directory with a project counts for it, since the directory hands its project on.
//! A limit holds for everybody but CAP_SYS_RESOURCE of the host. Absent: files that were in the directory before; a
//! project is set on a directory that is new.

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
    /// The project cannot be read.
    #[error("failed to read the project of `{path}`")]
    ReadProject { path: PathBuf, source: nix::Error },
    /// The project cannot be read or set.
    #[error("failed to give `{path}` the project {project}")]
    Project { path: PathBuf, project: u32, source: nix::Error },
    /// The limit cannot be set.
    #[error("failed to limit project {project} on `{path}`")]
    Limit { path: PathBuf, project: u32, source: io::Error },
    /// The use cannot be read.
    #[error("failed to read the use of project {project} on `{path}`")]
    Usage { path: PathBuf, project: u32, source: io::Error },
    /// The projects cannot be listed.
    #[error("failed to list the projects on `{path}`")]
    List { path: PathBuf, source: io::Error },
}

/// What a project has and may have, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Used now.
    pub used: u64,
    /// The limit, when there is one.
    pub limit: Option<u64>,
}

/// The inodes that a project has and may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inodes {
    /// The project.
    pub project: u32,
    /// Used now.
    pub used: u64,
    /// The limit, when there is one.
    pub limit: Option<u64>,
}

/// The project that is given to what will be made in a directory, if there is one.
pub fn project(directory: &Path) -> Result<Option<u32>, QuotaError> {
    let failed = |source| QuotaError::ReadProject { path: directory.to_owned(), source };
    let attributes = attributes(&open(directory)?).map_err(failed)?;
    Ok((attributes.flags & INHERIT != 0).then_some(attributes.project))
}

fn attributes(file: &File) -> nix::Result<FileAttributes> {
    let mut attributes = FileAttributes::default();
    // SAFETY: the descriptor is open, and the call fills a structure of the kernel's layout.
    unsafe { ioctl::fs_get_attributes(file.as_raw_fd(), &mut attributes) }?;
    Ok(attributes)
}

/// Gives a directory, and what will be made in it, a project; says whether it had another one.
pub fn set_project(directory: &Path, project: u32) -> Result<bool, QuotaError> {
    let file = open(directory)?;
    let failed = |source| QuotaError::Project { path: directory.to_owned(), project, source };
    let mut attributes = attributes(&file).map_err(failed)?;
    if attributes.project == project && attributes.flags & INHERIT != 0 {
        return Ok(false);
    }
    attributes.project = project;
    attributes.flags |= INHERIT;
    // SAFETY: the descriptor is open; the call only reads the structure.
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
    let limits =
        Quota { block_limit: blocks, soft_block_limit: blocks, valid: libc::QIF_BLIMITS, ..Quota::default() };
    set(directory, project, limits)?;
    Ok(true)
}

/// What a project uses on the file system that `directory` is on.
pub fn usage(directory: &Path, project: u32) -> Result<Usage, QuotaError> {
    let mut quota = Quota::default();
    match quotactl(&open(directory)?, GET_QUOTA, project, &mut quota) {
        Ok(()) => {}
        // A project that no file has yet.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT)) => {}
        Err(source) => {
            return Err(QuotaError::Usage { path: directory.to_owned(), project, source });
        }
    }
    let limit = (quota.block_limit != 0).then_some(quota.block_limit * QUOTA_BLOCK);
    Ok(Usage { used: quota.bytes, limit })
}

/// Every project on the file system that `directory` is on, but that of all other files, which is 0.
pub fn inodes(directory: &Path) -> Result<Vec<Inodes>, QuotaError> {
    let file = open(directory)?;
    let (mut found, mut next) = (Vec::new(), Some(1));
    while let Some(project) = next {
        let mut quota = Quota::default();
        next = match quotactl(&file, NEXT_QUOTA, project, &mut quota) {
            Ok(()) => {
                let limit = Some(quota.inode_limit).filter(|limit| *limit != 0);
                found.push(Inodes { project: quota.id, used: quota.inodes, limit });
                quota.id.checked_add(1)
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
            Err(source) => return Err(QuotaError::List { path: directory.to_owned(), source }),
        };
    }
    Ok(found)
}

/// Limits the inodes of a project, which has one at least.
pub fn set_inode_limit(directory: &Path, project: u32, inodes: u64) -> Result<(), QuotaError> {
    let inodes = inodes.max(1);
    set(directory, project, Quota { inode_limit: inodes, valid: libc::QIF_ILIMITS, ..Quota::default() })
}

/// Lifts all limits of a project: of one without files the file system then knows nothing any more.
pub fn forget(directory: &Path, project: u32) -> Result<(), QuotaError> {
    set(directory, project, Quota { valid: libc::QIF_LIMITS, ..Quota::default() })
}

fn set(directory: &Path, project: u32, mut limits: Quota) -> Result<(), QuotaError> {
    quotactl(&open(directory)?, SET_QUOTA, project, &mut limits).map_err(|source| QuotaError::Limit {
        path: directory.to_owned(),
        project,
        source,
    })
}

/// `FS_XFLAG_PROJINHERIT`.
const INHERIT: u32 = 0x200;
/// Bytes in the unit of limits.
const QUOTA_BLOCK: u64 = 1024;
const GET_QUOTA: u32 = 0x80_0007;
const SET_QUOTA: u32 = 0x80_0008;
const NEXT_QUOTA: u32 = 0x80_0009;
/// `PRJQUOTA`.
const PROJECTS: u32 = 2;

/// `struct if_dqblk` of `linux/quota.h`, and `struct if_nextdqblk`, which has an id where the other is padded.
#[repr(C)]
#[derive(Debug, Default)]
struct Quota {
    block_limit: u64,
    soft_block_limit: u64,
    bytes: u64,
    inode_limit: u64,
    soft_inode_limit: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
    id: u32,
}

fn quotactl(file: &File, command: u32, project: u32, quota: &mut Quota) -> io::Result<()> {
    let command = command << 8 | PROJECTS;
    // SAFETY: quotactl_fd(2) takes a descriptor, a command, an id and a pointer to a structure of the
    // kernel's layout, which lives longer than the call.
    let done = unsafe {
        libc::syscall(libc::SYS_quotactl_fd, file.as_raw_fd(), command, project, std::ptr::from_mut(quota))
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn open(path: &Path) -> Result<File, QuotaError> {
    File::open(path).map_err(|source| QuotaError::Open { path: path.to_owned(), source })
}
