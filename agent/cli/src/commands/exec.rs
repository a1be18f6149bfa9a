//! `exec`: a command in a container. Its exit code is ours, and 125 is every failure before it runs.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use agent_api::ClientError;
use agent_api::exec::Frame;
use agent_api::types::ExecRequest;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::terminal::{self, Raw};
use super::{Outcome, print};
use crate::cli::Reach;
use crate::connect::connect;
use crate::error::Failure;
use crate::text;

const AFTER: &str = "\
The command has the container's user, environment, limits and protections. NAME may be an
instance that has one container.

Exit codes: the command's own, 128 + signal when it was killed; 126 it cannot be run,
127 there is no such program; 125 every failure before that.

Examples:
  holdfast exec site.web -- nginx -t
  holdfast exec -it site.web -- sh
  holdfast exec --user 0 --env A=1 site.web -- id
  holdfast exec -i site.db -- psql < dump.sql";

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// INSTANCE.CONTAINER, or an instance with one container
    name: String,
    /// Send standard input to the command
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// USER or USER:GROUP, names or numbers
    #[arg(short, long)]
    user: Option<String>,
    /// Add to the environment; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Working directory
    #[arg(short, long, value_name = "FOLDER")]
    workdir: Option<String>,
    /// Print the output and the exit code as one JSON object when the command has ended
    #[arg(long, conflicts_with_all = ["interactive", "tty"])]
    json: bool,
    /// Program and arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// What `--json` prints.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Report {
    exit_code: u8,
    stdout: String,
    stderr: String,
}

/// Runs `exec`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    if args.tty && !std::io::stdin().is_terminal() {
        return Err(Failure::invalid("standard input is not a terminal")
            .hint("leave `-t` out; through ssh, `ssh -t`")
            .before_exec());
    }
    let json = args.json;
    let request = request(args, terminal::size, std::env::var("TERM").ok());
    let client = connect(reach).await.map_err(Failure::before_exec)?;
    // The ssh that carries the connection lives as long as this.
    let (connection, _ssh) =
        client.exec(&request).await.map_err(|error| Failure::from(error).before_exec())?;
    let _raw = match request.tty {
        Some(_) => Some(Raw::enter().map_err(|error| {
            Failure::failed(format!("failed to prepare the terminal: {error}")).before_exec()
        })?),
        None => None,
    };

    let (mut from, mut to) = tokio::io::split(connection);
    if json {
        let mut report = Report::default();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        report.exit_code = receive(&mut from, &mut out, &mut err).await?;
        report.stdout = String::from_utf8_lossy(&out).into_owned();
        report.stderr = String::from_utf8_lossy(&err).into_owned();
        print(&text::json(&report)?)?;
        return Ok(report.exit_code);
    }
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    tokio::select! {
        code = receive(&mut from, &mut out, &mut err) => code,
        error = send(&mut to, request.stdin, request.tty.is_some()) => Err(error),
    }
}

fn request(
    args: Args,
    size: impl Fn() -> agent_api::types::TerminalSize,
    term: Option<String>,
) -> ExecRequest {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    if args.tty
        && let Some(term) = term
    {
        env.insert("TERM".to_owned(), term);
    }
    env.extend(args.env);
    ExecRequest {
        name: args.name,
        command: args.command,
        user: args.user,
        env,
        working_dir: args.workdir,
        stdin: args.interactive,
        tty: args.tty.then(size),
    }
}

/// Passes on what the command says until it ends.
async fn receive(
    from: &mut (impl AsyncRead + Unpin),
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<u8, Failure> {
    loop {
        let frame = Frame::read(from)
            .await
            .map_err(|error| Failure::from(ClientError::Unreachable(error.to_string())))?;
        match frame {
            // A reader that has gone does not end the command.
            Some(Frame::Stdout(bytes)) => drop(out.write_all(&bytes).and_then(|()| out.flush())),
            Some(Frame::Stderr(bytes)) => drop(err.write_all(&bytes).and_then(|()| err.flush())),
            Some(Frame::Exit(code)) => return Ok((code & 0xff) as u8),
            Some(Frame::Failed(message)) => return Err(Failure::failed(message).before_exec()),
            Some(Frame::Stdin(_) | Frame::Resize(..)) => {}
            None => {
                let lost = "the connection ended before the command did".to_owned();
                return Err(ClientError::Unreachable(lost).into());
            }
        }
    }
}

/// Passes on input and sizes of the terminal. Returns only an error.
async fn send(to: &mut (impl AsyncWrite + Unpin), stdin: bool, tty: bool) -> Failure {
    let broken = |error: std::io::Error| Failure::from(ClientError::Unreachable(error.to_string()));
    let mut resized = match signal(SignalKind::window_change()) {
        Ok(resized) => resized,
        Err(error) => return Failure::failed(format!("failed to watch the terminal: {error}")),
    };
    let mut input = tokio::io::stdin();
    let mut buffer = vec![0; 16 * 1024];
    let mut open = stdin;
    loop {
        let frame = tokio::select! {
            read = input.read(&mut buffer), if open => {
                // An input that cannot be read has ended for the command.
                let length = read.unwrap_or(0);
                open = length > 0;
                Frame::Stdin(buffer[..length].to_vec())
            }
            _ = resized.recv(), if tty => {
                let size = terminal::size();
                Frame::Resize(size.columns, size.rows)
            }
            else => std::future::pending().await,
        };
        let sent = match frame.write(to).await {
            Ok(()) => to.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            // The command may have ended; then its last frame is on its way.
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            return broken(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(line: &str) -> ExecRequest {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Some(Command::Exec(args)) = cli.command else { panic!("{line}") };
        request(args, || agent_api::types::TerminalSize { columns: 100, rows: 30 }, Some("xterm".into()))
    }

    #[test]
    fn requests() {
        let plain = parsed("holdfast exec site.web -- ls -l -- x");
        assert_eq!(plain.command, ["ls", "-l", "--", "x"]);
        assert_eq!((plain.stdin, plain.tty, plain.env.len()), (false, None, 0));
        let full = parsed("holdfast exec -it --user 7:8 --env A=b=c -w /srv site.web -- sh");
        assert_eq!((full.name.as_str(), full.user.as_deref()), ("site.web", Some("7:8")));
        assert_eq!(full.working_dir.as_deref(), Some("/srv"));
        assert!(full.stdin);
        assert_eq!(full.tty.map(|size| (size.columns, size.rows)), Some((100, 30)));
        let env: Vec<_> = full.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["A=b=c", "TERM=xterm"]);
    }

    async fn check(frames: &[Frame], expect: Result<u8, u8>) -> (String, String) {
        let mut wire = Vec::new();
        for frame in frames {
            frame.write(&mut wire).await.unwrap();
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let got = receive(&mut wire.as_slice(), &mut out, &mut err).await;
        assert_eq!(got.map_err(|failure| failure.exit_code()), expect, "{frames:?}");
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[tokio::test]
    async fn output_and_ends() {
        let frames = [Frame::Stdout(b"a".into()), Frame::Stderr(b"b".into()), Frame::Stdout(b"c".into())];
        let ended = [&frames[..], &[Frame::Exit(7)]].concat();
        assert_eq!(check(&ended, Ok(7)).await, ("ac".to_owned(), "b".to_owned()));
        check(&[Frame::Exit(137)], Ok(137)).await;
        check(&[Frame::Exit(-1)], Ok(255)).await;
        check(&[Frame::Failed("no such container".into())], Err(125)).await;
        check(&frames, Err(6)).await;
    }
}
