//! The new mount calls, as this program uses them: a mount is made detached, changed, and only
//! then attached.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use libcontainer::syscall::linux::MountAttr;
use libcontainer::syscall::syscall::create_syscall;
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

// Bits of `mount_attr.attr_set` and `attr_clr`, mount_setattr(2).
const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
const IDMAP: u64 = 0x0010_0000;

/// What is changed on a detached mount.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    /// The user namespace whose map it gets.
    pub(crate) id_map: Option<BorrowedFd<'a>>,
    /// Whether it becomes read-only.
    pub(crate) read_only: bool,
    /// Whether setuid files and devices on it count for nothing.
    pub(crate) inert: bool,
    /// Whether programs can be run from it, though none can from where the host has it.
    pub(crate) programs: bool,
}

impl Change<'_> {
    /// Applies the change. Nothing to do is no call.
    fn apply(self, mount: BorrowedFd<'_>) -> anyhow::Result<()> {
        let mut attr = MountAttr { attr_set: 0, attr_clr: 0, propagation: 0, userns_fd: 0 };
        if self.read_only {
            attr.attr_set |= RDONLY;
        }
        if self.inert {
            attr.attr_set |= NOSUID | NODEV;
        }
        if self.programs {
            attr.attr_clr |= NOEXEC;
        }
        if let Some(namespace) = self.id_map {
            attr.attr_set |= IDMAP;
            attr.userns_fd = namespace.as_raw_fd() as u64;
        }
        if attr.attr_set == 0 && attr.attr_clr == 0 {
            return Ok(());
        }
        create_syscall()
            .mount_setattr(
                mount,
                Path::new(""),
                nix::libc::AT_EMPTY_PATH as u32,
                &attr,
                size_of::<MountAttr>(),
            )
            .context("failed to change the mount's attributes")
    }
}

/// Clones what is mounted at a path, detached.
pub(crate) fn cloned(source: &Path, recursive: bool, change: Change<'_>) -> anyhow::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let mount =
        open_tree(CWD, source, flags).with_context(|| format!("failed to open `{}`", source.display()))?;
    change.apply(mount.as_fd()).with_context(|| format!("failed to bind `{}`", source.display()))?;
    Ok(mount)
}

/// Mounts a layer's erofs file, read-only, detached, without a loop device.
pub(crate) fn layer(file: &Path, id_map: Option<BorrowedFd<'_>>) -> anyhow::Result<OwnedFd> {
    let mount = || -> anyhow::Result<OwnedFd> {
        let fs = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(fs.as_fd(), "source", file)?;
        fsconfig_set_flag(fs.as_fd(), "ro")?;
        fsconfig_create(fs.as_fd())?;
        // Setuid files keep their meaning in the root as a whole: see `overlay`.
        let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV;
        let mount = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?;
        Change { id_map, read_only: false, inert: false, programs: false }.apply(mount.as_fd())?;
        Ok(mount)
    };
    mount().with_context(|| format!("failed to mount layer `{}`", file.display()))
}

/// Mounts a tmpfs, detached. Only `mode`, `size` and the like are options.
pub(crate) fn tmpfs(options: &[(&str, &str)]) -> anyhow::Result<OwnedFd> {
    let mount = || -> rustix::io::Result<OwnedFd> {
        let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            fsconfig_set_string(fs.as_fd(), *key, *value)?;
        }
        fsconfig_create(fs.as_fd())?;
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
    };
    mount().context("failed to mount a tmpfs")
}

/// Mounts the sysfs of this process's network namespace, read-only, detached.
pub(crate) fn sysfs() -> anyhow::Result<OwnedFd> {
    let mount = || -> rustix::io::Result<OwnedFd> {
        let fs = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(fs.as_fd())?;
        let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
    };
    mount().context("failed to mount sysfs")
}

/// Mounts an overlay, detached. `lowers` are attached folders, top first, at least two.
pub(crate) fn overlay(lowers: &[impl AsRef<Path>], upper: &Path, work: &Path) -> anyhow::Result<OwnedFd> {
    let mount = || -> rustix::io::Result<OwnedFd> {
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(fs.as_fd(), "source", "holdfast")?;
        for lower in lowers {
            fsconfig_set_string(fs.as_fd(), "lowerdir+", lower.as_ref())?;
        }
        fsconfig_set_string(fs.as_fd(), "upperdir", upper)?;
        fsconfig_set_string(fs.as_fd(), "workdir", work)?;
        fsconfig_create(fs.as_fd())?;
        fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV)
    };
    let mount = mount().context("failed to mount the overlay of the layers")?;
    // A failed trial write makes the kernel mount it read-only without a word.
    let flags = rustix::fs::fstatvfs(&mount).context("failed to look at the overlay")?.f_flag;
    if flags.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        anyhow::bail!("the overlay over `{}` came up read-only", upper.display());
    }
    Ok(mount)
}

/// Attaches a detached mount.
pub(crate) fn attach(mount: BorrowedFd<'_>, at: &Path) -> anyhow::Result<()> {
    move_mount(mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .with_context(|| format!("failed to attach a mount at `{}`", at.display()))
}
