//! The language of recipes and user-data.

#![forbid(unsafe_code)]

mod secret;

pub use secret::Secret;
