//! What goes over the wire.

mod actions;
mod box_status;
mod containers;
mod doctor;
mod error;
mod network;
mod notify;
mod storage;
mod update;

pub use actions::*;
pub use box_status::*;
pub use containers::*;
pub use doctor::*;
pub use error::*;
pub use network::*;
pub use notify::*;
pub use storage::*;
pub use update::*;
