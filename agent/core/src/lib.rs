//! What the box should do: desired state, observed state, and the plan that leads from one to the other.
//!
//! Pure: no I/O, no async, no clock. Time is an argument.

#![forbid(unsafe_code)]

pub mod action;
pub mod allocate;
pub mod container;
pub mod desired;
pub mod doctor;
pub mod eviction;
pub mod fingerprint;
pub mod healing;
pub mod health;
pub mod memory;
pub mod network;
pub mod notify;
pub mod observed;
pub mod plan;
pub mod redact;
pub mod space;
pub mod standing;
pub mod state;
pub mod text;
pub mod update;

pub use action::{Action, Plan, Planned};
pub use container::{Allocation, ContainerConfig, ContainerName};
pub use desired::Desired;
pub use memory::Memory;
pub use observed::Observed;
pub use recipes::Secret;
pub use recipes::shape::CAPABILITIES;
