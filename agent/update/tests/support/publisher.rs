//! A publisher: a repository in a folder, made with `tough`'s own signing.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use image_layout::release::{self, Channel, Part, PartitionImage, Release};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tough::TargetName;
use tough::editor::signed::SignedRole;
use tough::schema::{
    Hashes, Metafile, Role, RoleType, Root, Signed, Snapshot, Target, Targets, Timestamp as Stamp,
};

use super::images::{pack, sha256};
use super::signing::{Keys, days, keys, number, root, sign, sign_root};

/// How a role's metadata is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has no signature.
    Unsigned,
    /// It is signed by a key that is not the role's.
    Stranger,
    /// It has expired.
    Expired,
    /// It has this version.
    Version(u64),
}

pub struct Publisher {
    folder: TempDir,
    pub keys: Keys,
    pub roots: Vec<Signed<Root>>,
    targets: HashMap<TargetName, Target>,
    /// Of the metadata that is published next.
    pub version: u64,
}

impl Publisher {
    /// One with a first root and nothing published.
    pub fn new() -> Publisher {
        let keys = keys();
        let mut publisher = Publisher {
            folder: tempfile::tempdir().unwrap(),
            roots: vec![sign_root(root(1, &keys), &keys, None)],
            keys,
            targets: HashMap::new(),
            version: 1,
        };
        for folder in [release::METADATA, release::TARGETS] {
            fs::create_dir(publisher.path().join(folder)).unwrap();
        }
        publisher.write_root();
        publisher
    }

