//! What can be wrong with a layer.

use std::io;

use crate::Digest;

/// Why a layer was not accepted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LayerError {
    /// Its bytes cannot be had: the blob cannot be read, or is no valid gzip or zstd.
    #[error("failed to read the layer")]
    Read(#[source] io::Error),
    /// The normalised layer cannot be written.
    #[error("failed to write the normalised layer")]
    Write(#[source] io::Error),
    /// The stream ends within an entry.
    #[error("the layer ends in the middle of entry {number}")]
    Truncated { number: u64 },
    /// An entry is not acceptable.
    #[error("layer entry {number}, `{name}`: {problem}")]
    Entry { number: u64, name: String, problem: Problem },
    /// The layer is larger than it may be.
    #[error("the layer has more than {limit} {what}")]
    Limit { what: &'static str, limit: u64 },
    /// It expands more than anything sensible does.
    #[error("the layer grows to more than {ratio} times its compressed size")]
    Bomb { ratio: u64 },
    /// It is not the layer that the image names.
    #[error("the layer's content is {found}, the image names {expected}")]
    DiffId { expected: Digest, found: Digest },
}

/// Why an entry was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Problem {
    #[error("its header's checksum is wrong")]
    Checksum,
    #[error("the header's field `{0}` is not a number")]
    Number(&'static str),
    #[error("the header's field `{0}` is out of range")]
    Range(&'static str),
    #[error("its PAX header is malformed")]
    Pax,
    #[error("a header that describes an entry is followed by none")]
    Dangling,
    #[error("the same kind of long name is given twice")]
    Twice,
    #[error("its extended header is too large")]
    LongHeader,
    #[error("a global PAX header sets `{0}`")]
    Global(String),
    #[error("entries of type `{0}` are not known")]
    Type(char),
    #[error("its name is empty")]
    NoName,
    #[error("its name is absolute")]
    Absolute,
    #[error("its name contains `..`")]
    Parent,
    #[error("its name contains a zero byte")]
    Zero,
    #[error("its name is too long")]
    LongName,
    #[error("it lies too deep")]
    Depth,
    #[error("the layer's root is not a directory")]
    Root,
    #[error("an entry of this type cannot have content")]
    Content,
    #[error("a device 0:0 is an overlay's whiteout")]
    RawWhiteout,
    #[error("the attribute `{0}` belongs to overlayfs")]
    OverlayAttribute(String),
    #[error("an attribute's name is empty, too long or contains a zero byte")]
    Attribute,
    #[error("its attributes are too large taken together")]
    Attributes,
    #[error("`{0}` is not a whiteout that is known")]
    Whiteout(String),
    #[error("`{0}` above it is not a directory")]
    ThroughFile(String),
    #[error("it replaces a directory that has entries")]
    ReplacesDirectory,
    #[error("it links to `{0}`, which the layer does not have before it")]
    NoTarget(String),
    #[error("it links to the directory `{0}`")]
    DirectoryTarget(String),
    #[error("its link's target is empty, too long or contains a zero byte")]
    Target,
    #[error("its map of a sparse file is malformed")]
    Sparse,
    #[error("one block of zeroes is followed by something else")]
    LoneZeroBlock,
}

impl From<io::Error> for LayerError {
    /// A limit that was hit inside a reader comes through as what it is.
    fn from(error: io::Error) -> LayerError {
        match error.downcast::<LayerError>() {
            Ok(error) => error,
            Err(error) => LayerError::Read(error),
        }
    }
}

impl From<LayerError> for io::Error {
    fn from(error: LayerError) -> io::Error {
        io::Error::other(error)
    }
}
