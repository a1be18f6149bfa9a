//! A way to a server on loopback that can be shut in several manners.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It leads to the server.
    Open,
    /// It is taken, and nothing is ever said; what was open says nothing more either.
    Hangs,
    /// Each request is answered with this HTTP status.
    Status(u16),
    /// After so many bytes from the server it is cut.
    Cuts(u64),
}

/// The way. It is there until the test ends.
#[derive(Clone, Debug)]
pub struct Gate {
    port: u16,
    mode: Arc<Mutex<Mode>>,
}

impl Gate {
    /// Leads to a port of loopback.
    pub fn to(port: u16, mode: Mode) -> Result<Gate> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let gate = Gate { port: listener.local_addr()?.port(), mode: Arc::new(Mutex::new(mode)) };
        let mode = gate.mode.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mode = mode.clone();
                // A connection that breaks is nobody's fault but the test's own.
                std::thread::spawn(move || serve(client, port, &mode));
            }
        });
        Ok(gate)
    }

    /// What happens from now on.
    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = mode;
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn serve(mut client: TcpStream, port: u16, mode: &Arc<Mutex<Mode>>) -> Result<()> {
    let now = || *mode.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match now() {
        Mode::Status(status) => {
            let mut head: Vec<u8> = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut byte = [0; 512];
                match client.read(&mut byte)? {
                    0 => return Ok(()),
                    read => head.extend(&byte[..read]),
                }
            }
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return Ok(client.write_all(answer.as_bytes())?);
        }
        Mode::Hangs => wait(&now),
        Mode::Open | Mode::Cuts(_) => {}
    }
    let server = TcpStream::connect(("127.0.0.1", port))?;
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || copy(from, to, None, &|| Mode::Open));
    let limit = match now() {
        Mode::Cuts(limit) => Some(limit),
        _ => None,
    };
    copy(server, client, limit, &now)
}

/// Waits while the way is shut.
fn wait(now: &dyn Fn() -> Mode) {
    while now() == Mode::Hangs {
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, limit: Option<u64>, now: &dyn Fn() -> Mode) -> Result<()> {
    let mut left = limit.unwrap_or(u64::MAX);
    let mut buffer = [0; 1 << 14];
    while left > 0 {
        let read = from.read(&mut buffer)?;
        wait(now);
        if read == 0 {
            return Ok(to.shutdown(Shutdown::Write)?);
        }
        let take = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        to.write_all(&buffer[..take])?;
        left -= take as u64;
    }
    Ok(to.shutdown(Shutdown::Both)?)
}
