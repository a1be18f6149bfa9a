//! The resolver's file.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

/// What the C library reads at most.
const MOST_SERVERS: usize = 3;
/// What the C library reads at most.
const MOST_DOMAINS: usize = 6;

/// The text of `resolv.conf`: servers and search domains in order, each once.
pub fn resolv_conf(servers: &[IpAddr], search: &[String]) -> String {
    let mut text = String::from("# Written by holdfastd.\n");
    for server in servers.iter().take(MOST_SERVERS) {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !search.is_empty() {
        let domains: Vec<&str> = search.iter().take(MOST_DOMAINS).map(String::as_str).collect();
        let _ = writeln!(text, "search {}", domains.join(" "));
    }
    text
}

/// Each once, the first place counts.
pub(super) fn unique<T: Ord + Clone>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    items.into_iter().filter(|item| seen.insert(item.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_c_library_reads() {
        let servers: Vec<IpAddr> = ["9.9.9.9", "2620:fe::fe", "9.9.9.9", "192.0.2.1", "192.0.2.2"]
            .map(|s| s.parse().unwrap())
            .into();
        let text = resolv_conf(&unique(servers), &["a.example".to_owned(), "b.example".to_owned()]);
        assert_eq!(
            text,
            "# Written by holdfastd.\nnameserver 9.9.9.9\nnameserver 2620:fe::fe\nnameserver 192.0.2.1\n\
             search a.example b.example\n"
        );
        assert_eq!(resolv_conf(&[], &[]), "# Written by holdfastd.\n");
    }
}
