//! The folder of a publisher's keys: a file for each key, and `root.json`, which says what each is for.
//!
//! A file is `ROLE.pem`, `ROLE-2.pem` …; `NAME.next.pem` is to replace it, `NAME.revoked-N.pem` is what it was
//! under version N of the root metadata. Invariant: a key is on the disk before anything is signed with it.
//! Secrets are in no message. A file name only says which role signs with the key: who may sign is said by the
//! root metadata alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::signature::{Ed25519KeyPair, KeyPair};
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};
use tough::schema::{Role, RoleType, Root, Signature, Signed};

use super::pem::{self, PemError};
use super::root::{self, RootError};
use super::{files, metadata};

/// The root metadata in the folder: a copy of it is what boxes trust.
pub(crate) const ROOT: &str = "root.json";
const EXTENSION: &str = ".pem";

/// A folder of keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// Keys are there already.
    #[error("there are keys in `{0}` already")]
    Exists(PathBuf),
    /// A file cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("failed to write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key file is none.
    #[error("`{path}` cannot be used")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
    /// The root metadata are none.
    #[error("`{path}` cannot be used")]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        source: RootError,
    },
    /// Keys that would have to sign are missing.
    #[error("the keys in `{folder}` cannot sign for the role `{role}`")]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// What they would sign for.
        role: RoleType,
        /// Why.
        source: Box<tough::schema::Error>,
    },
    /// TUF's types do not become text.
    #[error("failed to encode metadata")]
    Encode(#[from] serde_json::Error),
    /// TUF's types have no canonical form.
    #[error("failed to encode metadata")]
    Canonical(#[source] Box<tough::schema::Error>),
}

impl KeysError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            KeysError::Exists(_) => Some("use another folder; keys are never overwritten".to_owned()),
            KeysError::Read { path, source }
                if path.ends_with(ROOT) && source.kind() == std::io::ErrorKind::NotFound =>
            {
                Some("`holdfast-image release keys init --keys DIR` makes keys".to_owned())
            }
            KeysError::Missing { role, .. } => Some(format!(
                "put the key of the role, as `{role}.pem`, there; if it is lost, rotate with --lost"
            )),
            _ => None,
        }
    }
}

/// What a key file is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// `root`, `root-2`.
    stem: String,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Current,
    Next,
    /// Since this version of the root metadata was replaced.
    Revoked(u64),
}

impl Name {
    fn new(stem: &str, standing: Standing) -> Name {
        Name { stem: stem.to_owned(), standing }
    }

    fn parse(file: &str) -> Option<Name> {
        let name = file.strip_suffix(EXTENSION)?;
        let (stem, standing) = match name.split_once('.') {
            None => (name, Standing::Current),
            Some((stem, "next")) => (stem, Standing::Next),
            Some((stem, rest)) => (stem, Standing::Revoked(rest.strip_prefix("revoked-")?.parse().ok()?)),
        };
        let name = Name::new(stem, standing);
        name.role().map(|_| name)
    }

    fn file(&self) -> String {
        match self.standing {
            Standing::Current => format!("{}{EXTENSION}", self.stem),
            Standing::Next => format!("{}.next{EXTENSION}", self.stem),
            Standing::Revoked(version) => format!("{}.revoked-{version}{EXTENSION}", self.stem),
        }
    }

    fn role(&self) -> Option<RoleType> {
        let word = self.stem.split_once('-').map_or(self.stem.as_str(), |(word, _)| word);
        ROLES.into_iter().find(|role| role.to_string() == word)
    }
}

/// The roles of a repository.
pub(crate) const ROLES: [RoleType; 4] =
    [RoleType::Root, RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp];

/// A key with its file's name.
struct Pair {
    name: Name,
    secret: Ed25519KeyPair,
}

impl Pair {
    fn public(&self) -> Key {
        let public = self.secret.public_key().as_ref().to_vec().into();
        Key::Ed25519 {
            keyval: Ed25519Key { public, _extra: Default::default() },
            scheme: Ed25519Scheme::Ed25519,
            _extra: Default::default(),
        }
    }

    fn id(&self) -> Result<Decoded<Hex>, KeysError> {
        self.public().key_id().map_err(|error| KeysError::Canonical(Box::new(error)))
    }
}

/// What is to be thought of keys that the root metadata name and the folder does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Somebody else has them: they stay.
    Elsewhere,
    /// Nobody has them any more: others take their place.
    Lost,
}

/// The keys of a folder.
pub(crate) struct Keys {
    folder: PathBuf,
    root: Signed<Root>,
    pairs: Vec<Pair>,
}

