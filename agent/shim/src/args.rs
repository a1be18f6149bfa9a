//! The command line.

use std::path::PathBuf;

use thiserror::Error;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: holdfast-shim run --state DIR [--group GID] BUNDLE
       holdfast-shim exec --state DIR BUNDLE [--user USER[:GROUP]] [--env NAME=VALUE]...
                          [--cwd DIR] [--tty] -- COMMAND [ARGUMENT]...

With --group, the writable layer takes room as a member of that group, and nothing else does.

The container's id is the last part of BUNDLE. With --tty, standard input must be a terminal; it
becomes the command's controlling one.
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print the usage.
    Help,
    /// Run a bundle until it ends.
    Run(Run),
    /// Run a command in a running container.
    Exec(Exec),
}

/// `run`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Where libcontainer keeps the state of containers.
    pub(crate) state: PathBuf,
    /// The bundle.
    pub(crate) bundle: PathBuf,
    /// As whose member the writable layer takes room.
    pub(crate) group: Option<u32>,
}

/// `exec`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exec {
    /// Where libcontainer keeps the state of containers.
    pub(crate) state: PathBuf,
    /// The bundle that runs.
    pub(crate) bundle: PathBuf,
    /// `USER[:GROUP]`; absent: the container's.
    pub(crate) user: Option<String>,
    /// `NAME=VALUE`, on top of the container's environment.
    pub(crate) env: Vec<String>,
    /// Absent: the container's.
    pub(crate) cwd: Option<PathBuf>,
    /// Whether standard input becomes the controlling terminal.
    pub(crate) tty: bool,
    /// Program and arguments, never empty.
    pub(crate) command: Vec<String>,
}

/// A command line that is wrong.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ArgsError {
    #[error("give a subcommand, `run` or `exec`")]
    NoSubcommand,
    #[error("unknown subcommand `{0}`")]
    UnknownSubcommand(String),
    #[error("unknown option `{0}`")]
    UnknownOption(String),
    #[error("`{0}` needs a value")]
    NoValue(String),
    #[error("`--env {0}` is not NAME=VALUE")]
    Env(String),
    #[error("`--group {0}` is not the number of a group")]
    Group(String),
    #[error("`--state` is missing")]
    NoState,
    #[error("BUNDLE is missing")]
    NoBundle,
    #[error("`{0}` is one argument too many")]
    TooMany(String),
    #[error("no command after `--`")]
    NoCommand,
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Command, ArgsError> {
    let mut args = args.into_iter();
    let subcommand = args.next().ok_or(ArgsError::NoSubcommand)?;
    let exec = match subcommand.as_str() {
        "run" => false,
        "exec" => true,
        "-h" | "--help" => return Ok(Command::Help),
        _ => return Err(ArgsError::UnknownSubcommand(subcommand)),
    };

    let (mut state, mut bundle, mut user, mut cwd) = (None, None, None, None);
    let mut group = None;
    let (mut env, mut tty, mut command) = (Vec::new(), false, Vec::new());
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| ArgsError::NoValue(arg.clone()));
        match arg.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            "--state" => state = Some(PathBuf::from(value()?)),
            "--group" if !exec => {
                let number = value()?;
                group = Some(number.parse().map_err(|_| ArgsError::Group(number))?);
            }
            "--user" if exec => user = Some(value()?),
            "--cwd" if exec => cwd = Some(PathBuf::from(value()?)),
            "--tty" if exec => tty = true,
            "--env" if exec => {
                let pair = value()?;
                if pair.find('=').is_none_or(|at| at == 0) {
                    return Err(ArgsError::Env(pair));
                }
                env.push(pair);
            }
            "--" if exec => {
                command = args.collect();
                break;
            }
            _ if arg.starts_with('-') => return Err(ArgsError::UnknownOption(arg)),
            _ if bundle.is_none() => bundle = Some(PathBuf::from(arg)),
            _ => return Err(ArgsError::TooMany(arg)),
        }
    }

    let state = state.ok_or(ArgsError::NoState)?;
    let bundle = bundle.ok_or(ArgsError::NoBundle)?;
    if !exec {
        return Ok(Command::Run(Run { state, bundle, group }));
    }
    if command.is_empty() {
        return Err(ArgsError::NoCommand);
    }
    Ok(Command::Exec(Exec { state, bundle, user, env, cwd, tty, command }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Command, ArgsError> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn run_takes_state_and_bundle_in_any_order() {
        let run = |group| Ok(Command::Run(Run { state: "/s".into(), bundle: "/b/i.c".into(), group }));
        assert_eq!(words("run --state /s /b/i.c"), run(None));
        assert_eq!(words("run --state /s --group 4294967294 /b/i.c"), run(Some(u32::MAX - 1)));
        assert_eq!(words("run /b/i.c --state /s"), words("run --state /s /b/i.c"));
    }

    #[test]
    fn exec_keeps_what_follows_the_dashes_as_it_is() {
        let line = "exec --state /s /b/i.c --user 7:8 --env A=1 --env B=x=y --cwd /tmp --tty -- ls --help --";
        let exec = Exec {
            state: "/s".into(),
            bundle: "/b/i.c".into(),
            user: Some("7:8".to_owned()),
            env: vec!["A=1".to_owned(), "B=x=y".to_owned()],
            cwd: Some("/tmp".into()),
            tty: true,
            command: vec!["ls".to_owned(), "--help".to_owned(), "--".to_owned()],
        };
        assert_eq!(words(line), Ok(Command::Exec(exec)));
    }

    #[test]
    fn wrong_lines_are_told_apart() {
        for (line, error) in [
            ("", ArgsError::NoSubcommand),
            ("kill", ArgsError::UnknownSubcommand("kill".to_owned())),
            ("run /b", ArgsError::NoState),
            ("run --state", ArgsError::NoValue("--state".to_owned())),
            ("run --state /s", ArgsError::NoBundle),
            ("run --state /s /b /c", ArgsError::TooMany("/c".to_owned())),
            ("run --state /s /b --tty", ArgsError::UnknownOption("--tty".to_owned())),
            ("run --state /s /b --group x", ArgsError::Group("x".to_owned())),
            ("exec --state /s /b --group 1 -- x", ArgsError::UnknownOption("--group".to_owned())),
            ("exec --state /s /b", ArgsError::NoCommand),
            ("exec --state /s /b --", ArgsError::NoCommand),
            ("exec --state /s /b --env A -- x", ArgsError::Env("A".to_owned())),
            ("exec --state /s /b --env =A -- x", ArgsError::Env("=A".to_owned())),
        ] {
            assert_eq!(words(line), Err(error), "{line}");
        }
    }
}
