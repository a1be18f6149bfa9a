//! A neighbour of a box on a wire of its own: frames are made and read here, so that every port can be asked.
//!
//! It answers for its two addresses (RFC 826, RFC 4861), sends one TCP SYN or UDP datagram for each port, and tells
//! the answers apart. Deliberately absent: connections.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// The box's hardware address on the wire.
pub const BOX: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x77];
const OWN: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x99];
/// The port that is asked from.
const PORT: u16 = 40_000;
/// Ports that are asked before the answers are read: a queue of the box's holds as many.
const BATCH: usize = 128;
/// Rounds in which nobody answers, until silence is believed.
const ROUNDS: usize = 3;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// With a SYN; a port that is open answers with SYN and ACK, one that is closed with RST.
    Tcp,
    /// With a byte; a port that is closed answers with ICMP, port unreachable.
    Udp,
}

/// What became of the ports from 1 to 65535.
#[derive(Debug, Default)]
pub struct Ports {
    /// Those that take connections, or answered a datagram.
    pub open: BTreeSet<u16>,
    /// Those that did not answer.
    pub silent: BTreeSet<u16>,
}

/// The wire, with the neighbour on it.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    own: IpAddr,
    other: IpAddr,
}

/// QEMU's arguments for a NIC on a wire whose other end listens at `path`.
pub fn arguments(path: &Path) -> Vec<String> {
    let mac = BOX.map(|byte| format!("{byte:02x}")).join(":");
    let netdev = format!("stream,id=wire,server=off,addr.type=unix,addr.path={}", path.display());
    let device = format!("virtio-net-pci,netdev=wire,romfile=,mac={mac}");
    ["-netdev".into(), netdev, "-device".into(), device].into()
}

impl Wire {
    /// Takes QEMU's end; the neighbour has the address `own` and asks `other`.
    pub fn accept(listener: &UnixListener, own: IpAddr, other: IpAddr) -> Result<Wire> {
        let (stream, _) = listener.accept().context("QEMU does not come to the wire")?;
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        Ok(Wire { stream, own, other })
    }

    /// The same neighbour with other addresses.
    pub fn with(self, own: IpAddr, other: IpAddr) -> Wire {
        Wire { own, other, ..self }
    }

    /// Asks all ports, those that do not answer again until `limit`.
    pub fn scan(&mut self, protocol: Protocol, limit: Duration) -> Result<Ports> {
        let mut ports = Ports { silent: (1..=u16::MAX).collect(), ..Ports::default() };
        let end = Instant::now() + limit;
        let mut same = 0;
        while !ports.silent.is_empty() && Instant::now() < end {
            let asked: Vec<u16> = ports.silent.iter().copied().collect();
            let before = asked.len();
            for batch in asked.chunks(BATCH) {
                for port in batch {
                    let packet = self.question(protocol, *port);
                    self.send(&packet)?;
                }
                self.answers(protocol, batch.len(), &mut ports)?;
            }
            // A frame may be lost; one that is asked for again and again is not.
            same = if before == ports.silent.len() && before < u16::MAX.into() { same + 1 } else { 0 };
            if same == ROUNDS {
                return Ok(ports);
            }
        }
        Ok(ports)
    }