/// Makes a folder of new keys with root metadata that name them. It is there whole or not at all.
pub(crate) fn init(folder: &Path, root_keys: u64, mut root: Root) -> Result<(), KeysError> {
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| KeysError::Write { path, source }
    };
    let parent = files::folder_of(folder);
    fs::create_dir_all(parent).map_err(write(parent))?;
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(KeysError::Exists(folder.to_owned()));
    }
    let staging = tempfile::Builder::new().prefix(files::BESIDE).tempdir_in(parent).map_err(write(parent))?;
    let mut pairs = Vec::new();
    for role in ROLES {
        for number in 1..=if role == RoleType::Root { root_keys } else { 1 } {
            let stem = stem(role, number);
            let pair = make(staging.path(), Name::new(&stem, Standing::Current))?;
            name(&mut root, role, &pair)?;
            pairs.push(pair);
        }
    }
    let signed = sign(root, pairs.iter())?;
    let path = staging.path().join(ROOT);
    files::replace(&path, 0o644, &metadata::file(&signed)?.bytes).map_err(write(&path))?;
    fs::set_permissions(staging.path(), fs::Permissions::from_mode(0o700)).map_err(write(folder))?;
    // Replaces an empty folder, too.
    files::rename(staging.path(), folder).map_err(write(folder))
}

/// Name of the key with this number of a role.
fn stem(role: RoleType, number: u64) -> String {
    if number == 1 { role.to_string() } else { format!("{role}-{number}") }
}

/// Makes a key and its file.
fn make(folder: &Path, name: Name) -> Result<Pair, KeysError> {
    let path = folder.join(name.file());
    let text = pem::generate().map_err(|source| KeysError::Key { path: path.clone(), source })?;
    files::replace(&path, 0o600, text.as_bytes())
        .map_err(|source| KeysError::Write { path: path.clone(), source })?;
    let secret = pem::parse(&text).map_err(|source| KeysError::Key { path, source })?;
    Ok(Pair { name, secret })
}

/// Has root metadata name a key for a role.
fn name(root: &mut Root, role: RoleType, pair: &Pair) -> Result<(), KeysError> {
    let id = pair.id()?;
    root.keys.insert(id.clone(), pair.public());
    if let Some(keys) = root.roles.get_mut(&role) {
        keys.keyids.push(id);
    }
    Ok(())
}

fn sign<'a, T: Role>(role: T, pairs: impl Iterator<Item = &'a Pair>) -> Result<Signed<T>, KeysError> {
    let text = role.canonical_form().map_err(|error| KeysError::Canonical(Box::new(error)))?;
    let mut signatures: Vec<Signature> = Vec::new();
    for pair in pairs.filter(|pair| pair.name.role() == Some(T::TYPE)) {
        let keyid = pair.id()?;
        // Two signatures by one key make the whole invalid.
        if signatures.iter().all(|signature| signature.keyid != keyid) {
            signatures.push(Signature { keyid, sig: pair.secret.sign(&text).as_ref().to_vec().into() });
        }
    }
    Ok(Signed { signed: role, signatures })
}

impl Keys {
    /// Opens a folder of keys.
    pub(crate) fn open(folder: &Path) -> Result<Keys, KeysError> {
        let path = folder.join(ROOT);
        let text = fs::read(&path).map_err(|source| KeysError::Read { path: path.clone(), source })?;
        let root = root::parse(&text).map_err(|source| KeysError::Root { path, source })?;
        let mut keys = Keys { folder: folder.to_owned(), root, pairs: Vec::new() };
        keys.read()?;
        keys.settle()?;
        Ok(keys)
    }

    /// The root metadata.
    pub(crate) fn root(&self) -> &Signed<Root> {
        &self.root
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn read(&mut self) -> Result<(), KeysError> {
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| KeysError::Read { path, source }
        };
        self.pairs.clear();
        for entry in fs::read_dir(&self.folder).map_err(read(&self.folder))? {
            let path = entry.map_err(read(&self.folder))?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(name) = Name::parse(&file) else { continue };
            let text = fs::read_to_string(&path).map_err(read(&path))?;
            let secret = pem::parse(&text).map_err(|source| KeysError::Key { path, source })?;
            self.pairs.push(Pair { name, secret });
        }
        self.pairs.sort_by_key(|pair| pair.name.file());
        Ok(())
    }

    /// Signs with every key of the role. Those that are revoked sign too, which costs nothing and lets a
    /// client that knows an older root see the same files until it has the newer one.
    pub(crate) fn sign<T: Role>(&self, role: T) -> Result<Signed<T>, KeysError> {
        let signed = sign(role, self.pairs.iter())?;
        self.root.signed.verify_role(&signed).map_err(|source| self.missing(T::TYPE, source))?;
        Ok(signed)
    }

