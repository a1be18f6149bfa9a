//! A repository on the local disk that is being changed: what its metadata say, and the writes of a change.
//!
//! One command at a time: the folder is locked. Nothing that is there is signed again unless it is signed by
//! the keys already. A change is a list of writes, in the order of [`super::order`]; carrying it out decides
//! nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, TryLockError};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use jiff::Timestamp as Time;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tough::TargetName;
use tough::schema::{Metafile, Role, RoleType, Root, Signed, Snapshot, Target, Targets, Timestamp};

use super::folder::{Folder, FolderError};
use super::keys::{Keys, KeysError};
use super::lifetime::{self, Lifetime};
use super::metadata::{self, SNAPSHOT, SPECIFICATION, TARGETS, TIMESTAMP};
use super::order;
use crate::steps::verity::hex;

const LOCK: &str = ".lock";

/// A repository that cannot be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RepositoryError {
    /// Nothing is there.
    #[error("there is no release repository in `{0}`")]
    Absent(PathBuf),
    /// Another command is at work.
    #[error("another command is changing `{0}`")]
    Locked(PathBuf),
    /// The lock cannot be taken.
    #[error("failed to lock `{path}`")]
    Lock {
        /// The repository.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The keys would be served with it.
    #[error("the keys in `{0}` lie inside the repository, which is for everybody to read")]
    KeysInside(PathBuf),
    /// A file that others speak of is missing.
    #[error("`{0}` is missing")]
    Missing(String),
    /// A file is no metadata.
    #[error("`{path}` is no TUF metadata")]
    Syntax {
        /// The file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A file is not what others say of it.
    #[error("`{0}` is not what the metadata that name it say")]
    Changed(String),
    /// A file was signed by others.
    #[error("`{path}` is not signed by the keys in `{keys}`")]
    Signature {
        /// The file.
        path: String,
        /// The keys.
        keys: PathBuf,
        /// Why.
        source: Box<tough::schema::Error>,
    },
    /// The keys' own root is another one in the repository.
    #[error("`{path}` is not the root metadata of the keys in `{keys}`")]
    Root {
        /// The file.
        path: String,
        /// The keys.
        keys: PathBuf,
    },
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// TUF's types do not become text.
    #[error("failed to encode metadata")]
    Encode(#[from] serde_json::Error),
}

impl RepositoryError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            RepositoryError::Absent(_) => Some("`holdfast-image release add` makes one".to_owned()),
            RepositoryError::Signature { .. } | RepositoryError::Root { .. } => {
                Some("use the keys that the repository was made with, or another folder".to_owned())
            }
            RepositoryError::Keys(error) => error.hint(),
            _ => None,
        }
    }
}

/// A write of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A file gets this content.
    Write {
        /// In the repository.
        path: String,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// A file goes away.
    Remove {
        /// In the repository.
        path: String,
    },
}

/// What the metadata say now.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The targets.
    pub targets: Targets,
    /// Their metadata's version.
    pub snapshot: Snapshot,
    /// The snapshot's version.
    pub timestamp: Timestamp,
}

/// The targets of a repository.
pub(crate) type Contents = HashMap<TargetName, Target>;

/// How much of the metadata a change makes anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// The timestamp.
    Timestamp,
    /// And the snapshot.
    Snapshot,
    /// And the targets.
    Targets,
}

/// A repository, locked.
#[derive(Debug)]
pub(crate) struct Repository {
    folder: Folder,
    state: Option<State>,
    /// Of all that is written.
    now: Time,
    _lock: Lock,
}

impl Repository {
    /// Opens a repository; where there is none it is [`RepositoryError::Absent`]. The keys follow newer root
    /// metadata that are there.
    pub(crate) fn open(path: &Path, keys: &mut Keys) -> Result<Repository, RepositoryError> {
        if !path.join(order::metadata(TIMESTAMP)).exists() {
            return Err(RepositoryError::Absent(path.to_owned()));
        }
        Repository::create(path, keys)
    }

    /// Opens a repository whose metadata may be signed by keys that are lost: what it says is taken as it is.
    pub(crate) fn open_as_is(path: &Path, keys: &mut Keys) -> Result<Repository, RepositoryError> {
        Repository::with(path, keys, |folder, _| unsigned(folder).map(Some))
    }

