//! Any bytes as a layer: they are refused, or what comes out is what `mkfs.erofs` handles right.
//!
//! `cargo +nightly fuzz run normalise` in `agent/containers`. The corpus is written and replayed by the
//! test `layers`; an input that was found is added to it as `found-…`.

#![no_main]

#[path = "../bodies.rs"]
mod bodies;
#[path = "../../tests/support/listing.rs"]
#[allow(dead_code, reason = "what is read is not shown")]
mod listing;

libfuzzer_sys::fuzz_target!(|blob: &[u8]| {
    bodies::normalise(blob);
});
