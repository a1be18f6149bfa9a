//! Power cuts at the level of the disk.
//!
//! A machine that is killed leaves all that it wrote; a disk that loses its power leaves what it was told to
//! flush, and of the rest what it happened to have done. So a box is recorded while it does something
//! ([`Recorder`]), the disk is made as it may be after a cut at any moment ([`Replay`]), and what the box had
//! acknowledged by then is looked for in it ([`Checker`]).

mod acknowledged;
mod boots;
mod check;
mod cut;
mod log;
mod random;
mod recording;
mod recordings;
mod replay;

pub use acknowledged::{Acknowledged, Record};
pub use boots::{boot_problems, healthy, serves};
pub use check::Checker;
pub use cut::{Cut, Fate, Loss};
pub use log::{Entry, Log, LogError};
pub use random::Random;
pub use recording::{Recorder, Recording, Stage};
pub use recordings::{
    APPLY, FIRST_BOOT, IDENTITY, LARGER_DISK, PULL, RECORDINGS, SECRETS, Subject, UPDATE, VOLUME,
};
pub use replay::Replay;
