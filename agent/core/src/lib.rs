//! What the box should do: desired state, observed state, and the plan that leads from one to the other.
//!
//! Pure: no I/O, no async, no clock. Time is an argument.

#![forbid(unsafe_code)]

pub mod container;
pub mod network;

pub use container::{Allocation, ContainerConfig, ContainerName};
pub use recipes::Secret;
