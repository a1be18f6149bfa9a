//! Looking at files of a container's root from outside: links stay within the root, and neither a
//! fifo nor a file without end holds the shim up.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, mkdirat, openat2};
use rustix::io::Errno;

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// The folder at an absolute path in the root, if there is one.
pub(crate) fn folder(root: BorrowedFd<'_>, path: &Path) -> anyhow::Result<Option<Stat>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(root, path, flags, Mode::empty(), IN_ROOT) {
        Ok(fd) => Ok(Some(rustix::fs::fstat(fd)?)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to look at `{}`", path.display())),
    }
}

/// Makes the folders of an absolute path in the root that are missing, for `owner` in the host's ids.
pub(crate) fn make_folders(root: BorrowedFd<'_>, path: &Path, owner: (u32, u32)) -> anyhow::Result<()> {
    let at = || format!("failed to make `{}` in the container", path.display());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    let mut parent = PathBuf::from("/");
    for part in path.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::ParentDir => bail!("`{}` is not a plain path", path.display()),
            _ => continue,
        };
        let next = parent.join(name);
        match openat2(root, &next, flags, Mode::empty(), IN_ROOT) {
            Err(Errno::NOENT) => {
                let parent = openat2(root, &parent, flags, Mode::empty(), IN_ROOT).with_context(at)?;
                mkdirat(parent.as_fd(), name, Mode::from_raw_mode(0o755)).with_context(at)?;
                let follow = AtFlags::SYMLINK_NOFOLLOW;
                chownat(parent.as_fd(), name, Some(uid), Some(gid), follow).with_context(at)?;
            }
            found => drop(found.with_context(at)?),
        }
        parent = next;
    }
    Ok(())
}

/// The first MiB of a file of the root; what is absent or no plain file reads as empty.
pub(crate) fn read(root: BorrowedFd<'_>, path: &str) -> anyhow::Result<String> {
    const LIMIT: u64 = 1 << 20;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(fd) = openat2(root, path, flags, Mode::empty(), IN_ROOT) else {
        return Ok(String::new());
    };
    let file = File::from(fd);
    if !file.metadata()?.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(LIMIT)
        .read_to_end(&mut bytes)
        .with_context(|| format!("failed to read the container's `{path}`"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn links_stay_inside_and_odd_files_read_as_empty() {
        let root = std::env::temp_dir().join(format!("holdfast-shim-inside-{}", std::process::id()));
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("real"), "inside").unwrap();
        symlink("/real", root.join("etc/absolute")).unwrap();
        symlink("../../../../real", root.join("etc/climbing")).unwrap();
        symlink("/proc/self/status", root.join("etc/out")).unwrap();
        symlink("loop", root.join("etc/loop")).unwrap();
        nix::unistd::mkfifo(&root.join("etc/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let fd = File::open(&root).unwrap();
        for (path, expect) in [
            ("real", "inside"),
            ("etc/absolute", "inside"),
            ("etc/climbing", "inside"),
            ("etc/out", ""),
            ("etc/loop", ""),
            ("etc/fifo", ""),
            ("etc", ""),
            ("none", ""),
        ] {
            assert_eq!(read(fd.as_fd(), path).unwrap(), expect, "{path}");
        }
        assert!(folder(fd.as_fd(), Path::new("/etc")).unwrap().is_some());
        assert!(folder(fd.as_fd(), Path::new("/real")).unwrap().is_none());
        assert!(folder(fd.as_fd(), Path::new("/none/x")).unwrap().is_none());
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn missing_folders_are_made_inside() {
        let root = std::env::temp_dir().join(format!("holdfast-shim-folders-{}", std::process::id()));
        std::fs::create_dir_all(root.join("real")).unwrap();
        symlink("/real", root.join("link")).unwrap();
        symlink("/nowhere", root.join("dangling")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        let fd = File::open(&root).unwrap();
        let owner = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let make = |path: &str| make_folders(fd.as_fd(), Path::new(path), owner);
        for path in ["/", "/real", "/a/b/c", "/link/x"] {
            make(path).unwrap();
        }
        let made = root.join("a/b/c").metadata().unwrap();
        assert_eq!((made.mode() & 0o777, made.uid()), (0o755, owner.0));
        assert!(root.join("real/x").is_dir());
        for path in ["/file", "/file/x", "/dangling", "/a/../d"] {
            assert!(make(path).is_err(), "{path}");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
}
