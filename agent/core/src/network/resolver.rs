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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_servers_and_none_of_loopback() {
        let check = |servers: &[&str], expect: &str| {
            let servers: Vec<IpAddr> = servers.iter().map(|s| s.parse().unwrap()).collect();
            assert_eq!(resolver(&servers), expect);
        };
        check(&[], "");
        check(&["127.0.0.53", "9.9.9.9", "::1"], "nameserver 9.9.9.9\n");
        check(
            &["192.0.2.1", "2001:db8::1", "192.0.2.3", "192.0.2.4"],
            "nameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver 192.0.2.3\n",
        );
    }
}
