//! Finding a program in a container and becoming it.

use std::convert::Infallible;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, execve};
use thiserror::Error;

use crate::SETUP_FAILED;
use crate::filter::Filter;

/// A program that cannot be run.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum CommandError {
    #[error("cannot run `{0}`: no such program in the container")]
    NotFound(String),
    #[error("cannot run `{program}`: {reason}")]
    Refused { program: String, reason: String },
}

impl CommandError {
    /// 127 for a program that is not there, 126 for one that cannot be run.
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            CommandError::NotFound(_) => 127,
            CommandError::Refused { .. } => 126,
        }
    }
}

/// The file that a program's name stands for: itself with a slash in it, else the first
/// executable of that name in PATH.
fn find(program: &str, env: &[String]) -> Result<PathBuf, CommandError> {
    let path = env.iter().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or_default();
    find_with(program, path, |file| file.is_file(), |file| access(file, AccessFlags::X_OK).is_ok())
}

fn find_with(
    program: &str,
    path: &str,
    is_file: impl Fn(&Path) -> bool,
    may_run: impl Fn(&Path) -> bool,
) -> Result<PathBuf, CommandError> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![PathBuf::from(program)]
    } else if program.is_empty() {
        Vec::new()
    } else {
        path.split(':').map(|folder| Path::new(folder).join(program)).collect()
    };
    let files: Vec<PathBuf> = candidates.into_iter().filter(|file| is_file(file)).collect();
    match files.iter().find(|file| may_run(file)) {
        Some(file) => Ok(file.clone()),
        None if files.is_empty() => Err(CommandError::NotFound(program.to_owned())),
        None => Err(CommandError::Refused {
            program: program.to_owned(),
            reason: "this user may not run it".to_owned(),
        }),
    }
}

/// Becomes a program, with this environment and no other. Returns only if it cannot.
pub(crate) fn become_program(args: &[String], env: &[String]) -> Result<Infallible, CommandError> {
    let program = args.first().map(String::as_str).unwrap_or_default();
    let refused =
        |reason: &str| CommandError::Refused { program: program.to_owned(), reason: reason.to_owned() };
    let file = find(program, env)?;
    let text = |text: &str| CString::new(text).map_err(|_| refused("a zero byte in its arguments"));
    let file = text(&file.to_string_lossy())?;
    let args = args.iter().map(|arg| text(arg)).collect::<Result<Vec<_>, _>>()?;
    let env = env.iter().map(|pair| text(pair)).collect::<Result<Vec<_>, _>>()?;
    execve(&file, &args, &env).map_err(|errno| match errno {
        Errno::ENOENT => refused("its interpreter is not in the container"),
        Errno::ENOEXEC => refused("it is not a program for this machine"),
        other => refused(other.desc()),
    })
}

/// How libcontainer's first process becomes the container's program.
#[derive(Clone)]
pub(crate) struct Become {
    /// Loaded last of all; absent when the bundle has none, or libcontainer loads it.
    pub(crate) filter: Option<Filter>,
}

impl Executor for Become {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let args = process.args().as_deref().unwrap_or_default();
        let env = process.env().as_deref().unwrap_or_default();
        let (said, code) = match self.filter.as_ref().map_or(Ok(()), Filter::load) {
            Ok(()) => {
                let Err(error) = become_program(args, env);
                (error.to_string(), error.exit_code())
            }
            Err(error) => (format!("failed to load seccomp: {error}"), i32::from(SETUP_FAILED)),
        };
        // The shim takes the container for started by now; its output is the container's.
        crate::exit::say(&said);
        // SAFETY: ends the cloned process at once, without the shim's exit handlers.
        unsafe { nix::libc::_exit(code) }
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let wrong = |error: String| ExecutorValidationError::ArgValidationError(error);
        let process = spec.process().as_ref().ok_or_else(|| wrong("`process` is missing".to_owned()))?;
        let args = process.args().as_deref().unwrap_or_default();
        let program = args.first().map(String::as_str).unwrap_or_default();
        match find(program, process.env().as_deref().unwrap_or_default()) {
            Ok(_) => Ok(()),
            Err(error) => Err(wrong(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(program: &str, path: &str, expect: Result<&str, i32>) {
        // `run` may be run, `data` is there but may not, `dir` is a folder.
        let is_file = |file: &Path| {
            let name = file.to_str().unwrap();
            ["/bin/run", "/usr/bin/run", "/bin/data", "rel/run"].contains(&name)
        };
        let may_run = |file: &Path| file.ends_with("run");
        let found = find_with(program, path, is_file, may_run).map_err(|error| error.exit_code());
        assert_eq!(found, expect.map(PathBuf::from), "{program} in {path}");
    }

    #[test]
    fn programs_are_looked_up_as_a_shell_does() {
        check("run", "/sbin:/usr/bin:/bin", Ok("/usr/bin/run"));
        check("/bin/run", "", Ok("/bin/run"));
        check("rel/run", "/bin", Ok("rel/run"));
        check("data", "/bin", Err(126));
        check("/bin/data", "", Err(126));
        check("none", "/bin", Err(127));
        check("dir", "/bin", Err(127));
        check("run", "", Err(127));
        check("", "/bin", Err(127));
    }
}
