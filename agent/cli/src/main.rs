//! The admin command.
#![forbid(unsafe_code)]
fn main() {}
