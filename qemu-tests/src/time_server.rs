//! A time server on the host's loopback: SNTP, RFC 4330, section 5.

use std::net::UdpSocket;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::machine::Machine;

/// Seconds from 1900, where NTP counts from, to 1970.
const ERA: u64 = 2_208_988_800;

/// A server. It runs until the test ends.
#[derive(Clone, Copy, Debug)]
pub struct TimeServer {
    port: u16,
}

impl TimeServer {
    /// One whose clock is so many seconds ahead of the host's.
    pub fn start(ahead: u64) -> Result<TimeServer> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let port = socket.local_addr()?.port();
        std::thread::spawn(move || {
            let mut request = [0; 1024];
            while let Ok((48.., client)) = socket.recv_from(&mut request) {
                // A client that has gone asks no more.
                let _ = socket.send_to(&answer(&request, epoch() + ahead), client);
            }
        });
        Ok(TimeServer { port })
    }

    /// What the machine, which has a shell, asks its gateway of the time comes here.
    pub fn redirect(&self, machine: &mut Machine) -> Result<()> {
        redirect(machine, "clock", "ip daddr 10.0.2.2 udp dport 123", self.port)
    }
}

/// What the machine sends and `what` fits goes to a UDP port of the host's loopback, until it restarts.
pub(crate) fn redirect(machine: &mut Machine, table: &str, what: &str, to: u16) -> Result<()> {
    let rules = format!(
        "nft 'add table ip {table}; add chain ip {table} out {{ type nat hook output priority -100; }}; \
         add rule ip {table} out {what} dnat to 10.0.2.2:{to}'"
    );
    machine.shell(&rules).map(drop)
}

/// Seconds since 1970, on the host.
fn epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Version 4, a server's answer, stratum 1; then the times, with no fraction.
fn answer(request: &[u8], now: u64) -> [u8; 48] {
    let mut answer = [0; 48];
    answer[..4].copy_from_slice(&[0x24, 1, request[2], 0xec]);
    answer[12..16].copy_from_slice(b"LAB\0");
    answer[24..32].copy_from_slice(&request[40..48]);
    for at in [16, 32, 40] {
        answer[at..at + 4].copy_from_slice(&((now + ERA) as u32).to_be_bytes());
    }
    answer
}
