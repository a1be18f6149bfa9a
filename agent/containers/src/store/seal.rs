//! Seals: what makes a file unchangeable, and every read of it checked.

use std::fs::File;
use std::io;

use agent_system::verity::{self, VerityError};

use crate::Digest;

/// How layers are sealed. On the box that is [`Verity`].
pub trait Seal {
    /// Seals a file that is on the disk whole and that nobody writes, and gives what it measures.
    fn seal(&self, file: &File) -> Result<Digest, SealError>;

    /// What a sealed file measures. Reads none of its content.
    fn measure(&self, file: &File) -> Result<Digest, SealError>;
}

/// Why there is no seal.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SealError {
    #[error("the filesystem has no fs-verity")]
    Unsupported,
    #[error("the file is not sealed")]
    NotSealed,
    #[error("the file is sealed with another algorithm")]
    OtherAlgorithm,
    #[error("the kernel refused")]
    Kernel(#[source] io::Error),
}

/// fs-verity: SHA-256 over blocks of 4 KiB, without salt, so that equal files measure the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verity;

impl Seal for Verity {
    fn seal(&self, file: &File) -> Result<Digest, SealError> {
        verity::seal(file)?;
        self.measure(file)
    }

    fn measure(&self, file: &File) -> Result<Digest, SealError> {
        Ok(verity::measure(file)?.into())
    }
}

impl From<VerityError> for SealError {
    fn from(error: VerityError) -> SealError {
        match error {
            VerityError::Unsupported => SealError::Unsupported,
            VerityError::NotSealed => SealError::NotSealed,
            VerityError::OtherAlgorithm => SealError::OtherAlgorithm,
            VerityError::Kernel(source) => SealError::Kernel(source),
        }
    }
}
