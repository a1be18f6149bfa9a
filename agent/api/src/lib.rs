//! Wire types and client of the box's local API.
#![forbid(unsafe_code)]
