//! The initrd program.
fn main() {}
