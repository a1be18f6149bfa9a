//! A user namespace that exists only to describe an id map, for idmapped mounts.

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, pipe, read, write};

use crate::annotations::IdMap;

/// Makes a user namespace with the map, for users and groups alike. It lives as long as the
/// descriptor.
pub(crate) fn namespace(map: IdMap) -> anyhow::Result<OwnedFd> {
    let (ready_read, ready_write) = pipe().context("failed to make a pipe")?;
    let (done_read, done_write) = pipe().context("failed to make a pipe")?;
    // SAFETY: this process has one thread, so the child may go on as after any fork; it only makes
    // system calls and ends with `_exit`.
    match unsafe { fork() }.context("failed to fork")? {
        ForkResult::Child => {
            drop(done_write);
            let made = unshare(CloneFlags::CLONE_NEWUSER).is_ok();
            let _ = write(&ready_write, &[u8::from(made)]);
            // Returns when the parent has what it needs, or is gone.
            let _ = read(&done_read, &mut [0]);
            // SAFETY: ends the child at once, without the parent's exit handlers.
            unsafe { nix::libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(ready_write);
            let mut made = [0];
            let read = read(&ready_read, &mut made).context("failed to read from the child")?;
            let result = if read == 1 && made[0] == 1 {
                open_mapped(child.as_raw(), map)
            } else {
                Err(anyhow::anyhow!("the kernel refused a user namespace"))
            };
            drop((done_write, done_read));
            waitpid(child, None).context("failed to wait for the child")?;
            result
        }
    }
}

fn open_mapped(pid: i32, map: IdMap) -> anyhow::Result<OwnedFd> {
    for name in ["uid_map", "gid_map"] {
        let path = format!("/proc/{pid}/{name}");
        std::fs::write(&path, format!("0 {} {}", map.base, map.size))
            .with_context(|| format!("failed to write the id map `{path}`"))?;
    }
    let path = format!("/proc/{pid}/ns/user");
    Ok(File::open(&path).with_context(|| format!("failed to open `{path}`"))?.into())
}
