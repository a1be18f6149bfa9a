//! The tests of the whole: one program, so that it is compiled and linked once.

#[path = "../support/mod.rs"]
mod support;

mod random;
mod refusals;
mod releases;
mod roots;
mod scrub;
mod servers;
mod sources;
mod staging;
mod verify;
