//! Becoming part of a running container, exactly as protected as its first process.
//!
//! The order matters. The cgroup is opened while the shim is still the host's root; the namespaces
//! are joined in one call; then a child is forked into the PID namespace, moved into the cgroup by
//! its parent, and only then gives up identity, capabilities and system calls, in the order in
//! which libcontainer does it for the first process. The parent stays outside of the cgroup and of
//! the PID namespace: it must live to tell how the child ended.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use libcontainer::capabilities::CapabilityExt;
use libcontainer::syscall::syscall::create_syscall;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process, Spec};
use rustix::fs::{Mode, OFlags};

use crate::cgroup;
use crate::filter::Filter;
use crate::users::Identity;

/// The namespaces that are joined at once; the cgroup namespace is joined by the child.
const NAMESPACES: [(&str, CloneFlags); 6] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("net", CloneFlags::CLONE_NEWNET),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
];

/// A container's first process, held so that its number cannot come to mean another.
pub(crate) struct Target {
    pidfd: OwnedFd,
    pid: i32,
    procs: File,
    /// Its cgroup namespace, unless that is the host's. Opened while this is the host's root: whoever is in
    /// the container may not look at the first process until that has become the container's program.
    cgroup_namespace: Option<File>,
}

impl Target {
    /// Finds the first process of a running container.
    pub(crate) fn open(state: &Path, id: &str, spec: &Spec) -> anyhow::Result<Target> {
        #[derive(serde::Deserialize)]
        struct State {
            pid: Option<i32>,
        }
        let file = state.join(id).join("state.json");
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("container `{id}` is not running")
            }
            Err(error) => {
                return Err(error).with_context(|| format!("failed to read `{}`", file.display()));
            }
        };
        let state: State =
            serde_json::from_slice(&text).with_context(|| format!("`{}` is damaged", file.display()))?;
        let pid = state.pid.with_context(|| format!("container `{id}` is not running"))?;
        let number = rustix::process::Pid::from_raw(pid).context("the container has no process")?;
        let flags = rustix::process::PidfdFlags::empty();
        let pidfd = rustix::process::pidfd_open(number, flags)
            .with_context(|| format!("container `{id}` is not running"))?;
        // Checked after the descriptor is there: from now on the number stays the same process.
        let cgroup = own_cgroup(pid, spec).with_context(|| format!("container `{id}` is not running"))?;
        let procs = cgroup.join("cgroup.procs");
        let procs = OpenOptions::new()
            .write(true)
            .open(&procs)
            .with_context(|| format!("failed to open `{}`", procs.display()))?;
        let path = format!("/proc/{pid}/ns/cgroup");
        let namespace = File::open(&path).with_context(|| format!("failed to open `{path}`"))?;
        let shared = namespace.metadata()?.ino() == namespace_at("/proc/self/ns/cgroup")?;
        Ok(Target { pidfd, pid, procs, cgroup_namespace: (!shared).then_some(namespace) })
    }

    /// Takes over the container's limits and its place when memory is short, while it still may: the
    /// caller, an agent that must not be killed, has others.
    pub(crate) fn limits(&self, process: &Process) -> anyhow::Result<()> {
        let syscall = create_syscall();
        for limit in process.rlimits().iter().flatten() {
            syscall.set_rlimit(limit).context("failed to set a resource limit")?;
        }
        let path = format!("/proc/{}/oom_score_adj", self.pid);
        let score = std::fs::read_to_string(&path).with_context(|| format!("failed to read `{path}`"))?;
        std::fs::write("/proc/self/oom_score_adj", score.trim())
            .context("failed to set the out-of-memory score")
    }

    /// The container's root, as its first process has it.
    pub(crate) fn root(&self) -> anyhow::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = format!("/proc/{}/root", self.pid);
        rustix::fs::open(&root, flags, Mode::empty()).with_context(|| format!("failed to open `{root}`"))
    }

    /// Joins all namespaces but the cgroup one. What this process forks next is in the container.
    pub(crate) fn join(&self) -> anyhow::Result<()> {
        let mut flags = CloneFlags::empty();
        for (name, flag) in NAMESPACES {
            // A namespace that is the same already cannot be joined again.
            if self.namespace(name)? != namespace_at(&format!("/proc/self/ns/{name}"))? {
                flags |= flag;
            }
        }
        // Otherwise a process of the container could trace this one on its way in.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .context("failed to shut tracers out")?;
        setns(&self.pidfd, flags).context("failed to join the container's namespaces")
    }

    fn namespace(&self, name: &str) -> anyhow::Result<u64> {
        namespace_at(&format!("/proc/{}/ns/{name}", self.pid))
    }

    /// Moves a process into the container's cgroup, where its limits and device rules are.
    pub(crate) fn adopt(&mut self, pid: i32) -> anyhow::Result<()> {
        self.procs
            .write_all(pid.to_string().as_bytes())
            .context("failed to move the command into the container's cgroup")
    }

    /// For the child: joins the cgroup namespace.
    pub(crate) fn join_cgroup_namespace(&self) -> anyhow::Result<()> {
        let Some(namespace) = &self.cgroup_namespace else { return Ok(()) };
        setns(namespace, CloneFlags::CLONE_NEWCGROUP)
            .context("failed to join the container's cgroup namespace")
    }
}

