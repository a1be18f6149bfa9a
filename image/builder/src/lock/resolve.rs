//! From signed releases to a lock file: fetch, verify, resolve.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;

use crate::config::{Archive, PackageSet, Suite};
use crate::fetch::{Cache, Mirror, digest};
use crate::lock::index::Index;
use crate::lock::keyring::{Keyring, KeyringError};
use crate::lock::release::Release;
use crate::lock::solve::{Failure, Request, solve};
use crate::lock::{FORMAT, LockError, LockedPackage, LockedSuite, Lockfile};
use crate::progress::Progress;

/// Which locked versions may change.
#[derive(Clone, Debug)]
pub(crate) enum Update {
    /// None that is still there and still fits.
    Keep,
    /// This one, and what it takes along.
    Only(BTreeSet<String>),
    /// All.
    All,
}

/// The archive as it is now: verified releases and their indexes.
#[derive(Debug)]
pub(crate) struct Archives {
    suites: Vec<LockedSuite>,
    index: Index,
}

/// Reads the pinned keys, which lie beside `holdfast.toml`.
pub(crate) fn keyring(archive: &Archive, folder: &Path) -> Result<Keyring, LockError> {
    let mut keyring = Keyring::default();
    for file in &archive.keys {
        let path = folder.join(file);
        let fail = |source| LockError::Key { path: path.clone(), source };
        let bytes = std::fs::read(&path).map_err(|error| fail(KeyringError::Open(error)))?;
        keyring.add(&bytes).map_err(fail)?;
    }
    Ok(keyring)
}

impl Archives {
    /// Fetches and verifies every suite. `old` is the lock file that is to be replaced: a mirror that
    /// is behind it is refused.
    pub(crate) fn fetch(
        archive: &Archive,
        keyring: &Keyring,
        mirror: &Mirror,
        cache: &Cache,
        old: Option<&Lockfile>,
        progress: &Progress,
    ) -> Result<Archives> {
        let mut suites = Vec::new();
        let mut index = Index::default();
        for (number, suite) in archive.suites.iter().enumerate() {
            let folder = format!("dists/{}", suite.name);
            let message = progress.step(&format!("fetch release {}", suite.name), || {
                mirror.read_text(&suite.archive, &format!("{folder}/InRelease"))
            })?;
            let text = keyring
                .verify(&message)
                .map_err(|source| LockError::Signature { suite: suite.name.clone(), source })?;
            let release = check_release(&text, suite, old)?;
            for component in &suite.components {
                let path = format!("{component}/binary-{}/Packages.xz", archive.architecture);
                let file = release.file(&path).map_err(|source| release_error(suite, source))?;
                let bytes = cache.index(mirror, &suite.archive, &folder, &path, &file.sha256, file.size)?;
                progress
                    .step(&format!("read index {}", suite.name), || index.add(number, &bytes))
                    .map_err(|source| LockError::Index { suite: suite.name.clone(), source })?;
            }
            suites.push(LockedSuite {
                name: suite.name.clone(),
                archive: suite.archive.clone(),
                date: release.date.to_string(),
                release: digest::sha256(text.as_bytes()),
            });
        }
        Ok(Archives { suites, index })
    }

    /// Resolves sets of packages into a lock file.
    pub(crate) fn resolve(
        &self,
        sets: &[(&str, &PackageSet)],
        old: Option<&Lockfile>,
        update: &Update,
    ) -> Result<Lockfile, LockError> {
        let mut locked = BTreeMap::new();
        for (name, set) in sets {
            let keep = kept(old, name, update);
            let request = Request { install: &set.install, provided: &set.provided, keep };
            let chosen = solve(&self.index, &request).map_err(|failure| match failure {
                Failure::Unknown(package) => LockError::UnknownPackage { set: (*name).to_owned(), package },
                Failure::Unsolvable(reason) => LockError::Unsolvable { set: (*name).to_owned(), reason },
            })?;
            let mut packages: Vec<LockedPackage> = chosen.into_iter().map(|id| self.locked(id)).collect();
            packages.sort();
            locked.insert((*name).to_owned(), packages);
        }
        Ok(Lockfile { format: FORMAT, suites: self.suites.clone(), sets: locked })
    }

    fn locked(&self, id: usize) -> LockedPackage {
        let package = self.index.package(id);
        LockedPackage {
            name: package.name.clone(),
            version: package.version.to_string(),
            arch: package.arch.clone(),
            suite: self.suites[package.suite].name.clone(),
            path: package.path.clone(),
            size: package.size,
            sha256: package.sha256.clone(),
        }
    }
}

fn release_error(suite: &Suite, source: crate::lock::release::ReleaseError) -> LockError {
    LockError::Release { suite: suite.name.clone(), source }
}

fn check_release(text: &str, suite: &Suite, old: Option<&Lockfile>) -> Result<Release, LockError> {
    let fail = |source| release_error(suite, source);
    let release = Release::parse(text).map_err(fail)?;
    release.check(&suite.name, Timestamp::now()).map_err(fail)?;
    if let Some(old) = old.and_then(|old| old.suites.iter().find(|s| s.name == suite.name)) {
        release.check_not_older(&old.date).map_err(fail)?;
    }
    Ok(release)
}

fn kept(old: Option<&Lockfile>, set: &str, update: &Update) -> BTreeMap<String, String> {
    let packages = old.and_then(|old| old.sets.get(set)).map_or(&[][..], Vec::as_slice);
    let keep = |name: &str| match update {
        Update::Keep => true,
        Update::Only(names) => !names.contains(name),
        Update::All => false,
    };
    packages.iter().filter(|p| keep(&p.name)).map(|p| (p.name.clone(), p.version.clone())).collect()
}

/// What changed between two lock files, a line each: `image: systemd 257.8-1 -> 257.9-1`.
pub(crate) fn changes(old: Option<&Lockfile>, new: &Lockfile) -> Vec<String> {
    let mut lines = Vec::new();
    for (set, packages) in &new.sets {
        let none = Vec::new();
        let before = old.and_then(|old| old.sets.get(set)).unwrap_or(&none);
        let version = |list: &[LockedPackage], name: &str| {
            list.iter().find(|p| p.name == name).map(|p| p.version.clone())
        };
        let names: BTreeSet<&str> = before.iter().chain(packages).map(|p| p.name.as_str()).collect();
        for name in names {
            match (version(before, name), version(packages, name)) {
                (None, Some(new)) => lines.push(format!("{set}: {name} {new} added")),
                (Some(old), None) => lines.push(format!("{set}: {name} {old} removed")),
                (Some(old), Some(new)) if old != new => lines.push(format!("{set}: {name} {old} -> {new}")),
                _ => {}
            }
        }
    }
    lines
}