    /// Opens a repository, or makes one.
    pub(crate) fn create(path: &Path, keys: &mut Keys) -> Result<Repository, RepositoryError> {
        Repository::with(path, keys, state)
    }

    fn with(
        path: &Path,
        keys: &mut Keys,
        state: impl FnOnce(&Folder, &Keys) -> Result<Option<State>, RepositoryError>,
    ) -> Result<Repository, RepositoryError> {
        let folder = Folder::new(path);
        folder.create()?;
        if let (Ok(here), Ok(inside)) = (path.canonicalize(), keys.folder().canonicalize())
            && inside.starts_with(here)
        {
            return Err(RepositoryError::KeysInside(keys.folder().to_owned()));
        }
        let lock = lock(path)?;
        folder.sweep()?;
        follow(&folder, keys)?;
        let state = state(&folder, keys)?;
        Ok(Repository { folder, state, now: Time::now(), _lock: lock })
    }

    /// Its files.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What the metadata say; `None` in a new repository.
    pub(crate) fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// The targets that there are.
    pub(crate) fn contents(&self) -> Contents {
        self.state.as_ref().map(|state| state.targets.targets.clone()).unwrap_or_default()
    }

    /// A target's bytes, of the hash that is signed; `None` where there is no such target.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        let mut targets = self.state.iter().flat_map(|state| &state.targets.targets);
        let Some((_, target)) = targets.find(|(target, _)| target.raw() == name) else { return Ok(None) };
        let path = order::target(&hex(&target.hashes.sha256), name);
        let bytes = self.folder.read(&path)?.ok_or_else(|| RepositoryError::Missing(path.clone()))?;
        if *Sha256::digest(&bytes) != *target.hashes.sha256 {
            return Err(RepositoryError::Changed(path));
        }
        Ok(Some(bytes))
    }

    /// The time of the change.
    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// What has to be made anew at this time besides the timestamp, so that it holds for `lifetime`.
    pub(crate) fn due(&self, lifetime: Lifetime) -> Depth {
        let Some(state) = &self.state else { return Depth::Targets };
        let needed = lifetime.after(self.now).max(lifetime::MARGIN.after(self.now));
        if state.targets.expires < needed {
            Depth::Targets
        } else if state.snapshot.expires < needed {
            Depth::Snapshot
        } else {
            Depth::Timestamp
        }
    }

    /// The writes that make metadata anew: down to the targets with `contents`, of which `files` are new.
    pub(crate) fn renew(
        &self,
        keys: &Keys,
        depth: Depth,
        contents: Contents,
        files: Vec<(String, Vec<u8>)>,
        lifetime: Lifetime,
    ) -> Result<Vec<Step>, RepositoryError> {
        let there = self.folder.list()?;
        let mut writes: Vec<(String, Vec<u8>)> =
            files.into_iter().filter(|(path, _)| !there.contains_key(path)).collect();
        let old = self.state.as_ref();
        let version = |old: Option<NonZeroU64>| old.map_or(NonZeroU64::MIN, metadata::next);
        let (long, short) = (lifetime::RELEASES.max(lifetime).after(self.now), lifetime.after(self.now));

        let targets = match old {
            Some(state) if depth < Depth::Targets => entry_of(&state.snapshot.meta, TARGETS)?,
            _ => {
                let version = version(old.map(|state| state.targets.version));
                let mut targets = Targets::new(SPECIFICATION.to_owned(), version, long);
                (targets.targets, targets.delegations) = (contents, None);
                written(&mut writes, &keys.sign(targets)?)?
            }
        };
        let snapshot = match old {
            Some(state) if depth < Depth::Snapshot => entry_of(&state.timestamp.meta, SNAPSHOT)?,
            _ => {
                let version = version(old.map(|state| state.snapshot.version));
                let mut snapshot = Snapshot::new(SPECIFICATION.to_owned(), version, long);
                snapshot.meta.insert(TARGETS.to_owned(), targets);
                written(&mut writes, &keys.sign(snapshot)?)?
            }
        };
        let mut timestamp = Timestamp::new(
            SPECIFICATION.to_owned(),
            version(old.map(|state| state.timestamp.version)),
            short,
        );
        timestamp.meta.insert(SNAPSHOT.to_owned(), snapshot);
        written(&mut writes, &keys.sign(timestamp)?)?;
        let root = metadata::file(keys.root())?;
        if !there.contains_key(&order::metadata(&root.name)) {
            writes.push((order::metadata(&root.name), root.bytes));
        }
        writes.sort_by_key(|(path, _)| order::kind(path));
        Ok(writes.into_iter().map(|(path, bytes)| Step::Write { path, bytes }).collect())
    }

    /// The write of newer root metadata.
    pub(crate) fn root(&self, root: &Signed<Root>) -> Result<Step, RepositoryError> {
        let file = metadata::file(root)?;
        Ok(Step::Write { path: order::metadata(&file.name), bytes: file.bytes })
    }

    /// Carries out writes in their order.
    pub(crate) fn apply(&mut self, steps: &[Step], keys: &Keys) -> Result<(), RepositoryError> {
        steps.iter().try_for_each(|step| self.write(step))?;
        self.state = state(&self.folder, keys)?;
        Ok(())
    }

    /// Writes a file whose signatures what is there need not have.
    pub(crate) fn write(&self, step: &Step) -> Result<(), RepositoryError> {
        match step {
            Step::Write { path, bytes } => self.folder.write(path, bytes),
            Step::Remove { path } => self.folder.remove(path),
        }
        .map_err(Into::into)
    }
}

