//! Apps: OCI images made of Debian packages and local files.

pub(crate) mod build;
pub(crate) mod recipe;
