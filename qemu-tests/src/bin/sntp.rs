//! A time server for a box that reaches none: run inside it, it answers on loopback with the box's own clock,
//! which is what QEMU gives. SNTP, RFC 4330, section 5.

#![forbid(unsafe_code)]

use std::net::UdpSocket;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds from 1900 to 1970.
const EPOCH: u64 = 2_208_988_800;

fn main() -> std::io::Result<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 123))?;
    let mut request = [0; 128];
    loop {
        let (length, from) = socket.recv_from(&mut request)?;
        if length >= 48 {
            socket.send_to(&reply(&request), from)?;
        }
    }
}

/// No warning, version 4, server; stratum 1 with its own clock.
fn reply(request: &[u8]) -> [u8; 48] {
    let mut reply = [0; 48];
    reply[..4].copy_from_slice(&[0x24, 1, request[2], 0xec]);
    reply[12..16].copy_from_slice(b"LOCL");
    for at in [16, 32, 40] {
        reply[at..at + 8].copy_from_slice(&now().to_be_bytes());
    }
    // What it was sent at is given back.
    reply[24..32].copy_from_slice(&request[40..48]);
    reply
}

/// NTP's 64 bits: seconds and their fraction.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (since.as_secs() + EPOCH) << 32 | fraction
}
