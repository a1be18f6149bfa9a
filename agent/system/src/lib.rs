//! Effects on the box: files, systemd, slots, mounts, identity.
//!
//! Everything here does one thing that was decided elsewhere and says what it changed. System calls that
//! no crate offers safely are made here, each block with its `SAFETY` comment. Without the feature `bus`
//! only what the initrd needs is built, with neither an async runtime nor D-Bus.

pub mod block;
pub mod data;
pub mod files;
pub mod gpt;
pub mod handed;
pub mod identity;
#[allow(missing_docs, unreachable_pub)]
mod ioctl;
pub mod notify;
pub mod quota;
pub mod reserve;
pub mod resize;
pub mod slots;
#[cfg(feature = "bus")]
pub mod systemd;
pub mod verity;
pub mod volumes;
