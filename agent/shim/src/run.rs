//! `run`: one container from its bundle to its end.

use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigmaskHow, Signal, signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::annotations::Annotations;
use crate::bundle::Bundle;
use crate::cause::Cause;
use crate::command::Become;
use crate::exit::Exit;
use crate::filter::Filter;
use crate::relay::Relay;
use crate::root::{self, Prepared};
use crate::signals::{self, Ended};
use crate::{args, cgroup, exit, relay, spec};

/// What a SIGTERM to the shim means to the container.
struct Stop {
    signal: i32,
    timeout: Option<Duration>,
}

impl Stop {
    fn of(annotations: &Annotations) -> Stop {
        Stop { signal: annotations.stop_signal, timeout: annotations.stop_timeout }
    }
}

/// Runs the bundle until it ends; the exit code is the container's.
pub(crate) fn run(args: &args::Run) -> anyhow::Result<u8> {
    let notify = std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from);
    let journal = std::env::var("JOURNAL_STREAM").ok();
    forget_environment();
    let (_, folder) = Bundle::folder(&args.bundle)?;
    exit::clear(folder.as_fd())?;
    let outcome = run_bundle(args, notify.as_deref(), journal.as_deref());
    let exit = outcome.as_ref().map_or_else(Exit::failed, |exit| Exit { error: None, ..*exit });
    if let Err(error) = exit::write(folder.as_fd(), &exit) {
        exit::say(&exit::one_line(&error));
    }
    outcome.map(|exit| exit.code)
}

/// What systemd told the shim is not for libcontainer, which would act on parts of it.
fn forget_environment() {
    let names: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in names {
        // SAFETY: this process has one thread, so nobody reads the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
}

fn run_bundle(args: &args::Run, notify: Option<&Path>, journal: Option<&str>) -> anyhow::Result<Exit> {
    let bundle = Bundle::open(&args.bundle)?;
    let state = state_folder(&args.state)?;
    let cgroup = cgroup_of(&bundle)?;
    clear_left_overs(&state.join(&bundle.id), &cgroup)?;

    // Nothing of the shim's own groups is for the container.
    nix::unistd::setgroups(&[]).context("failed to leave the shim's groups")?;
    let filter = spec::filtered_late(&bundle.spec).then(|| Filter::of(&bundle.spec, &state)).transpose()?;
    let prepared = root::prepare(&bundle, &state, args.group)?;
    let program = Become { filter: filter.flatten() };
    let (mut container, relays) = create(&bundle, &state, &prepared, program, journal)?;
    let ended = start_and_wait(&mut container, relays, notify, &Stop::of(&bundle.annotations));
    let oom_kills = cgroup::oom_kills(&cgroup);
    if let Err(error) = container.delete(true) {
        let error = anyhow::Error::new(error).context("failed to clean up after the container");
        exit::say(&exit::one_line(&error));
    }
    Ok(Exit::ended(ended?, oom_kills))
}

fn state_folder(path: &Path) -> anyhow::Result<PathBuf> {
    let at = || format!("failed to make the state folder `{}`", path.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(at)?;
    path.canonicalize().with_context(at)
}

fn cgroup_of(bundle: &Bundle) -> anyhow::Result<PathBuf> {
    let linux = bundle.spec.linux().as_ref().context("`linux` is missing")?;
    let path = linux.cgroups_path().as_ref().context("`linux.cgroupsPath` is missing")?;
    Ok(cgroup::folder(path))
}

/// Removes what a shim that was killed left behind.
fn clear_left_overs(state: &Path, cgroup: &Path) -> anyhow::Result<()> {
    cgroup::clear(cgroup)?;
    match std::fs::remove_dir_all(state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", state.display()))
        }
        _ => Ok(()),
    }
}

/// Creates the container, which then waits to be started.
fn create(
    bundle: &Bundle,
    state: &Path,
    prepared: &Prepared,
    program: Become,
    journal: Option<&str>,
) -> anyhow::Result<(Container, Vec<Relay>)> {
    let mut relays = Vec::new();
    let mut builder = ContainerBuilder::new(bundle.id.clone(), SyscallType::default())
        .with_root_path(state)?
        .validate_id()?
        .with_executor(program);
    if let Some((relay, end)) = Relay::to(std::io::stdout().as_fd(), prepared.owner)? {
        relays.push(relay);
        builder = builder.with_stdout(end);
    }
    let stderr = std::io::stderr();
    let own = relay::journal(stderr.as_fd(), journal, &bundle.id)
        .context("failed to open a stream to the journal")?;
    let stderr = own.as_ref().map_or(stderr.as_fd(), |own| own.as_fd());
    if let Some((relay, end)) = Relay::to(stderr, prepared.owner)? {
        relays.push(relay);
        builder = builder.with_stderr(end);
    }

    // Rust ignores SIGPIPE, and what is ignored stays so in the container. The signal mask would
    // be inherited too, so signals are blocked only when the container is there.
    // SAFETY: sets the default action, no handler.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.context("failed to reset SIGPIPE")?;
    let cause = Cause::listen()?;
    let container = builder
        .as_init(&prepared.bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(|error| not_created(&error.into(), cause.heard().as_deref()))?;
    // SAFETY: as above; from here on the shim itself must not end when a reader is gone.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.context("failed to ignore SIGPIPE")?;
    Ok((container, relays))
}

/// What libcontainer says, less the words that say nothing, and the cause where it leaves it out.
fn not_created(error: &anyhow::Error, cause: Option<&str>) -> anyhow::Error {
    const EMPTY: [&str; 2] =
        ["failed to create container: ", "exec process failed with error error in executing process : "];
    let said = EMPTY.iter().fold(exit::one_line(error), |text, empty| text.replace(empty, ""));
    match cause {
        // An error of the command's own is complete, and logged in other words.
        Some(cause) if !said.contains("cannot run") && !said.contains(cause) => {
            anyhow::anyhow!("failed to create the container: {said}: {cause}")
        }
        _ => anyhow::anyhow!("failed to create the container: {said}"),
    }
}

fn start_and_wait(
    container: &mut Container,
    mut relays: Vec<Relay>,
    notify: Option<&Path>,
    stop: &Stop,
) -> anyhow::Result<Ended> {
    let init = container.pid().context("the container has no process")?;
    let init = Pid::from_raw(init.as_raw());
    let watched = signals::watched();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&watched), None).context("failed to block signals")?;
    let signals = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("failed to watch for signals")?;

    container.start().context("failed to start the container")?;
    if let Some(socket) = notify {
        say_ready(socket).context("failed to tell systemd that the container runs")?;
    }
    let ended = supervise(init, &signals, &mut relays, stop)?;
    drain(&mut relays);
    Ok(ended)
}

