//! Who this box is: its machine-id, kept on data.
//!
//! Invariant: an identity is made once, and what is there and valid is never replaced but by [`renew`].

use crate::files::{self, FileError};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const MACHINE_ID: &str = "machine-id";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum IdentityError {
    /// The kernel gives no random bytes.
    #[error("failed to read random bytes")]
    Random { source: io::Error },
    /// A file cannot be read or written.
    #[error("failed to keep the box's identity")]
    File(#[from] FileError),
}

/// The file `machine-id` in `directory`, made when it is not there or not valid; its path, and whether one was there
/// that was not valid.
pub fn machine_id(directory: &Path) -> Result<(PathBuf, bool), IdentityError> {
    let path = directory.join(MACHINE_ID);
    let now = match files::read_optional(&path, 64) {
        Err(FileError::TooLarge { .. }) => Some(Vec::new()),
        read => read?,
    };
    let damaged = now.as_ref().is_some_and(|bytes| !is_machine_id(bytes));
    match now.filter(|_| !damaged) {
        // Whoever may read it has to be able to.
        Some(bytes) => drop(files::write_if_changed(&path, bytes, 0o444)?),
        None => files::write_atomic(&path, new_machine_id()?, 0o444)?,
    }
    Ok((path, damaged))
}

/// Makes another machine-id, which counts from the next boot on.
pub fn renew(directory: &Path) -> Result<(), IdentityError> {
    Ok(files::write_atomic(directory.join(MACHINE_ID), new_machine_id()?, 0o444)?)
}

/// `machine-id(5)`: 32 lower-case hex digits, not all zero, and a line end.
fn is_machine_id(bytes: &[u8]) -> bool {
    let hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    matches!(bytes, [id @ .., b'\n'] if id.len() == 32 && id.iter().all(hex) && id.iter().any(|b| *b != b'0'))
}

/// A random one, in the form of a UUID of version 4, as systemd makes it.
fn new_machine_id() -> Result<String, IdentityError> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|source| IdentityError::Random { source })?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    Ok(hex + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_id_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let read = || std::fs::read_to_string(dir.path().join(MACHINE_ID)).unwrap();
        assert!(!machine_id(dir.path()).unwrap().1);
        let first = read();
        assert!(is_machine_id(first.as_bytes()), "{first:?}");
        assert!(!machine_id(dir.path()).unwrap().1);
        assert_eq!(read(), first);
        renew(dir.path()).unwrap();
        assert_ne!(read(), first);
    }

    #[test]
    fn what_is_no_machine_id_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let zeroes = format!("{}\n", "0".repeat(32));
        for bad in
            ["", "\n", "uninitialized\n", &zeroes, "ABCDEFABCDEFABCDEFABCDEFABCDEFAB\n", &"x".repeat(999)]
        {
            std::fs::write(dir.path().join("machine-id.old"), bad).unwrap();
            std::fs::rename(dir.path().join("machine-id.old"), dir.path().join(MACHINE_ID)).unwrap();
            assert!(machine_id(dir.path()).unwrap().1);
            let now = std::fs::read(dir.path().join(MACHINE_ID)).unwrap();
            assert!(is_machine_id(&now) && now != bad.as_bytes(), "{bad:?}");
        }
    }
}