impl State {
    /// The targets' files with their sizes.
    pub(crate) fn targets(&self) -> BTreeMap<String, u64> {
        let file = |(name, target): (&TargetName, &Target)| {
            (order::target(&hex(&target.hashes.sha256), name.raw()), target.length)
        };
        self.targets.targets.iter().map(file).collect()
    }

    /// All files that a client can be led to, but for root metadata.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let mut files: BTreeSet<String> = self.targets().into_keys().collect();
        let names =
            [self.targets.filename(true), self.snapshot.filename(true), self.timestamp.filename(true)];
        files.extend(names.iter().map(|name| order::metadata(name)));
        files
    }

    /// Until when a client accepts all of it, and what ends first.
    pub(crate) fn until(&self, root: &Root) -> (Time, RoleType) {
        let ends = [
            (self.timestamp.expires, RoleType::Timestamp),
            (self.snapshot.expires, RoleType::Snapshot),
            (self.targets.expires, RoleType::Targets),
            (root.expires, RoleType::Root),
        ];
        ends.into_iter().min_by_key(|(end, _)| *end).unwrap_or(ends[0])
    }
}

/// Adds a metadata file to the writes and gives what others say of it.
fn written<T: Role>(
    writes: &mut Vec<(String, Vec<u8>)>,
    signed: &Signed<T>,
) -> Result<Metafile, RepositoryError> {
    let file = metadata::file(signed)?;
    let entry = metadata::entry(&file, signed.signed.version());
    writes.push((order::metadata(&file.name), file.bytes));
    Ok(entry)
}

/// Locks a repository that is there.
pub(crate) fn lock_existing(path: &Path) -> Result<Lock, RepositoryError> {
    if !path.join(order::metadata(TIMESTAMP)).exists() {
        return Err(RepositoryError::Absent(path.to_owned()));
    }
    lock(path)
}

