//! Runs one container.
fn main() {}
