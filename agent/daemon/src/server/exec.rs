//! Commands in containers, over an upgraded connection.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;

use agent_api::exec::{Frame, UPGRADE};
use agent_api::types::ExecRequest;
use agent_core::ContainerName;
use agent_core::observed::UnitState;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, UPGRADE as UPGRADE_HEADER};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::apply;
use super::error::{Answer, Failure};
use crate::agent::Agent;
use crate::exec::{self, Options};

/// Bytes of one read from the command.
const CHUNK: usize = 16 << 10;

/// Starts the command and hands the connection over to it.
pub(super) async fn exec(State(agent): State<Arc<Agent>>, mut request: Request) -> Answer<Response> {
    let wanted = request.headers().get(UPGRADE_HEADER).and_then(|value| value.to_str().ok());
    if wanted != Some(UPGRADE) {
        return Err(Failure::invalid(format!("exec wants `Upgrade: {UPGRADE}`")));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
    let body = body.map_err(|error| Failure::invalid(error.to_string()))?;
    let asked: ExecRequest =
        serde_json::from_slice(&body).map_err(|error| Failure::invalid(format!("bad request: {error}")))?;
    let name = running(&agent, &asked)?;
    let (child, stream) = start(&agent, &name, &asked)
        .map_err(|error| Failure::failed(format!("failed to run a command in {name}: {error}")))?;
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => serve(TokioIo::new(connection), child, stream).await,
            Err(error) => tracing::debug!("an exec connection was not upgraded: {error}"),
        }
    });
    let switching = StatusCode::SWITCHING_PROTOCOLS;
    Ok((switching, [(CONNECTION, "upgrade"), (UPGRADE_HEADER, UPGRADE)], Body::empty()).into_response())
}

/// The one container that is meant, which must run.
fn running(agent: &Agent, asked: &ExecRequest) -> Answer<ContainerName> {
    if asked.command.is_empty() {
        return Err(Failure::invalid("exec wants a command"));
    }
    let mut names = apply::containers_of(agent, &asked.name)?;
    if names.len() > 1 {
        let all = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Failure::invalid(format!("`{}` has several containers", asked.name)).hint(all));
    }
    let name = names.remove(0);
    let live = agent.live();
    match live.observed.containers.get(&name).map(|c| &c.unit) {
        Some(UnitState::Running { .. }) => Ok(name),
        _ => Err(Failure::failed(format!("{name} does not run"))),
    }
}

/// Where a command's bytes come from and go to.
enum Streams {
    Pipes,
    Terminal(tokio::fs::File, OwnedFd),
}

fn start(agent: &Agent, name: &ContainerName, asked: &ExecRequest) -> std::io::Result<(Child, Streams)> {
    let options = Options {
        user: asked.user.as_deref(),
        env: asked.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
        working_dir: asked.working_dir.as_deref(),
        tty: asked.tty.is_some(),
    };
    let mut command = exec::command_with(agent, name, &asked.command, &options);
    command.kill_on_drop(true);
    match asked.tty {
        None => {
            let stdin = if asked.stdin { Stdio::piped() } else { Stdio::null() };
            command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
            Ok((command.spawn()?, Streams::Pipes))
        }
        Some(size) => terminal(command, size.columns, size.rows),
    }
}

fn terminal(mut command: Command, columns: u16, rows: u16) -> std::io::Result<(Child, Streams)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    resize(&ours, columns, rows)?;
    let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
    let child = command.spawn()?;
    // The command's copies must be the only ones, or its end would not be seen.
    drop(command);
    let file = tokio::fs::File::from_std(File::from(ours.try_clone()?));
    Ok((child, Streams::Terminal(file, ours)))
}

fn resize(terminal: &OwnedFd, columns: u16, rows: u16) -> std::io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

/// Carries frames until the command ends; a connection that breaks ends the command.
async fn serve<C>(connection: C, mut child: Child, streams: Streams)
where
    C: AsyncRead + AsyncWrite + Send + 'static,
{
    let (from, to) = tokio::io::split(connection);
    let (send, outgoing) = mpsc::channel::<Frame>(16);
    let writing = tokio::spawn(write_frames(to, outgoing));
    let mut readers = Vec::new();
    let input: (Option<Box<dyn AsyncWrite + Send + Unpin>>, Option<OwnedFd>) = match streams {
        Streams::Pipes => {
            if let Some(stdout) = child.stdout.take() {
                readers.push(tokio::spawn(read_output(stdout, Frame::Stdout, send.clone())));
            }
            if let Some(stderr) = child.stderr.take() {
                readers.push(tokio::spawn(read_output(stderr, Frame::Stderr, send.clone())));
            }
            let stdin = child.stdin.take();
            (stdin.map(|stdin| Box::new(stdin) as Box<dyn AsyncWrite + Send + Unpin>), None)
        }
        Streams::Terminal(file, control) => match file.try_clone().await {
            Ok(reader) => {
                readers.push(tokio::spawn(read_output(reader, Frame::Stdout, send.clone())));
                (Some(Box::new(file)), Some(control))
            }
            Err(error) => {
                let _ = send.send(Frame::Failed(error.to_string())).await;
                return;
            }
        },
    };
    let mut feeding = tokio::spawn(feed(from, input.0, input.1));
    let status = tokio::select! {
        status = child.wait() => status,
        // The other side went away: the command, which has the terminal or pipes, is killed.
        _ = &mut feeding => {
            let _ = child.start_kill();
            return;
        }
    };
    for reader in readers {
        // What a child of the command keeps open is not waited for.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), reader).await;
    }
    let last = match status {
        Ok(status) => Frame::Exit(exec::code(status)),
        Err(error) => Frame::Failed(error.to_string()),
    };
    let _ = send.send(last).await;
    drop(send);
    let _ = writing.await;
    feeding.abort();
}

async fn write_frames<C: AsyncWrite>(mut to: WriteHalf<C>, mut frames: mpsc::Receiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        if frame.write(&mut to).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

async fn read_output<R: AsyncRead + Unpin>(
    mut from: R,
    frame: fn(Vec<u8>) -> Frame,
    to: mpsc::Sender<Frame>,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        // A terminal whose other end is closed reads as an error.
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if to.send(frame(buffer[..count].to_vec())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Carries input until the connection ends.
async fn feed<C: AsyncRead>(
    mut from: ReadHalf<C>,
    mut stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    terminal: Option<OwnedFd>,
) {
    while let Ok(Some(frame)) = Frame::read(&mut from).await {
        match frame {
            Frame::Stdin(bytes) if bytes.is_empty() => stdin = None,
            Frame::Stdin(bytes) => {
                if let Some(to) = &mut stdin
                    && (to.write_all(&bytes).await.is_err() || to.flush().await.is_err())
                {
                    stdin = None;
                }
            }
            Frame::Resize(columns, rows) => {
                if let Some(terminal) = &terminal {
                    // A terminal that is gone needs no size.
                    let _ = resize(terminal, columns, rows);
                }
            }
            _ => return,
        }
    }
}
