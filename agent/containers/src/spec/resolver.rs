//! The file that tells a container whom to ask for names.

use std::fmt::Write;
use std::net::IpAddr;

/// `/etc/resolv.conf` with these servers, of which the C library reads three. Those of the box's own
/// loopback mean something else in a container and are left out.
pub fn resolver(servers: &[IpAddr]) -> String {
    servers.iter().filter(|server| !server.is_loopback()).take(3).fold(String::new(), |mut text, server| {
        // A String takes everything.
        let _ = writeln!(text, "nameserver {server}");
        text
    })
}