fn namespace_at(path: &str) -> anyhow::Result<u64> {
    Ok(std::fs::metadata(path).with_context(|| format!("failed to look at `{path}`"))?.ino())
}

/// The cgroup of a process, which must be the container's or one below it.
fn own_cgroup(pid: i32, spec: &Spec) -> anyhow::Result<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let linux = spec.linux().as_ref().context("`linux` is missing")?;
    let expected = linux.cgroups_path().as_ref().context("`linux.cgroupsPath` is missing")?;
    let path = text
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(Path::new)
        .filter(|path| path.starts_with(expected))
        .context("its process number belongs to another one")?;
    Ok(cgroup::folder(path))
}

/// The capabilities of a container as far as this process has them: its caller may be bounded more
/// than the container's unit. In a user namespace of the container's own that is all of them.
fn within_reach(wanted: &LinuxCapabilities) -> anyhow::Result<LinuxCapabilities> {
    let own = rustix::thread::capabilities(None).context("failed to read capabilities")?.permitted;
    let reach = |set: &Option<Capabilities>| {
        set.as_ref().map(|set| {
            let has = |capability: &&Capability| own.bits() >> capability.to_cap().index() & 1 == 1;
            set.iter().filter(has).copied().collect::<Capabilities>()
        })
    };
    let mut within = wanted.clone();
    within
        .set_bounding(reach(wanted.bounding()))
        .set_effective(reach(wanted.effective()))
        .set_permitted(reach(wanted.permitted()))
        .set_inheritable(reach(wanted.inheritable()))
        .set_ambient(reach(wanted.ambient()));
    Ok(within)
}

/// Makes standard input the controlling terminal. The caller leads a session.
pub(crate) fn take_terminal(stdin: BorrowedFd<'_>) -> anyhow::Result<()> {
    rustix::process::ioctl_tiocsctty(stdin)
        .context("standard input is not a terminal that this command can have")
}

/// Gives up everything that the container's first process has not. Only becoming the program may
/// follow.
pub(crate) fn confine(
    spec: &Spec,
    filter: Option<&Filter>,
    identity: &Identity,
    tty: bool,
) -> anyhow::Result<()> {
    let process = spec.process().as_ref().context("`process` is missing")?;
    setsid().context("failed to start a session")?;
    if tty {
        take_terminal(std::io::stdin().as_fd())?;
    }
    let umask = process.user().umask().unwrap_or(0o022);
    rustix::process::umask(Mode::from_bits_truncate(umask));
    if process.no_new_privileges() == Some(true) {
        rustix::thread::set_no_new_privs(true).context("failed to refuse new privileges")?;
    }
    close_all_but_stdio()?;

    let groups: Vec<Gid> = identity.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    setgroups(&groups).context("failed to set the groups")?;
    rustix::thread::set_keep_capabilities(true).context("failed to keep capabilities")?;
    let gid = Gid::from_raw(identity.gid);
    setresgid(gid, gid, gid).context("failed to set the group")?;
    let uid = Uid::from_raw(identity.uid);
    setresuid(uid, uid, uid).context("failed to set the user")?;

    // Without this flag a filter needs a capability, so it comes before they are dropped.
    let early = process.no_new_privileges().is_none();
    if let (true, Some(filter)) = (early, filter) {
        filter.load().context("failed to load seccomp")?;
    }
    let syscall = create_syscall();
    let capabilities = process.capabilities().as_ref().context("`process.capabilities` is missing")?;
    let capabilities = within_reach(capabilities)?;
    libcontainer::capabilities::reset_effective(syscall.as_ref())
        .and_then(|()| libcontainer::capabilities::drop_privileges(&capabilities, syscall.as_ref()))
        .context("failed to drop capabilities")?;
    // A change of identity clears it, so it comes after; the container's command must not outlive
    // the one who asked for it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("failed to tie the command to its caller")?;
    if let (false, Some(filter)) = (early, filter) {
        filter.load().context("failed to load seccomp")?;
    }
    Ok(())
}

fn close_all_but_stdio() -> anyhow::Result<()> {
    // SAFETY: only marks descriptors to be closed by exec; none is closed under its owner.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
    nix::errno::Errno::result(result).context("failed to close descriptors").map(drop)
}
