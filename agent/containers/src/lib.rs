//! Images and containers as files: pulling, layers, the store on data, and the runtime specification.
//!
//! Two processes use this crate. `holdfast-fetch` runs [`fetch`] as its own user with no rights and
//! handles every foreign byte; the agent uses [`store`], which only moves, seals and lists what
//! `holdfast-fetch` left in a staging folder, and [`spec`], which is pure.
//!
//! Deliberately absent: mounting layers and starting containers (`agent-shim`), and deciding what to
//! pull and run (`agent-core`).

#![forbid(unsafe_code)]

mod digest;
mod image;
mod limits;
mod reference;

pub mod fetch;
pub mod layer;
pub mod spec;
pub mod store;

pub use digest::{Digest, DigestError};
pub use image::{ImageConfig, ImageRecord, LayerRecord};
pub use limits::Limits;
pub use reference::{Reference, ReferenceError};