/// Tells systemd, sd_notify(3).
fn say_ready(socket: &Path) -> std::io::Result<()> {
    let name = socket.as_os_str().as_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1\n", &address).map(drop)
}

/// Forwards signals and output until the container's first process ends.
fn supervise(init: Pid, signals: &SignalFd, relays: &mut [Relay], stop: &Stop) -> anyhow::Result<Ended> {
    let mut kill_at: Option<Instant> = None;
    loop {
        let status = waitpid(init, Some(WaitPidFlag::WNOHANG)).context("failed to wait")?;
        if let Some(ended) = Ended::from_status(status) {
            return Ok(ended);
        }
        if kill_at.is_some_and(|at| Instant::now() >= at) {
            send(init, nix::libc::SIGKILL);
            kill_at = None;
        }
        wait(Some(signals), relays, until(kill_at))?;
        while let Some(info) = signals.read_signal().context("failed to read a signal")? {
            match info.ssi_signo as i32 {
                nix::libc::SIGCHLD => {}
                nix::libc::SIGTERM => {
                    send(init, stop.signal);
                    kill_at =
                        kill_at.or(stop.timeout.and_then(|timeout| Instant::now().checked_add(timeout)));
                }
                other => send(init, other),
            }
        }
        for relay in &mut *relays {
            relay.carry();
        }
    }
}

/// How long to wait for a moment, rounded up: before it there is nothing to do.
fn until(moment: Option<Instant>) -> PollTimeout {
    match moment {
        None => PollTimeout::NONE,
        Some(at) => {
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        }
    }
}

fn wait(signals: Option<&SignalFd>, relays: &[Relay], timeout: PollTimeout) -> anyhow::Result<()> {
    let mut fds: Vec<PollFd<'_>> = relays.iter().filter_map(Relay::interest).collect();
    if let Some(signals) = signals {
        fds.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
    }
    match poll(&mut fds, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("failed to wait for signals and output"),
    }
}

/// Carries what the container said last. All its processes are gone, so the pipes end.
fn drain(relays: &mut [Relay]) {
    while relays.iter().any(|relay| relay.interest().is_some()) {
        let waited = wait(None, relays, PollTimeout::from(1000_u16));
        let moved = relays.iter_mut().map(Relay::carry).filter(|moved| *moved).count();
        if waited.is_err() || moved == 0 {
            return;
        }
    }
}

/// Sends a signal, which may be a real-time one, to a child that has not been waited for.
fn send(to: Pid, number: i32) {
    // SAFETY: plain system call. The child may have ended, which is no error here: its end is
    // seen by the next wait.
    unsafe { nix::libc::kill(to.as_raw(), number) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: &str, cause: Option<&str>, expect: &str) {
        let error = not_created(&anyhow::anyhow!(said.to_owned()), cause);
        assert_eq!(error.to_string(), format!("failed to create the container: {expect}"));
    }

    #[test]
    fn libcontainers_words_are_sifted() {
        const CLONED: &str = "failed to create container: exec process failed with error \
                              error in executing process : ";
        check(&format!("{CLONED}no root"), Some("ENOENT"), "no root: ENOENT");
        check(&format!("{CLONED}no root"), None, "no root");
        check(&format!("{CLONED}cannot run `x`"), Some("not found"), "cannot run `x`");
        check("EPERM on y", Some("EPERM"), "EPERM on y");
    }
}
