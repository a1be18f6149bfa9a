//! What goes over the wire.

mod actions;
mod box_status;
mod containers;
mod error;
mod storage;

pub use actions::*;
pub use box_status::*;
pub use containers::*;
pub use error::*;
pub use storage::*;
