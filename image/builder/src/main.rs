//! Builds, checks and runs images.
#![forbid(unsafe_code)]
fn main() {}
