//! fs-verity: seals that the kernel checks at every read (`Documentation/filesystems/fsverity.rst`).
//!
//! Invariant: SHA-256 over blocks of 4 KiB without salt, so that equal content measures the same on
//! every box.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use crate::ioctl;

/// SHA-256's number in fs-verity.
const SHA256: u32 = 1;
const BLOCK: u32 = 4096;

/// Why a file cannot be sealed or measured.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum VerityError {
    /// The filesystem, as it was made, has no fs-verity.
    #[error("the filesystem has no fs-verity")]
    Unsupported,
    /// The file is not sealed.
    #[error("the file is not sealed")]
    NotSealed,
    /// It is sealed in another way than ours.
    #[error("the file is sealed with another algorithm")]
    OtherAlgorithm,
    /// The kernel refused.
    #[error("the kernel refused the seal")]
    Kernel(#[source] io::Error),
}

impl From<Errno> for VerityError {
    fn from(error: Errno) -> VerityError {
        match error {
            Errno::ENOTTY | Errno::EOPNOTSUPP => VerityError::Unsupported,
            Errno::ENODATA => VerityError::NotSealed,
            error => VerityError::Kernel(error.into()),
        }
    }
}

/// Seals a file that is open for reading and that nobody has open for writing; says whether it was not
/// sealed before. Reads the whole file.
pub fn seal(file: &File) -> Result<bool, VerityError> {
    let argument = ioctl::FsverityEnable {
        version: 1,
        hash_algorithm: SHA256,
        block_size: BLOCK,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved: 0,
        signature: 0,
        reserved_more: [0; 11],
    };
    // SAFETY: the file is open, and the structure is the kernel's, with no pointer in use.
    match unsafe { ioctl::fs_enable_verity(file.as_raw_fd(), &argument) } {
        Ok(_) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What a sealed file measures: a digest of its Merkle tree and size. Reads none of its content.
pub fn measure(file: &File) -> Result<[u8; 32], VerityError> {
    let mut digest = ioctl::FsverityDigest { algorithm: 0, size: 32, digest: [0; 32] };
    // SAFETY: the file is open, and `size` is that of the bytes that follow it.
    unsafe { ioctl::fs_measure_verity(file.as_raw_fd(), &mut digest) }?;
    if u32::from(digest.algorithm) != SHA256 || digest.size != 32 {
        return Err(VerityError::OtherAlgorithm);
    }
    Ok(digest.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filesystem_without_seals_is_told_apart() {
        // procfs never has them.
        let file = File::open("/proc/self/status").unwrap();
        assert!(matches!(seal(&file), Err(VerityError::Unsupported | VerityError::Kernel(_))));
        assert!(matches!(measure(&file), Err(VerityError::Unsupported)));
    }

    #[test]
    fn a_file_that_is_not_sealed_has_no_measure() {
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(measure(&file), Err(VerityError::NotSealed | VerityError::Unsupported)));
    }

    #[test]
    fn the_structures_have_the_kernels_size() {
        assert_eq!(size_of::<ioctl::FsverityEnable>(), 128);
        assert_eq!(size_of::<ioctl::FsverityDigest>(), 4 + 32);
    }
}
