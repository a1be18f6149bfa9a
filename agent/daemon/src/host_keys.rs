//! SSH host keys: one Ed25519 key, made once and kept on data.
//!
//! The root holds no `ssh-keygen`. The files are those of OpenSSH (PROTOCOL.key; RFC 8709).

use std::path::Path;

use agent_system::files::{self, Access};
use anyhow::anyhow;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::{Digest, Sha256};

use crate::clock;

/// The key's file; the public half has `.pub` behind it.
const NAME: &str = "ssh_host_ed25519_key";
const KIND: &[u8] = b"ssh-ed25519";
/// Where the private file has its check number and, behind kind and public key, the seed.
const CHECK: usize = 15 + 8 + 8 + 4 + 4 + 4 + 51 + 4;
const SEED: usize = CHECK + 8 + 15 + 36 + 4;

/// Makes the key unless both its files are there and belong together; says whether it did. sshd takes no key that
/// others may read: one that is whole gets its rights back.
pub(crate) fn ensure(folder: &Path) -> anyhow::Result<bool> {
    files::create_dir_all(folder, Access::mode(0o755))?;
    if whole(folder) {
        for (name, mode) in [(NAME.to_owned(), 0o600), (format!("{NAME}.pub"), 0o644)] {
            let path = folder.join(name);
            files::write_if_changed(&path, files::read_limited(&path, 4096)?, mode)?;
        }
        return Ok(false);
    }
    renew(folder)?;
    Ok(true)
}

/// Whether both files are what [`renew`] writes for one key.
fn whole(folder: &Path) -> bool {
    let read = |name: String| files::read_text(folder.join(name), 4096).unwrap_or_default();
    let pem = read(NAME.into());
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let Ok(bytes) = STANDARD.decode(body) else { return false };
    let part = |at: usize, length: usize| bytes.get(at..at + length);
    let (Some(check), Some(seed)) = (part(CHECK, 4), part(SEED, 32)) else { return false };
    let (Ok(check), Ok(seed)) = (check.try_into(), <[u8; 32]>::try_from(seed)) else { return false };
    let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(&seed) else { return false };
    let public: &[u8] = pair.public_key().as_ref();
    pem == private_file(&seed, public, check) && read(format!("{NAME}.pub")) == public_line(public)
}

fn public_line(public: &[u8]) -> String {
    format!("ssh-ed25519 {} holdfast\n", STANDARD.encode(public_blob(public)))
}

/// Makes another key.
pub(crate) fn renew(folder: &Path) -> anyhow::Result<()> {
    let seed: [u8; 32] = clock::random();
    let pair =
        Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| anyhow!("failed to make a host key"))?;
    let public: &[u8] = pair.public_key().as_ref();
    let check: [u8; 4] = clock::random();
    let pem = private_file(&seed, public, check);
    files::write_atomic(folder.join(format!("{NAME}.pub")), public_line(public), 0o644)?;
    files::write_atomic(folder.join(NAME), pem, 0o600)?;
    Ok(())
}

/// SHA-256 fingerprints of the public keys, as `ssh-keygen -l` prints them.
pub(crate) fn fingerprints(folder: &Path) -> Vec<String> {
    let text = files::read_text(folder.join(format!("{NAME}.pub")), 4096).unwrap_or_default();
    let blob = text.split_whitespace().nth(1).and_then(|word| STANDARD.decode(word).ok());
    blob.iter().map(|blob| format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))).collect()
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

fn public_blob(public: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, KIND);
    put(&mut blob, public);
    blob
}

/// The private file, not encrypted.
fn private_file(seed: &[u8], public: &[u8], check: [u8; 4]) -> String {
    let mut secret = [check, check].concat();
    put(&mut secret, KIND);
    put(&mut secret, public);
    put(&mut secret, &[seed, public].concat());
    put(&mut secret, b"holdfast");
    let padding = (8 - secret.len() % 8) % 8;
    secret.extend(1..=padding as u8);
    let mut all = b"openssh-key-v1\0".to_vec();
    put(&mut all, b"none");
    put(&mut all, b"none");
    put(&mut all, b"");
    all.extend(1u32.to_be_bytes());
    put(&mut all, &public_blob(public));
    put(&mut all, &secret);
    let text = STANDARD.encode(all);
    let lines: Vec<&str> = text.as_bytes().chunks(70).filter_map(|line| str::from_utf8(line).ok()).collect();
    format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_replaced_when_damaged() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ensure(folder.path()).unwrap());
        let first = fingerprints(folder.path());
        assert!(first[0].starts_with("SHA256:") && first[0].len() == 50, "{first:?}");
        assert!(!ensure(folder.path()).unwrap());
        assert_eq!(fingerprints(folder.path()), first);
        let path = |name: &str| folder.path().join(name);
        let (private, public) = (NAME.to_owned(), format!("{NAME}.pub"));
        let other = tempfile::tempdir().unwrap();
        renew(other.path()).unwrap();
        let swapped = std::fs::read(other.path().join(NAME)).unwrap();
        let mut torn = std::fs::read(path(NAME)).unwrap();
        torn.truncate(200);
        for name in [&private, &public] {
            for bad in [&b""[..], &[0; 4096], &[0xa5; 9000], &torn, &swapped] {
                std::fs::write(path(name), bad).unwrap();
                let before = fingerprints(folder.path());
                assert!(ensure(folder.path()).unwrap(), "{name}: {bad:?}");
                assert_ne!(fingerprints(folder.path()), before);
                assert!(!ensure(folder.path()).unwrap());
            }
        }
    }

    #[test]
    fn a_key_that_others_may_read_gets_its_rights_back() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        ensure(folder.path()).unwrap();
        let before = fingerprints(folder.path());
        let path = folder.path().join(NAME);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        assert!(!ensure(folder.path()).unwrap());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode, fingerprints(folder.path())), (0o600, before));
    }

    #[test]
    fn the_private_file_is_what_openssh_reads() {
        let text = private_file(&[1; 32], &[2; 32], [3; 4]);
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let bytes = STANDARD.decode(body).unwrap();
        assert!(bytes.starts_with(b"openssh-key-v1\0\0\0\0\x04none\0\0\0\x04none\0\0\0\0\0\0\0\x01"));
        assert_eq!((bytes.len() - 15 - 16 - 4 - 4 - 4 - 51 - 4) % 8, 0, "padded to the cipher's block");
        assert_eq!(bytes.last(), Some(&5));
    }
}
