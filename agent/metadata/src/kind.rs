//! What kind of document user-data is, by its first bytes.

use std::fmt;

use serde::{Serialize, Serializer};

/// A kind of user-data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing but white space.
    Empty,
    /// Text that no other kind claims: taken as TOML.
    Toml,
    /// `#cloud-config`: YAML for cloud-init, or a template of it.
    CloudConfig,
    /// `#!`: a script.
    Script,
    /// A MIME message: several documents in one (RFC 2046).
    Multipart,
    /// Another of cloud-init's kinds: `#include`, `#cloud-boothook`, templates of them and the like.
    CloudInit,
    /// Not text.
    Binary,
}

impl Kind {
    /// The kind of an unpacked document.
    pub fn of(data: &[u8]) -> Kind {
        let Ok(text) = std::str::from_utf8(data) else { return Kind::Binary };
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let mut lines = text.lines().map(|line| line.trim_end().to_ascii_lowercase());
        let first = lines.next().unwrap_or_default();
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| first.starts_with(prefix));
        let is_config = |line: &str| line.starts_with("#cloud-config") && !line.starts_with("#cloud-config-");
        let second = lines.find(|line| !line.is_empty()).unwrap_or_default();
        let is_template = begins(&["## template:"]) && is_config(&second);
        if text.contains('\0') {
            Kind::Binary
        } else if text.is_empty() {
            Kind::Empty
        } else if begins(&["#!"]) {
            Kind::Script
        } else if is_config(&first) || is_template {
            Kind::CloudConfig
        } else if begins(&["content-type:", "content-transfer-encoding:", "mime-version:", "from nobody"]) {
            Kind::Multipart
        } else if begins(&["#include", "#cloud-", "#part-handler", "#upstart-job", "## template:"]) {
            Kind::CloudInit
        } else {
            Kind::Toml
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Empty => "empty",
            Kind::Toml => "toml",
            Kind::CloudConfig => "cloud-config",
            Kind::Script => "script",
            Kind::Multipart => "multipart",
            Kind::CloudInit => "cloud-init",
            Kind::Binary => "binary",
        })
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_tells_the_kind() {
        for (data, expect) in [
            (&b""[..], Kind::Empty),
            (b" \r\n", Kind::Empty),
            (b"format = 1\n", Kind::Toml),
            (b"# my box\n[box]\n", Kind::Toml),
            (b"\xef\xbb\xbf[box]\r\n", Kind::Toml),
            (b"#cloud-config\nusers: []\n", Kind::CloudConfig),
            (b"\xef\xbb\xbf#Cloud-Config\r\n", Kind::CloudConfig),
            (b"#cloud-config-archive\n", Kind::CloudInit),
            (b"#cloud-boothook\n", Kind::CloudInit),
            (b"#include\nhttps://example.org/x\n", Kind::CloudInit),
            (b"#include-once\nhttps://example.org/x\n", Kind::CloudInit),
            (b"#part-handler\n", Kind::CloudInit),
            (b"## template: jinja\n#cloud-config\n", Kind::CloudConfig),
            (b"## Template: jinja \r\n\r\n#Cloud-Config\r\n", Kind::CloudConfig),
            (b"## template: jinja\n#cloud-config-archive\n", Kind::CloudInit),
            (b"## template: jinja\n#!/bin/sh\n", Kind::CloudInit),
            (b"## template: jinja\n", Kind::CloudInit),
            (b"#!/bin/sh\n", Kind::Script),
            (b"\n#!/bin/sh\n", Kind::Script),
            (b"Content-Type: multipart/mixed; boundary=\"x\"\n", Kind::Multipart),
            (b"MIME-Version: 1.0\n", Kind::Multipart),
            (b"From nobody Fri Nov 27 2026\n", Kind::Multipart),
            (b"\x1f\x8b\x08", Kind::Binary),
            (b"a\0b", Kind::Binary),
        ] {
            assert_eq!(Kind::of(data), expect, "{:?}", String::from_utf8_lossy(data));
        }
    }
}