fn lock(path: &Path) -> Result<Lock, RepositoryError> {
    let failed = |source: std::io::Error| RepositoryError::Lock { path: path.to_owned(), source };
    let file = File::options().create(true).append(true).open(path.join(LOCK)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(RepositoryError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The only command that changes the repository.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing it does not do: a program that is just being started has the file too, until it runs.
        let _ = self.0.unlock();
    }
}

/// Has the keys take over root metadata that were written by a rotation which was cut after that.
fn follow(folder: &Folder, keys: &mut Keys) -> Result<(), RepositoryError> {
    let name = |version| order::metadata(&format!("{version}.root.json"));
    let path = name(keys.root().signed.version);
    if let Some(bytes) = folder.read(&path)?
        && bytes != metadata::file(keys.root())?.bytes
    {
        return Err(RepositoryError::Root { path, keys: keys.folder().to_owned() });
    }
    loop {
        let path = name(metadata::next(keys.root().signed.version));
        let Some(bytes) = folder.read(&path)? else { return Ok(()) };
        let root: Signed<Root> = parse(&path, &bytes)?;
        for trusting in [&keys.root().signed, &root.signed] {
            verify(trusting, &path, &root, keys)?;
        }
        if root.signed.version != metadata::next(keys.root().signed.version) {
            return Err(RepositoryError::Changed(path));
        }
        keys.follow(root)?;
    }
}

/// What the metadata say, which must be signed by the keys.
fn state(folder: &Folder, keys: &Keys) -> Result<Option<State>, RepositoryError> {
    let path = order::metadata(TIMESTAMP);
    let Some(bytes) = folder.read(&path)? else { return Ok(None) };
    load(folder, &path, &bytes, Some(keys)).map(Some)
}

/// What the metadata say, whoever signed them.
pub(crate) fn unsigned(folder: &Folder) -> Result<State, RepositoryError> {
    let path = order::metadata(TIMESTAMP);
    let bytes = folder.read(&path)?.ok_or_else(|| RepositoryError::Missing(path.clone()))?;
    load(folder, &path, &bytes, None)
}

/// Reads a timestamp, whoever signed it.
pub(crate) fn timestamp(path: &str, bytes: &[u8]) -> Result<Timestamp, RepositoryError> {
    Ok(parse::<Signed<Timestamp>>(path, bytes)?.signed)
}

fn load(folder: &Folder, path: &str, bytes: &[u8], keys: Option<&Keys>) -> Result<State, RepositoryError> {
    let timestamp: Signed<Timestamp> = parse(path, bytes)?;
    if let Some(keys) = keys {
        verify(&keys.root().signed, path, &timestamp, keys)?;
    }
    let snapshot: Signed<Snapshot> = named(folder, keys, &timestamp.signed.meta, SNAPSHOT)?;
    let targets: Signed<Targets> = named(folder, keys, &snapshot.signed.meta, TARGETS)?;
    Ok(State { targets: targets.signed, snapshot: snapshot.signed, timestamp: timestamp.signed })
}

/// Reads metadata that other metadata name.
fn named<T: Role + DeserializeOwned>(
    folder: &Folder,
    keys: Option<&Keys>,
    meta: &HashMap<String, Metafile>,
    name: &str,
) -> Result<Signed<T>, RepositoryError> {
    let entry = entry_of(meta, name)?;
    let path = order::metadata(&format!("{}.{name}", entry.version));
    let bytes = folder.read(&path)?.ok_or_else(|| RepositoryError::Missing(path.clone()))?;
    if !metadata::is(&entry, &bytes) {
        return Err(RepositoryError::Changed(path));
    }
    let signed: Signed<T> = parse(&path, &bytes)?;
    if let Some(keys) = keys {
        verify(&keys.root().signed, &path, &signed, keys)?;
    }
    Ok(signed)
}

fn entry_of(meta: &HashMap<String, Metafile>, name: &str) -> Result<Metafile, RepositoryError> {
    meta.get(name).cloned().ok_or_else(|| RepositoryError::Missing(name.to_owned()))
}

fn parse<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, RepositoryError> {
    serde_json::from_slice(bytes).map_err(|source| RepositoryError::Syntax { path: path.to_owned(), source })
}

fn verify<T: Role>(root: &Root, path: &str, signed: &Signed<T>, keys: &Keys) -> Result<(), RepositoryError> {
    root.verify_role(signed).map_err(|source| RepositoryError::Signature {
        path: path.to_owned(),
        keys: keys.folder().to_owned(),
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_holder_whoever_else_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        let inherited = held.0.try_clone().unwrap();
        assert!(matches!(lock(folder.path()), Err(RepositoryError::Locked(_))));
        drop(held);
        lock(folder.path()).unwrap();
        drop(inherited);
    }
}
