//! Metadata as files: canonical in what is signed, sorted in what is written, so that equal metadata are equal
//! bytes.

use std::collections::HashMap;
use std::num::NonZeroU64;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tough::schema::{Hashes, Metafile, Role, Signed, Target};

/// Of the TUF specification that the metadata follow.
pub(crate) const SPECIFICATION: &str = "1.0.31";
/// Entry of the timestamp for the snapshot.
pub(crate) const SNAPSHOT: &str = "snapshot.json";
/// Entry of the snapshot for the targets.
pub(crate) const TARGETS: &str = "targets.json";
/// File name of the timestamp, the only one that is written anew.
pub(crate) const TIMESTAMP: &str = "timestamp.json";

/// A metadata file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// `3.snapshot.json`.
    pub name: String,
    /// Its text.
    pub bytes: Vec<u8>,
}

/// The file of signed metadata.
pub(crate) fn file<T: Role + Serialize>(signed: &Signed<T>) -> Result<File, serde_json::Error> {
    // A value's keys are sorted; those of the type are not.
    let mut bytes = serde_json::to_vec_pretty(&serde_json::to_value(signed)?)?;
    bytes.push(b'\n');
    Ok(File { name: signed.signed.filename(true), bytes })
}

/// What other metadata say of a metadata file.
pub(crate) fn entry(file: &File, version: NonZeroU64) -> Metafile {
    let hashes = hashes(&file.bytes);
    Metafile { length: Some(file.bytes.len() as u64), hashes: Some(hashes), version, _extra: HashMap::new() }
}

/// What the targets metadata say of a target.
pub(crate) fn target(bytes: &[u8]) -> Target {
    Target {
        length: bytes.len() as u64,
        hashes: hashes(bytes),
        custom: HashMap::new(),
        _extra: HashMap::new(),
    }
}

/// Whether a metadata file is the one that other metadata speak of.
pub(crate) fn is(entry: &Metafile, bytes: &[u8]) -> bool {
    let length = entry.length.is_none_or(|length| length == bytes.len() as u64);
    length && entry.hashes.as_ref().is_none_or(|hashes| *hashes.sha256 == *Sha256::digest(bytes))
}

/// The version after this one.
pub(crate) fn next(version: NonZeroU64) -> NonZeroU64 {
    version.saturating_add(1)
}

fn hashes(bytes: &[u8]) -> Hashes {
    Hashes { sha256: Sha256::digest(bytes).to_vec().into(), _extra: HashMap::new() }
}
