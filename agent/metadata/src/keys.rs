//! Keys and host names as providers give them, made safe to use.
//!
//! Invariant: a key that comes out is one line: a known type, a blob of that type, and a comment of
//! printable characters; an RSA key is as long as the box's sshd wants it. Options are never taken from a
//! provider.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Most keys that are taken.
const MOST: usize = 200;
/// The fewest bits of an RSA key that the box's sshd accepts.
const RSA_BITS: usize = 2048;
/// Most characters of a comment.
const COMMENT: usize = 200;

/// The key types OpenSSH 10 takes.
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// The keys in a text of one or more lines, each once more written cleanly, and how many lines were
/// none: the rest of a comment with a newline in it, for one.
pub(crate) fn clean(texts: impl IntoIterator<Item = String>) -> (Vec<String>, usize) {
    let mut keys: Vec<String> = Vec::new();
    let mut dropped = 0;
    for text in texts {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match key(line) {
                Some(key) if keys.contains(&key) => {}
                Some(key) if keys.len() < MOST => keys.push(key),
                _ => dropped += 1,
            }
        }
    }
    (keys, dropped)
}

fn key(line: &str) -> Option<String> {
    let mut parts = line.split_whitespace();
    let kind = TYPES.into_iter().find(|kind| parts.clone().next() == Some(kind))?;
    let blob = parts.nth(1)?;
    let bytes = STANDARD.decode(blob).ok()?;
    // A blob begins with its type (RFC 4253, section 6.6).
    let (name, rest) = field(&bytes)?;
    if name != kind.as_bytes() || (kind == "ssh-rsa" && rsa_bits(rest)? < RSA_BITS) {
        return None;
    }
    let comment: String =
        parts.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).take(COMMENT).collect();
    Some(format!("{kind} {blob} {comment}").trim_end().to_owned())
}

/// A field of a blob, which stands behind its length (RFC 4251, section 5), and what is behind it.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// Bits of the modulus, which comes behind the exponent.
fn rsa_bits(numbers: &[u8]) -> Option<usize> {
    let (_, rest) = field(numbers)?;
    let (modulus, _) = field(rest)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = &modulus[zeros..];
    Some(8 * modulus.len() - modulus.first()?.leading_zeros() as usize)
}

/// A host name if it is one (RFC 1123), in lower case and without a last dot.
pub(crate) fn hostname(text: &str) -> Option<String> {
    let name = text.trim().trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (name.len() <= 253 && name.split('.').all(label)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk0LlHVvXMDgW2VPZhoMRqsX4fL0vQ7QK2UQkSpZ1aA";

    fn check(text: &str, expect: &[&str], dropped: usize) {
        let (keys, lost) = clean([text.to_owned()]);
        assert_eq!(
            (keys.iter().map(String::as_str).collect::<Vec<_>>(), lost),
            (expect.to_vec(), dropped),
            "{text}"
        );
    }

    #[test]
    fn keys_come_out_as_single_clean_lines() {
        let with = format!("{KEY} ops@example.org");
        check(KEY, &[KEY], 0);
        check(&format!("  {with}\t\r\n"), &[&with], 0);
        check(&format!("{with}\nand a second line"), &[&with], 1);
        check(&format!("{with}\n{with}\n\n# a note"), &[&with], 0);
        check(&format!("{KEY} a\u{7}b"), &[&format!("{KEY} ab")], 0);
        check(&format!("command=\"/bin/sh\" {KEY}"), &[], 1);
        check("ssh-ed25519 AAAA", &[], 1);
        check(&KEY.replace("ssh-ed25519", "ssh-rsa"), &[], 1);
        check("ssh-ed25519 !!!!", &[], 1);
        check("ssh-dss AAAAB3NzaC1kc3M=", &[], 1);
        check("", &[], 0);
    }

    #[test]
    fn rsa_keys_are_as_long_as_sshd_wants_them() {
        for (bytes, taken) in [(64, false), (128, false), (255, false), (256, true), (512, true)] {
            let mut modulus = vec![0xff; bytes + 1];
            modulus[0] = 0;
            let mut blob = Vec::new();
            for field in [&b"ssh-rsa"[..], b"\x01\x00\x01", &modulus[..]] {
                blob.extend((field.len() as u32).to_be_bytes());
                blob.extend(field);
            }
            let key = format!("ssh-rsa {}", STANDARD.encode(blob));
            check(&key, taken.then_some(key.as_str()).as_slice(), usize::from(!taken));
        }
    }

    #[test]
    fn host_names_are_host_names() {
        for (text, expect) in [
            ("Hub1", Some("hub1")),
            (" hub1.example.org.\n", Some("hub1.example.org")),
            ("", None),
            ("-a", None),
            ("a_b", None),
            ("a b", None),
            ("a\nb", None),
            ("..", None),
            (&"a".repeat(64), None),
            (&vec!["a".repeat(63); 5].join("."), None),
        ] {
            assert_eq!(hostname(text).as_deref(), expect, "{text}");
        }
    }
}
