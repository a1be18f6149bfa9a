//! The language of recipes and user-data: what a box's owner writes.
//!
//! [`user_data::parse`] and [`recipe::parse`] turn text into [`model`] values or into all of its errors, each
//! with its place and a hint; [`model::Recipe::resolve`] holds parameters against a recipe, and
//! [`resolve::ResolvedInstance`] fills templates in. Workstation and box use this same crate, so what one accepts
//! the other does, with the same messages.
//!
//! Pure: no input or output, no clock, no randomness; a recipe that is named rather than written in place is
//! loaded by the caller ([`library`]). [`check::check`] is all of it at once, for a document that is looked at before it
//! goes to a box.

#![forbid(unsafe_code)]

pub mod check;
pub mod diagnostic;
mod document;
mod keys;
pub mod library;
pub mod model;
mod parse;
pub mod recipe;
pub mod resolve;
pub mod schema;
mod secret;
pub mod shape;
mod spec;
pub mod user_data;

pub use diagnostic::{Anchor, Diagnostic, Diagnostics, Kind};
pub use document::hide;
pub use secret::Secret;

/// The format of the language that this version reads and writes.
pub const FORMAT: u32 = 1;
/// Bytes of the longest document.
pub const MAX_DOCUMENT: usize = 1024 * 1024;
