//! What a root must never hold: setuid and setgid files, devices, shells, interpreters, package
//! managers, scripts, and secrets, which everybody who gets the image would have.
//!
//! The rules look at a listing, so that the same ones judge the tree before it is written and an erofs
//! that was unpacked again.

/// A file of a root, as far as the rules need to know it.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// Without leading slash.
    pub path: &'a str,
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// What a regular file holds.
    pub content: &'a [u8],
}

/// Programs that run what they are given: shells, interpreters, and package managers.
const PROGRAMS: [&str; 26] = [
    "ash", "awk", "bash", "busybox", "csh", "dash", "gawk", "ksh", "lua", "mawk", "node", "perl", "php",
    "python", "rbash", "ruby", "sh", "tclsh", "tcsh", "toybox", "zsh", "apt", "apt-get", "dpkg", "rpm",
    "snap",
];

const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;

/// Everything in the listing that must not be there, with the reason.
pub fn find<'a>(listing: impl IntoIterator<Item = Listed<'a>>) -> Vec<String> {
    listing.into_iter().filter_map(|file| judge(&file).map(|why| format!("{}: {why}", file.path))).collect()
}

fn judge(file: &Listed<'_>) -> Option<&'static str> {
    let kind = file.mode & TYPE;
    let name = file.path.rsplit('/').next().unwrap_or(file.path);
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    match kind {
        REGULAR if file.mode & 0o6000 != 0 => Some("setuid or setgid"),
        REGULAR if file.mode & 0o002 != 0 => Some("writable by everyone"),
        REGULAR if file.mode & 0o111 != 0 && file.content.starts_with(b"#!") => Some("a script"),
        REGULAR | SYMLINK if in_program_folder(file.path) && PROGRAMS.contains(&plain) => {
            Some("a shell, interpreter or package manager")
        }
        REGULAR => secret(file),
        SYMLINK => None,
        DIRECTORY if file.mode & 0o002 != 0 && file.mode & 0o1000 == 0 => Some("writable by everyone"),
        DIRECTORY => None,
        _ => Some("a device, fifo or socket"),
    }
}

/// What others must not have. Programs hold the words by which they know keys.
fn secret(file: &Listed<'_>) -> Option<&'static str> {
    if file.content.starts_with(b"\x7fELF") {
        return None;
    }
    let mut lines = file.content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    // shadow(5): what stands between the first two colons is a hash, or nothing, which lets everybody in.
    let open = |line: &[u8]| {
        let field = line.split(|byte| *byte == b':').nth(1);
        field.is_some_and(|field| !matches!(field.first(), Some(b'*' | b'!')) || field.len() > 4)
    };
    let name = file.path.strip_prefix("etc/").unwrap_or_default().trim_end_matches('-');
    if matches!(name, "shadow" | "gshadow") {
        return lines.any(open).then_some("a password");
    }
    // RFC 7468, and what OpenSSH, OpenPGP and age write; inside of JSON the lines are one.
    let key = |line: &[u8]| {
        let has = |marker: &[u8]| line.windows(marker.len()).any(|part| part == marker);
        has(b"-----BEGIN ") && (has(b"PRIVATE KEY-----") || has(b"PRIVATE KEY BLOCK-----"))
            || line.starts_with(b"AGE-SECRET-KEY-1")
    };
    lines.any(key).then_some("a private key")
}

fn in_program_folder(path: &str) -> bool {
    path.split('/').rev().skip(1).any(|folder| matches!(folder, "bin" | "sbin" | "libexec"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_planted() {
        let check = |path, mode, content: &[u8], expect: Option<&str>| {
            let found = find([Listed { path, mode, content }]);
            assert_eq!(found, expect.map(|why| format!("{path}: {why}")).into_iter().collect::<Vec<_>>());
        };
        let shell = Some("a shell, interpreter or package manager");
        check("usr/bin/mount", 0o104_755, b"\x7fELF", Some("setuid or setgid"));
        check("usr/bin/wall", 0o102_755, b"\x7fELF", Some("setuid or setgid"));
        check("usr/bin/nft", 0o100_755, b"\x7fELF", None);
        check("usr/bin/bash", 0o100_755, b"\x7fELF", shell);
        check("usr/bin/sh", 0o120_777, b"", shell);
        check("usr/bin/python3.13", 0o100_755, b"\x7fELF", shell);
        check("usr/bin/dpkg", 0o100_755, b"\x7fELF", shell);
        check("usr/lib/init/x", 0o100_755, b"#!/bin/sh\n", Some("a script"));
        check("usr/share/doc/sh", 0o100_644, b"text", None);
        check("dev/null", 0o020_666, b"", Some("a device, fifo or socket"));
        check("etc/x", 0o100_666, b"", Some("writable by everyone"));
        check("tmp", 0o041_777, b"", None);
        check("srv", 0o040_777, b"", Some("writable by everyone"));
        let key = |label: &str| format!("# ours\r\n  -----BEGIN {label}-----\r\nMC4C\r\n");
        for label in ["PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK"]
        {
            check("etc/ssl/own.pem", 0o100_600, key(label).as_bytes(), Some("a private key"));
        }
        check("etc/ssl/own.pem", 0o100_644, key("CERTIFICATE").as_bytes(), None);
        check("etc/own", 0o100_600, b"AGE-SECRET-KEY-1QQ\n", Some("a private key"));
        check("usr/bin/nft", 0o100_755, &[&b"\x7fELF\n"[..], key("PRIVATE KEY").as_bytes()].concat(), None);
        check("etc/shadow", 0o100_600, b"root:!*::0:::::\nadmin:*:::::::\n", None);
        check(
            "etc/own.json",
            0o100_600,
            b"{\"key\": \"-----BEGIN PRIVATE KEY-----\\nMC4C\"}",
            Some("a private key"),
        );
        check("etc/shadow", 0o100_600, b"root::20000::::::\n", Some("a password"));
        check("etc/shadow-", 0o100_600, b"root:$6$a$b:20000::::::\n", Some("a password"));
        check("etc/shadow", 0o100_600, b"root:!$y$j9T$abc:20000::::::\n", Some("a password"));
        check("etc/shadow", 0o100_600, b"root:$y$j9T$abc$def:20000::::::\n", Some("a password"));
    }
}
