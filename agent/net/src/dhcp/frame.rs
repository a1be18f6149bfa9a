//! Ethernet frames around DHCP messages.
//!
//! The UDP checksum of what comes in is not looked at: between machines on one host it is often left
//! for hardware that never sees the frame. The transaction number and the hardware address in the
//! message say whose it is.

use std::net::Ipv4Addr;

use agent_core::network::Mac;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const PROTOCOL_UDP: u8 = 17;
/// The server's port.
pub const SERVER_PORT: u16 = 67;
/// The client's port.
pub const CLIENT_PORT: u16 = 68;

/// A frame to all on the link, from `0.0.0.0`.
pub fn broadcast(from: Mac, payload: &[u8]) -> Vec<u8> {
    let udp_length = (UDP + payload.len()) as u16;
    let mut udp = Vec::with_capacity(UDP + payload.len());
    udp.extend(CLIENT_PORT.to_be_bytes());
    udp.extend(SERVER_PORT.to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let (source, target) = (Ipv4Addr::UNSPECIFIED.octets(), Ipv4Addr::BROADCAST.octets());
    let mut pseudo = [source, target].concat();
    pseudo.extend([0, PROTOCOL_UDP]);
    pseudo.extend(udp_length.to_be_bytes());
    let sum = match checksum(&[&pseudo, &udp]) {
        // Zero would mean that there is none (RFC 768).
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());

    let mut ip = vec![0x45, 0xc0];
    ip.extend((IPV4 as u16 + udp_length).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, PROTOCOL_UDP, 0, 0]);
    ip.extend(source);
    ip.extend(target);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());

    let mut frame = vec![0xff; 6];
    frame.extend(from.0);
    frame.extend(ETHERTYPE_IPV4);
    frame.extend(ip);
    frame.extend(udp);
    frame
}

/// The DHCP message in a frame from a server's port to the client's; none in any other frame.
pub fn payload(frame: &[u8]) -> Option<&[u8]> {
    let ip = frame.get(ETHERNET..)?;
    if frame[12..14] != ETHERTYPE_IPV4 || ip.first()? >> 4 != 4 {
        return None;
    }
    let header = usize::from(ip[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    // What follows the packet pads the frame.
    let ip = ip.get(..total)?;
    let fragment = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x3fff;
    if header < IPV4 || fragment != 0 || *ip.get(9)? != PROTOCOL_UDP {
        return None;
    }
    let udp = ip.get(header..)?;
    let ports: [u8; 4] = udp.get(..4)?.try_into().ok()?;
    let length = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]));
    let to_client = ports[..2] == SERVER_PORT.to_be_bytes() && ports[2..] == CLIENT_PORT.to_be_bytes();
    if to_client { udp.get(UDP..length) } else { None }
}

/// The checksum of RFC 1071 over the parts in a row, each but the last of even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    /// The frame as it would come back from a server.
    fn answered(payload: &[u8]) -> Vec<u8> {
        let mut frame = broadcast(MAC, payload);
        let udp = ETHERNET + IPV4;
        frame[udp..udp + 4].copy_from_slice(&[0, 67, 0, 68]);
        frame
    }

    #[test]
    fn checksums_verify() {
        for payload in [&b"even"[..], b"odd"] {
            let frame = broadcast(MAC, payload);
            assert_eq!(checksum(&[&frame[ETHERNET..ETHERNET + IPV4]]), 0);
            let mut pseudo = frame[ETHERNET + 12..ETHERNET + 20].to_vec();
            pseudo.extend([0, 17]);
            pseudo.extend((UDP as u16 + payload.len() as u16).to_be_bytes());
            assert_eq!(checksum(&[&pseudo, &frame[ETHERNET + IPV4..]]), 0);
        }
    }

    #[test]
    fn the_message_is_found_and_nothing_else() {
        let good = answered(b"message");
        assert_eq!(payload(&good), Some(&b"message"[..]));
        assert_eq!(payload(&broadcast(MAC, b"message")), None, "what clients send is for servers");
        let mut padded = good.clone();
        padded.extend([0; 20]);
        assert_eq!(payload(&padded), Some(&b"message"[..]));
        for (at, value) in
            [(12, 0x86), (ETHERNET, 0x65), (ETHERNET, 0x44), (ETHERNET + 6, 0x20), (ETHERNET + 9, 6)]
        {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(payload(&bad), None, "byte {at}");
        }
        for length in 0..good.len() {
            assert_eq!(payload(&good[..length]), None, "cut at {length}");
        }
        let mut lies = good;
        lies[ETHERNET + IPV4 + 4..ETHERNET + IPV4 + 6].copy_from_slice(&[0, 3]);
        assert_eq!(payload(&lies), None, "shorter than its own header");
    }
}