    /// One that has published a release for the channel `stable`.
    pub fn of(version: &str, boot: &[u8], root: &[u8]) -> Publisher {
        let mut publisher = Publisher::new();
        publisher.release(version, boot, root);
        publisher.channel("stable", version);
        publisher.publish(&[]);
        publisher
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The metadata file `name`.
    pub fn metadata(&self, name: &str) -> PathBuf {
        self.path().join(release::METADATA).join(name)
    }

    /// The file of a target.
    pub fn target(&self, name: &str) -> PathBuf {
        let target = &self.targets[&TargetName::new(name).unwrap()];
        let hash: String = target.hashes.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        self.path().join(release::TARGETS).join(format!("{hash}.{name}"))
    }

    /// The text of root `version`.
    pub fn root(&self, version: usize) -> String {
        serde_json::to_string_pretty(&self.roots[version - 1]).unwrap()
    }

    fn write_root(&mut self) {
        let version = self.roots.len();
        fs::write(self.metadata(&format!("{version}.root.json")), self.root(version)).unwrap();
    }

    /// Replaces the keys of `roles` by new ones, in a new root that `change` may change.
    pub fn rotate(&mut self, roles: &[RoleType], change: impl FnOnce(&mut Root)) {
        let old = std::mem::replace(&mut self.keys, keys());
        for (role, key) in &old {
            if !roles.contains(role) {
                self.keys.insert(*role, key.clone());
            }
        }
        let before = self.roots.last().unwrap().signed.clone();
        let mut next = root(before.version.get() + 1, &self.keys);
        change(&mut next);
        self.roots.push(sign_root(next, &self.keys, Some((&before, &old))));
        self.write_root();
    }

    /// Adds or replaces a target.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        let hashes = Hashes { sha256: Sha256::digest(bytes).to_vec().into(), _extra: HashMap::new() };
        let target =
            Target { length: bytes.len() as u64, hashes, custom: HashMap::new(), _extra: HashMap::new() };
        self.targets.insert(TargetName::new(name).unwrap(), target);
        let plain = name.bytes().all(|byte| byte != b'/');
        if plain {
            fs::write(self.target(name), bytes).unwrap();
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.targets.remove(&TargetName::new(name).unwrap()).unwrap();
    }

    pub fn document(&mut self, name: &str, document: &impl Serialize) {
        self.add(name, &serde_json::to_vec(document).unwrap());
    }

    pub fn channel(&mut self, name: &str, version: &str) {
        let channel = Channel { format: release::FORMAT, version: version.parse().unwrap() };
        self.document(&release::channel_target(name), &channel);
    }

    /// Adds the targets of a release; gives its document.
    pub fn release(&mut self, version: &str, boot: &[u8], root: &[u8]) -> Release {
        let mut partitions = Vec::new();
        for (part, image) in [(Part::Boot, boot), (Part::Root, root)] {
            let (map, stored) = pack(image);
            let name = |what: &str| format!("{}-{version}.{what}", part.as_str());
            self.add(&name("map"), &map.encode());
            self.add(&name("blocks"), &stored);
            partitions.push(PartitionImage {
                part,
                size: image.len() as u64,
                sha256: sha256(image),
                map: name("map"),
                blocks: name("blocks"),
            });
        }
        let version = version.parse().unwrap();
        let document = Release { format: release::FORMAT, version, epoch: 1_700_000_000, partitions };
        self.document(&release::release_target(&document.version), &document);
        document
    }

    /// Changes a release's document.
    pub fn change(&mut self, mut release: Release, change: impl FnOnce(&mut Release)) {
        let target = release::release_target(&release.version);
        change(&mut release);
        self.document(&target, &release);
    }

    /// Signs and writes metadata of the next version, faulty as told.
    pub fn publish(&mut self, faults: &[(RoleType, Fault)]) {
        let version = |role| {
            let given = faults.iter().find_map(|fault| match fault {
                (of, Fault::Version(version)) if *of == role => Some(*version),
                _ => None,
            });
            given.unwrap_or(self.version)
        };
        let spec = || "1.0.0".to_owned();
        let expires = |role| if faults.contains(&(role, Fault::Expired)) { days(-1) } else { days(30) };
        let targets = Targets {
            version: number(version(RoleType::Targets)),
            targets: self.targets.clone(),
            ..Targets::new(spec(), number(1), expires(RoleType::Targets))
        };
        let targets = self.write(targets, faults);
        let mut snapshot =
            Snapshot::new(spec(), number(version(RoleType::Snapshot)), expires(RoleType::Snapshot));
        snapshot.meta.insert("targets.json".to_owned(), targets);
        let snapshot = self.write(snapshot, faults);
        let mut stamp =
            Stamp::new(spec(), number(version(RoleType::Timestamp)), expires(RoleType::Timestamp));
        stamp.meta.insert("snapshot.json".to_owned(), snapshot);
        self.write(stamp, faults);
        self.version += 1;
    }

    /// Signs and writes one file; gives what the role above says of it.
    fn write<T: Role + Serialize + Clone>(&self, role: T, faults: &[(RoleType, Fault)]) -> Metafile {
        let faulty = |fault| faults.contains(&(T::TYPE, fault));
        let mut keys = self.keys.clone();
        if faulty(Fault::Stranger) {
            keys.insert(T::TYPE, super::signing::Key::new());
        }
        let version = role.version();
        let name = role.filename(true);
        let signed: SignedRole<T> = sign(role, &root(1, &keys), &keys);
        let mut bytes = signed.buffer().clone();
        if faulty(Fault::Unsigned) {
            let bare = Signed { signatures: Vec::new(), ..signed.signed().clone() };
            bytes = serde_json::to_vec_pretty(&bare).unwrap();
        }
        fs::write(self.metadata(&name), &bytes).unwrap();
        Metafile {
            length: Some(bytes.len() as u64),
            hashes: Some(Hashes { sha256: Sha256::digest(&bytes).to_vec().into(), _extra: HashMap::new() }),
            version,
            _extra: HashMap::new(),
        }
    }

    /// Metadata files, to be published again later.
    pub fn saved(&self) -> HashMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(self.metadata("")).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    pub fn restore(&self, saved: HashMap<PathBuf, Vec<u8>>) {
        for (path, bytes) in saved {
            fs::write(path, bytes).unwrap();
        }
    }
}

/// When metadata of now expires that was published by a [`Publisher`], about.
pub fn expiry() -> Timestamp {
    days(30)
}
