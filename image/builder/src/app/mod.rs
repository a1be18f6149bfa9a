//! Apps: OCI images made of Debian packages and local files.

pub mod recipe;
