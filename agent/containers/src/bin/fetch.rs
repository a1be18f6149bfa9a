//! Fetches one image.
fn main() {}
