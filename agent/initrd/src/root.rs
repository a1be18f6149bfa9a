//! Mounts: the kernel's own file systems, the root, `/var`, and the switch to the root's init.

use image_layout::disk::data;
use nix::mount::{MsFlags, mount, umount};
use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the root is made before it becomes `/`.
pub(crate) const ROOT: &str = "/sysroot";
const INIT: &str = "/usr/lib/systemd/systemd";
/// What is moved along.
const KEPT: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// A mount or a step of the switch that failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum RootError {
    /// A mount failed.
    #[error("failed to mount {what} on `{target}`")]
    Mount { what: String, target: PathBuf, source: nix::Error },
    /// It stays mounted.
    #[error("failed to unmount `{target}`")]
    Unmount { target: PathBuf, source: nix::Error },
    /// A mount point cannot be made.
    #[error("failed to make `{path}`")]
    MakeDirectory { path: PathBuf, source: io::Error },
    /// The root cannot be made `/`.
    #[error("failed to switch to the root")]
    Switch { source: io::Error },
    /// The root's init cannot be started.
    #[error("failed to start `{INIT}`")]
    Exec { source: io::Error },
}

/// What is mounted to be written: no program is run from it, and files give no rights.
const STRICT: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Mounts `/dev` with `/dev/shm`, `/proc`, `/sys` and `/run`.
pub(crate) fn mount_kernel() -> Result<(), RootError> {
    attach("devtmpfs", "/dev", "devtmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, "mode=0755")?;
    // systemd would mount it and let programs be run from it.
    attach("tmpfs", "/dev/shm", "tmpfs", STRICT, "mode=1777")?;
    attach("proc", "/proc", "proc", STRICT, "")?;
    attach("sysfs", "/sys", "sysfs", STRICT, "")?;
    attach("tmpfs", "/run", "tmpfs", STRICT, "mode=0755,size=20%")
}

/// Mounts the root from its verity device.
pub(crate) fn mount_root(device: &Path) -> Result<(), RootError> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    attach(&device.to_string_lossy(), ROOT, "erofs", flags, "")
}

/// Mounts the data partition as `/var` of the root. What is kept back of it is nobody's without the right to it.
pub(crate) fn mount_data(device: &Path) -> Result<(), RootError> {
    let flags = STRICT | MsFlags::MS_NOATIME;
    let options = format!("prjquota,errors=remount-ro,resuid={}", data::RESERVE_USER);
    attach(&device.to_string_lossy(), var(), "ext4", flags, &options)
}

/// Unmounts what is mounted as `/var` of the root.
pub(crate) fn unmount_data() -> Result<(), RootError> {
    umount(var()).map_err(|source| RootError::Unmount { target: var().into(), source })
}

/// Mounts memory as `/var` of the root, for a box whose data is unavailable.
pub(crate) fn mount_volatile() -> Result<(), RootError> {
    attach("tmpfs", var(), "tmpfs", STRICT, "mode=0755,size=50%")
}

/// Shows the file `source` as `target` of the root, read-only.
pub(crate) fn bind_file(source: &Path, target: &str) -> Result<(), RootError> {
    let target = Path::new(ROOT).join(target.trim_start_matches('/'));
    let failed = |error| RootError::Mount {
        what: source.display().to_string(),
        target: target.clone(),
        source: error,
    };
    let none = None::<&str>;
    mount(Some(source), &target, none, MsFlags::MS_BIND, none).map_err(failed)?;
    let flags = STRICT | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, &target, none, flags, none).map_err(failed)
}

/// Where `/var` of the root is.
pub(crate) fn var() -> &'static str {
    "/sysroot/var"
}

/// Leaves the initrd: frees its files, makes the root `/`, becomes its init.
pub(crate) fn switch() -> Result<Infallible, RootError> {
    let failed = |source| RootError::Switch { source };
    free_initrd().map_err(failed)?;
    let none = None::<&str>;
    for from in KEPT {
        let target = Path::new(ROOT).join(&from[1..]);
        mount(Some(from), &target, none, MsFlags::MS_MOVE, none).map_err(|source| RootError::Mount {
            what: from.to_owned(),
            target,
            source,
        })?;
    }
    let switch = || -> io::Result<()> {
        std::env::set_current_dir(ROOT)?;
        mount(Some("."), "/", none, MsFlags::MS_MOVE, none)?;
        nix::unistd::chroot(".")?;
        std::env::set_current_dir("/")
    };
    switch().map_err(failed)?;
    let source = Command::new(INIT).env_clear().env("TERM", "linux").exec();
    Err(RootError::Exec { source })
}

/// Removes what the initrd holds, which is memory. What is mounted stays.
fn free_initrd() -> io::Result<()> {
    let own = fs::metadata("/")?.st_dev();
    for entry in fs::read_dir("/")? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        if meta.st_dev() != own || path == Path::new(ROOT) {
            continue;
        }
        // What cannot be removed costs memory and nothing else.
        let _ = if meta.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
    Ok(())
}

fn attach(source: &str, target: &str, kind: &str, flags: MsFlags, options: &str) -> Result<(), RootError> {
    if !Path::new(target).is_dir() {
        fs::create_dir_all(target)
            .map_err(|source| RootError::MakeDirectory { path: target.into(), source })?;
    }
    mount(Some(source), target, Some(kind), flags, Some(options)).map_err(|error| RootError::Mount {
        what: source.to_owned(),
        target: target.into(),
        source: error,
    })
}
