//! The disk, the boot protocol and the box's paths, as data.
//!
//! Builder, initrd, agent and tests all read these constants, so that they cannot disagree. Nothing
//! here does I/O, and nothing here may change once a box has been installed: partitions, names, file
//! names, offsets and kernel arguments are for ever.

#![forbid(unsafe_code)]

pub mod block_map;
pub mod disk;
pub mod initrd;
pub mod kernel;
pub mod manifest;
pub mod paths;
pub mod release;
pub mod slots;
pub mod version;

pub use disk::{PARTITIONS, Partition, Role};
pub use slots::{Slot, SlotState};
pub use version::Version;
