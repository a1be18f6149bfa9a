//! Release repositories: folders of plain files that any web server or S3 bucket can serve.
//!
//! Names and documents are those of [`image_layout::release`], the metadata is TUF's (specification 1.0.31,
//! consistent snapshots, ed25519). Invariant: at every moment, also between two writes of a command that is
//! cut there, a client that trusts any root the repository had finds one whole state, the old or the new.
//! Deliberately absent: delegations, and keys that lie anywhere but in files.

pub(crate) mod add;
pub(crate) mod blocks;
pub(crate) mod catalogue;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod keys;
pub(crate) mod lifetime;
pub(crate) mod metadata;
pub(crate) mod order;
pub(crate) mod pem;
pub(crate) mod prune;
pub(crate) mod publish;
pub(crate) mod repository;
pub(crate) mod root;
pub(crate) mod rotate;
pub(crate) mod sbom;
pub(crate) mod verify;

#[cfg(test)]
mod tests;
