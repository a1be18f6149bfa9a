//! Drives a box in QEMU.
#![forbid(unsafe_code)]
