//! `exec`: one more command in a running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, bail};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe, read, write};
use oci_spec::runtime::Process;
use rustix::fs::FileType;

use crate::annotations::IdMap;
use crate::bundle::Bundle;
use crate::filter::Filter;
use crate::join::{self, Target};
use crate::signals::{self, Ended};
use crate::users::{self, Identity};
use crate::{SETUP_FAILED, annotations, args, command, exit, inside, spec};

/// Runs the command; the exit code is the command's.
pub(crate) fn exec(args: &args::Exec) -> anyhow::Result<u8> {
    let bundle = Bundle::open(&args.bundle)?;
    let process = bundle.spec.process().as_ref().context("`process` is missing")?;
    if args.tty && !rustix::termios::isatty(std::io::stdin()) {
        bail!("standard input is not a terminal");
    }
    let filter = Filter::of(&bundle.spec, &args.state)?;
    let mut target = Target::open(&args.state, &bundle.id, &bundle.spec)?;
    let root = target.root()?;
    let passwd = inside::read(root.as_fd(), "etc/passwd")?;
    let identity = identity(args, process, &passwd, root.as_fd())?;
    drop(root);
    hand_over_pipes(bundle.annotations.id_map, &identity)?;
    target.limits(process)?;
    target.join()?;

    // Blocked before the fork, so that none is lost between it and the wait.
    let watched = signals::watched();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&watched), None).context("failed to block signals")?;
    let (go_read, go_write) = pipe().context("failed to make a pipe")?;
    // SAFETY: this process has one thread, so the child may go on as after any fork.
    match unsafe { fork() }.context("failed to fork")? {
        ForkResult::Child => {
            drop(go_write);
            let error = match child(args, &bundle, filter.as_ref(), &target, &identity, &passwd, go_read) {
                Err(error) => error,
                Ok(never) => match never {},
            };
            exit::say(&exit::one_line(&error));
            let code = error
                .downcast_ref::<command::CommandError>()
                .map_or(i32::from(SETUP_FAILED), command::CommandError::exit_code);
            // SAFETY: ends the child at once; nothing of the parent's is flushed twice.
            unsafe { nix::libc::_exit(code) }
        }
        ForkResult::Parent { child } => {
            drop(go_read);
            // Until it is told to go on, the child does nothing; if it never is, it ends.
            target.adopt(child.as_raw())?;
            write(&go_write, b"g").context("failed to tell the command to start")?;
            drop(go_write);
            wait(child, &watched)
        }
    }
}

/// Who the command runs as: who is asked for, else whoever the container runs as.
fn identity(
    args: &args::Exec,
    process: &Process,
    passwd: &str,
    root: BorrowedFd<'_>,
) -> anyhow::Result<Identity> {
    match &args.user {
        Some(user) => Ok(users::resolve(user, passwd, &inside::read(root, "etc/group")?)?),
        None => Ok(Identity {
            uid: process.user().uid(),
            gid: process.user().gid(),
            groups: process.user().additional_gids().clone().unwrap_or_default(),
        }),
    }
}

/// Gives standard streams that are pipes to the command's user, who may open them again by name.
fn hand_over_pipes(map: Option<IdMap>, identity: &Identity) -> anyhow::Result<()> {
    let uid = rustix::fs::Uid::from_raw(annotations::to_host(map, identity.uid)?);
    let gid = rustix::fs::Gid::from_raw(annotations::to_host(map, identity.gid)?);
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for stream in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        let mode = rustix::fs::fstat(stream).context("failed to look at a stream")?.st_mode;
        if FileType::from_raw_mode(mode) == FileType::Fifo {
            rustix::fs::fchown(stream, Some(uid), Some(gid))
                .context("failed to give the command its streams")?;
        }
    }
    Ok(())
}

/// The child's part, up to becoming the program.
fn child(
    args: &args::Exec,
    bundle: &Bundle,
    filter: Option<&Filter>,
    target: &Target,
    identity: &Identity,
    passwd: &str,
    go: OwnedFd,
) -> anyhow::Result<std::convert::Infallible> {
    if read(&go, &mut [0]).context("failed to wait for the caller")? != 1 {
        bail!("the caller is gone");
    }
    drop(go);
    target.join_cgroup_namespace()?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .context("failed to unblock signals")?;
    // SAFETY: sets the default action, no handler.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.context("failed to reset SIGPIPE")?;

    let process = bundle.spec.process().as_ref().context("`process` is missing")?;
    let cwd = args.cwd.as_ref().unwrap_or(process.cwd());
    std::env::set_current_dir(cwd).with_context(|| format!("failed to go to `{}`", cwd.display()))?;
    join::confine(&bundle.spec, filter, identity, args.tty)?;

    let mut env = process.env().clone().unwrap_or_default();
    for pair in &args.env {
        let name = pair.split_once('=').map_or("", |(name, _)| name);
        env.retain(|old| old.split_once('=').is_none_or(|(old, _)| old != name));
        env.push(pair.clone());
    }
    spec::complete_env(&mut env, users::home(identity.uid, passwd));
    Ok(command::become_program(&args.command, &env)?)
}

/// Forwards signals until the child ends.
fn wait(child: Pid, watched: &SigSet) -> anyhow::Result<u8> {
    loop {
        let status = waitpid(child, Some(WaitPidFlag::WNOHANG)).context("failed to wait")?;
        if let Some(ended) = Ended::from_status(status) {
            return Ok(ended.exit_code());
        }
        match watched.wait().context("failed to wait for a signal")? {
            Signal::SIGCHLD => {}
            other => {
                let _ = kill(child, other);
            }
        }
    }
}
