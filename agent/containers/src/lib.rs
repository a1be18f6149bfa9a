//! Image store, layers, runtime specification.
#![forbid(unsafe_code)]
