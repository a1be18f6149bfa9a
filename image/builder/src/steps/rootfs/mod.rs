//! The root's files.

pub mod assemble;
pub mod certs;
pub mod closure;
pub mod elf;
pub mod modules;
pub mod seccomp;
pub mod tree;
pub mod users;
