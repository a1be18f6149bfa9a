//! The files that the agent keeps on data: their types, and how they are read and written as text.
//!
//! Each is JSON with `format = N` beside its fields. A reader tells a newer format from garbage, and no
//! error repeats what a file holds, since some hold secrets. Deliberately absent: paths and I/O.

mod format;
mod generation;
mod instance;
mod volume;

pub use format::{Fields, Format, FormatError, decode, encode, encode_as, format_of};
pub use generation::{Accepted, Generation, Provider, newest_usable};
pub use instance::{Counters, InstanceRecord, Pin, SecretsRecord, StepRecord};
pub use volume::{VolumeId, VolumeRecord};

/// The level of the state that this version writes once its slot is good: each level gives every file a
/// format, by [`Format::SINCE`]. It is raised by one in a release that raises the format of any file.
pub const LEVEL: u32 = 1;
