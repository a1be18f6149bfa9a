//! The seam between where an image comes from and what is done with it.

use std::fs::File;
use std::path::Path;

use super::error::FetchError;
use super::manifest::Descriptor;
use crate::{Digest, Reference};

/// A document and the digest of its bytes.
pub(super) struct Document {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

/// Somewhere that an image comes from.
pub(super) trait Source {
    /// The index or manifest that the reference names. When it names a digest, the document has it.
    fn resolve(&mut self, reference: &Reference) -> Result<Document, FetchError>;

    /// A manifest named by an index; its digest is verified.
    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, FetchError>;

    /// A small blob; its digest is verified.
    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, FetchError>;

    /// A blob as a file; its digest is verified. `work` is a name that may be used for it, and may hold what
    /// an earlier run left; `say` is told how far it is.
    fn blob(
        &mut self,
        descriptor: &Descriptor,
        work: &Path,
        say: &mut dyn FnMut(&str),
    ) -> Result<File, FetchError>;
}
