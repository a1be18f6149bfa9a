//! Layers: from a foreign tar stream to one that `mkfs.erofs` turns into the same files.
//!
//! Two passes over the same bytes. [`scan`] reads the whole stream once, checks every entry, and keeps
//! which path ends up as what, in bounded memory and without content; [`emit`] reads it again and writes
//! each surviving path exactly once: first every directory, parents before children, then whiteouts,
//! then everything else in the stream's order.
//!
//! Invariants: what is written uses only what `mkfs.erofs --tar=f` handles right (plain ustar with PAX
//! records, a root entry, no missing parent, no duplicate, no sparse file, no link with content);
//! overlayfs's own marks are written by us and never taken from the stream; nothing is written for a
//! stream that `scan` refuses. No file is created from a foreign name at any point.
//!
//! OCI image specification, `layer.md`; POSIX `pax`; GNU tar's manual, appendix "Tar Internals".

mod cost;
mod decompress;
mod emit;
mod entry;
mod error;
mod header;
mod meta;
mod parents;
mod path;
mod pax;
mod reader;
mod scan;
mod sparse;
mod tree;
mod writer;

pub use decompress::{Layer, open};
pub use emit::emit;
pub use entry::{Entry, Kind};
pub use error::{LayerError, Problem};
pub use meta::{AccountFiles, LayerMeta, Line, MetaError};
pub use parents::{Attributes, Parents, ParentsError};
pub use reader::TarReader;
pub use scan::{Scan, scan};
