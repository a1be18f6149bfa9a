//! Which releases go, and which files nobody speaks of any more.

use std::collections::BTreeSet;

use image_layout::version::Version;

use super::add::{self, AddError};
use super::catalogue;
use super::keys::Keys;
use super::lifetime::Lifetime;
use super::order::{self, Kind};
use super::repository::{Depth, Repository, RepositoryError, Step};

/// The releases that go: all but the newest `keep` and those that a channel is at.
pub(crate) fn old(repository: &Repository, keep: usize) -> Result<Vec<Version>, AddError> {
    let pointed: Vec<Version> = add::channels(repository)?.into_iter().map(|(_, version)| version).collect();
    let mut releases = add::releases(&repository.contents());
    releases.truncate(releases.len().saturating_sub(keep));
    releases.retain(|version| !pointed.contains(version));
    Ok(releases)
}

/// The writes after which the metadata no longer name these releases.
pub(crate) fn forget(
    repository: &Repository,
    keys: &Keys,
    releases: &[Version],
    lifetime: Lifetime,
) -> Result<Vec<Step>, RepositoryError> {
    if releases.is_empty() {
        return Ok(Vec::new());
    }
    let mut contents = repository.contents();
    contents.retain(|target, _| !releases.iter().any(|version| catalogue::belongs(target.raw(), version)));
    repository.renew(keys, Depth::Targets, contents, Vec::new(), lifetime)
}

/// The removals of what the metadata do not name. Root metadata stay, all versions: the oldest client needs them.
pub(crate) fn sweep(repository: &Repository) -> Result<Vec<Step>, RepositoryError> {
    let named: BTreeSet<String> = repository.state().map(|state| state.files()).unwrap_or_default();
    let there = repository.folder().list()?.into_keys();
    let unnamed =
        there.filter(|path| !named.contains(path) && !matches!(order::kind(path), Some((Kind::Root, _))));
    Ok(unnamed.map(|path| Step::Remove { path }).collect())
}
