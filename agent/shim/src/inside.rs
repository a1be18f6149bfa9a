//! Looking at files of a container's root from outside: links stay within the root, and neither a
//! fifo nor a file without end holds the shim up.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

use anyhow::Context;
use rustix::fs::{Mode, OFlags, ResolveFlags, Stat, openat2};
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
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

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
}