    /// Reads answers until there are `wanted` of them, or none for a while.
    fn answers(&mut self, protocol: Protocol, wanted: usize, ports: &mut Ports) -> Result<()> {
        let mut had = 0;
        while had < wanted {
            let Some(frame) = self.receive()? else { return Ok(()) };
            if let Some(answer) = self.neighbour(&frame) {
                self.send(&answer)?;
            } else if let Some((port, open)) = self.answer(protocol, &frame) {
                had += usize::from(ports.silent.remove(&port));
                if open {
                    ports.open.insert(port);
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, frame: &[u8]) -> Result<()> {
        let length = (frame.len() as u32).to_be_bytes();
        self.stream.write_all(&[&length, frame].concat()).context("the wire is cut")
    }

    /// The next frame; `None` when there is none for a while.
    fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        match self.stream.read(&mut length[..1]) {
            Ok(1) => {}
            Ok(_) => anyhow::bail!("QEMU has left the wire"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        self.stream.read_exact(&mut length[1..])?;
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length < 1 << 20, "a frame of {length} bytes");
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Ok(Some(frame))
    }

    /// The answer to a frame that asks who has the neighbour's address.
    fn neighbour(&self, frame: &[u8]) -> Option<Vec<u8>> {
        match self.own {
            IpAddr::V4(own) => {
                let arp = frame.get(14..42)?;
                let asks = frame[12..14] == [8, 6] && arp[7] == 1 && arp[24..28] == own.octets();
                let answer = [&arp[..7], &[2], &OWN, &own.octets(), &arp[8..18]].concat();
                asks.then(|| ethernet(0x0806, &answer))
            }
            IpAddr::V6(own) => {
                let (header, asked) = (frame.get(14..54)?, frame.get(54..78)?);
                let asks = frame[12..14] == [0x86, 0xdd] && header[6] == 58 && asked[0] == 135;
                let mut answer = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &own.octets(), &[2, 1], &OWN].concat();
                let to = <[u8; 16]>::try_from(&header[8..24]).ok()?;
                let sum = checksum(&pseudo(self.own, IpAddr::from(to), 58, &answer));
                answer[2..4].copy_from_slice(&sum.to_be_bytes());
                (asks && asked[8..24] == own.octets())
                    .then(|| ethernet(0x86dd, &internet(self.own, IpAddr::from(to), 58, &answer)))
            }
        }
    }

    fn question(&self, protocol: Protocol, port: u16) -> Vec<u8> {
        let ports = [PORT.to_be_bytes(), port.to_be_bytes()].concat();
        let (number, mut body, sum_at) = match protocol {
            // Sequence number 1, five words of header, SYN, a window.
            Protocol::Tcp => {
                (TCP, [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0]].concat(), 16)
            }
            Protocol::Udp => (UDP, [&ports[..], &[0, 9, 0, 0, 0]].concat(), 6),
        };
        let sum = checksum(&pseudo(self.own, self.other, number, &body));
        // None at all is a zero, so a sum of zero is written as the other zero (RFC 768).
        let sum = if number == UDP && sum == 0 { !0 } else { sum };
        body[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
        let kind = if self.own.is_ipv4() { 0x0800 } else { 0x86dd };
        ethernet(kind, &internet(self.own, self.other, number, &body))
    }

    /// The port that a frame is the answer of, and whether it is open.
    fn answer(&self, protocol: Protocol, frame: &[u8]) -> Option<(u16, bool)> {
        let (number, body) = inside(frame.get(14..)?)?;
        let port =
            |bytes: &[u8], at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        match (protocol, number) {
            (Protocol::Tcp, TCP) if port(body, 2)? == PORT => Some((port(body, 0)?, body.get(13)? & 4 == 0)),
            (Protocol::Udp, UDP) if port(body, 2)? == PORT => Some((port(body, 0)?, true)),
            // Destination unreachable, with the datagram that was.
            (Protocol::Udp, 1 | 58) if matches!((number, body.first()?), (1, 3) | (58, 1)) => {
                let (_, question) = inside(body.get(8..)?)?;
                Some((port(question, 2)?, false))
            }
            _ => None,
        }
    }
}

/// The protocol and the content of an IP packet that is all there.
fn inside(packet: &[u8]) -> Option<(u8, &[u8])> {
    match packet.first()? >> 4 {
        4 => Some((*packet.get(9)?, packet.get(usize::from(packet[0] & 15) * 4..)?)),
        6 => Some((*packet.get(6)?, packet.get(40..)?)),
        _ => None,
    }
}

fn ethernet(kind: u16, content: &[u8]) -> Vec<u8> {
    [&BOX[..], &OWN, &kind.to_be_bytes(), content].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An IP packet (RFC 791, RFC 8200), without options.
fn internet(from: IpAddr, to: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u16;
    let (from_to, v4) = ([octets(from), octets(to)].concat(), from.is_ipv4());
    if !v4 {
        return [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[protocol, 255], &from_to, body].concat();
    }
    let head = [&[0x45, 0][..], &(length + 20).to_be_bytes(), &[0, 0, 0x40, 0, 64, protocol, 0, 0]].concat();
    let mut header = [head, from_to].concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header[..], body].concat()
}

/// What a checksum of TCP, UDP and ICMPv6 is made of.
fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let rest = [&[0, protocol][..], &(body.len() as u16).to_be_bytes(), body].concat();
    [octets(from), octets(to), rest].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(folded as u16).wrapping_add((folded >> 16) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_its_specification() {
        // The example of RFC 1071, section 3.
        assert_eq!(checksum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        // What holds its own sum has none left.
        let packet = internet("192.0.2.9".parse().unwrap(), "192.0.2.1".parse().unwrap(), TCP, b"");
        assert_eq!(checksum(&packet), 0);
    }
}
