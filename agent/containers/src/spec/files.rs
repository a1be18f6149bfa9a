//! The files that tell a container who and where it is.

use std::fmt::Write;
use std::net::IpAddr;

use agent_core::Allocation;

/// `/etc/hosts` of the container `own`: itself, and the containers of its instance by name.
pub fn hosts(allocation: &Allocation, own: &str) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    let mut add = |name: &str| {
        if let Some((four, six)) = allocation.addresses.get(name) {
            // A String takes everything.
            let _ = write!(text, "{four} {name}\n{six} {name}\n");
        }
    };
    add(own);
    for name in allocation.addresses.keys().filter(|name| *name != own) {
        add(name);
    }
    text
}

/// `/etc/resolv.conf` with these servers, of which the C library reads three. Those of the box's own
/// loopback mean something else in a container and are left out.
pub fn resolver(servers: &[IpAddr]) -> String {
    servers.iter().filter(|server| !server.is_loopback()).take(3).fold(String::new(), |mut text, server| {
        // A String takes everything.
        let _ = writeln!(text, "nameserver {server}");
        text
    })
}