    /// Whether there are keys that may sign for a role.
    pub(crate) fn has(&self, role: RoleType) -> bool {
        let Some(named) = self.root.signed.roles.get(&role) else { return false };
        let ours = self.pairs.iter().filter_map(|pair| pair.id().ok());
        ours.filter(|id| named.keyids.contains(id)).count() as u64 >= named.threshold.get()
    }

    fn missing(&self, role: RoleType, source: tough::schema::Error) -> KeysError {
        KeysError::Missing { folder: self.folder.clone(), role, source: Box::new(source) }
    }

    /// Makes new keys for those of a role that are here, unless an earlier attempt did, and the root metadata
    /// that name them instead, signed by old and new root keys. `root` has version and end of validity.
    pub(crate) fn replace(
        &mut self,
        role: RoleType,
        mut root: Root,
        absent: Absent,
    ) -> Result<Signed<Root>, KeysError> {
        let is = |pair: &&Pair, standing| pair.name.role() == Some(role) && pair.name.standing == standing;
        let mut stems: Vec<String> = self
            .pairs
            .iter()
            .filter(|pair| is(pair, Standing::Current))
            .map(|p| p.name.stem.clone())
            .collect();
        if absent == Absent::Lost
            && let Some(named) = root.roles.get_mut(&role)
        {
            // As many as before, under the first names that are free.
            let wanted = named.keyids.len();
            let free = (1..).map(|number| stem(role, number)).filter(|name| !stems.contains(name));
            let more: Vec<String> = free.take(wanted.saturating_sub(stems.len())).collect();
            stems.extend(more);
            named.keyids.clear();
        }
        for stem in stems {
            let name = Name::new(&stem, Standing::Next);
            if !self.pairs.iter().any(|pair| pair.name == name) {
                self.pairs.push(make(&self.folder, name)?);
            }
        }
        for old in self.pairs.iter().filter(|pair| is(pair, Standing::Current)) {
            let id = old.id()?;
            if let Some(keys) = root.roles.get_mut(&role) {
                keys.keyids.retain(|key| *key != id);
            }
        }
        for new in self.pairs.iter().filter(|pair| is(pair, Standing::Next)) {
            self::name(&mut root, role, new)?;
        }
        let roles = &root.roles;
        root.keys.retain(|id, _| roles.values().any(|keys| keys.keyids.contains(id)));
        let signing = self.pairs.iter().filter(|pair| !matches!(pair.name.standing, Standing::Revoked(_)));
        let signed = sign(root, signing)?;
        for trusting in [&self.root.signed, &signed.signed] {
            trusting.verify_role(&signed).map_err(|source| self.missing(RoleType::Root, source))?;
        }
        Ok(signed)
    }

    /// Takes over root metadata that follow those of the folder, then gives key files their names.
    pub(crate) fn follow(&mut self, root: Signed<Root>) -> Result<(), KeysError> {
        let path = self.folder.join(ROOT);
        files::replace(&path, 0o644, &metadata::file(&root)?.bytes)
            .map_err(|source| KeysError::Write { path, source })?;
        self.root = root;
        self.settle()
    }

    /// Gives new keys that the root metadata name the place of the old ones.
    fn settle(&mut self) -> Result<(), KeysError> {
        let revoked = Standing::Revoked(self.root.signed.version.get() - 1);
        for new in self.pairs.iter().filter(|pair| pair.name.standing == Standing::Next) {
            if !self.root.signed.keys.contains_key(&new.id()?) {
                continue;
            }
            let name = |standing| self.folder.join(Name::new(&new.name.stem, standing).file());
            let rename = |from: PathBuf, to: PathBuf| {
                files::rename(&from, &to).map_err(|source| KeysError::Write { path: to, source })
            };
            if name(Standing::Current).exists() {
                rename(name(Standing::Current), name(revoked))?;
            }
            rename(name(Standing::Next), name(Standing::Current))?;
        }
        self.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_key_files() {
        for (file, stem, standing) in [
            ("root.pem", "root", Standing::Current),
            ("root-2.pem", "root-2", Standing::Current),
            ("timestamp.next.pem", "timestamp", Standing::Next),
            ("targets.revoked-12.pem", "targets", Standing::Revoked(12)),
        ] {
            let name = Name::parse(file).unwrap();
            assert_eq!((name.stem.as_str(), name.standing, name.file().as_str()), (stem, standing, file));
            assert_eq!(name.role().unwrap().to_string(), stem.split('-').next().unwrap());
        }
        for file in ["root.json", "other.pem", "root.old.pem", "root.revoked-x.pem", "root", ".pem"] {
            assert_eq!(Name::parse(file), None, "{file}");
        }
    }
}
