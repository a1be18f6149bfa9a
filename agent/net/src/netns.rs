//! Network namespaces by name, `/run/netns/NAME`, as `ip netns` keeps them.
//!
//! A namespace is made by a thread of its own, which unshares and ends; the bind mount on its name
//! keeps it. The caller must live in the host's mount namespace, or systemd does not see the mount.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use crate::Outcome;

/// Where names of namespaces lie.
pub const DIRECTORY: &str = "/run/netns";

/// Kernel settings of a container's namespace, which belongs to the host's user namespace, so that
/// the container's capabilities do not count: any port may be bound and any group may ping. The
/// neighbours' word on routes and duplicate addresses is not asked for.
const SETTINGS: [(&str, &str); 4] = [
    ("ipv4/ip_unprivileged_port_start", "0"),
    ("ipv4/ping_group_range", "0 2147483647"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
];

/// A namespace that could not be made, opened or removed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} the network namespace `{}`", path.display())]
pub struct NetnsError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The path of the namespace `name`, whether it exists or not.
pub fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Makes the namespace `name` if it is not there, with the settings of a container's.
pub fn ensure(name: &str) -> Result<Outcome, NetnsError> {
    let path = path(name);
    if exists(&path) {
        return Ok(Outcome::Unchanged);
    }
    let target = path.clone();
    let made = std::thread::spawn(move || make(&target)).join();
    match made.unwrap_or_else(|_| Err(io::Error::other("the thread panicked"))) {
        Ok(()) => Ok(Outcome::Changed),
        Err(source) => Err(NetnsError { action: "make", path, source }),
    }
}

fn make(path: &Path) -> io::Result<()> {
    fs::create_dir_all(DIRECTORY)?;
    // Left by a run that ended between the file and its mount, it serves as well.
    File::options().create(true).append(true).open(path)?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    for (key, value) in SETTINGS {
        // A file under /proc/sys/net is that of the namespace of the thread that opens it.
        match fs::write(Path::new("/proc/sys/net").join(key), value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && key.starts_with("ipv6") => {}
            written => written?,
        }
    }
    let own = Some("/proc/thread-self/ns/net");
    mount(own, path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Opens the namespace `name`.
pub fn open(name: &str) -> Result<File, NetnsError> {
    let path = path(name);
    File::open(&path).map_err(|source| NetnsError { action: "open", path, source })
}

/// Removes the name; the namespace itself ends with the last process in it.
pub fn remove(name: &str) -> Result<Outcome, NetnsError> {
    let path = path(name);
    let mounted = exists(&path);
    let removed = (|| {
        if mounted {
            umount2(&path, MntFlags::MNT_DETACH)?;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outcome::Unchanged),
            removed => removed.map(|()| Outcome::Changed),
        }
    })();
    removed.map_err(|source| NetnsError { action: "remove", path, source })
}

/// All names that begin with `prefix`, whether a namespace is mounted on them or not.
pub fn names(prefix: &str) -> Result<Vec<String>, NetnsError> {
    let list = || -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
        let mut names = names.collect::<io::Result<Vec<String>>>()?;
        names.retain(|name| name.starts_with(prefix));
        names.sort();
        Ok(names)
    };
    list().map_err(|source| NetnsError { action: "list", path: DIRECTORY.into(), source })
}

/// Whether a namespace is mounted there.
fn exists(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == NSFS_MAGIC)
}
