//! Decisions, without effects: what is in the root, and whether that may be shipped.

pub mod contents;
pub mod forbidden;
pub mod machine;
pub mod select;
