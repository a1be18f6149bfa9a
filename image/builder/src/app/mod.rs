//! Apps: OCI images made of Debian packages and local files.

pub mod build;
pub mod recipe;
