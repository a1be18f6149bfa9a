//! Commands that are cut: every beginning of their writes leaves a repository that a client accepts, and the
//! next command goes on from there.

use std::collections::HashMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tempfile::TempDir;
use tough::schema::{RoleKeys, RoleType, Root};

use super::add::{self, Files};
use super::folder::Folder;
use super::keys::{self, Keys, ROLES, ROOT};
use super::metadata::SPECIFICATION;
use super::publish::{Options, Place, Source, Transfer};
use super::repository::{Depth, Repository, Step};
use super::{lifetime, prune, rotate, verify};

const YEAR: &str = "365d";

/// Keys, a repository, and the root metadata as boxes got them, of every version.
struct World {
    dir: TempDir,
    roots: Vec<Vec<u8>>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let none = RoleKeys { keyids: vec![], threshold: NonZeroU64::MIN, _extra: HashMap::new() };
        let root = Root {
            spec_version: SPECIFICATION.to_owned(),
            consistent_snapshot: true,
            version: NonZeroU64::MIN,
            expires: lifetime::RELEASES.after(Timestamp::now()),
            keys: HashMap::new(),
            roles: ROLES.into_iter().map(|role| (role, none.clone())).collect(),
            _extra: HashMap::new(),
        };
        keys::init(&dir.path().join("keys"), 1, root).unwrap();
        let mut world = World { dir, roots: vec![] };
        world.remember();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keys(&self) -> Keys {
        Keys::open(&self.path("keys")).unwrap()
    }

    fn open(&self) -> (Keys, Repository) {
        let mut keys = self.keys();
        let repository = Repository::create(&self.path("repository"), &mut keys).unwrap();
        (keys, repository)
    }

    fn remember(&mut self) {
        self.roots.push(fs::read(self.path("keys").join(ROOT)).unwrap());
    }

    /// The writes that add targets.
    fn adding(&self, keys: &Keys, repository: &Repository, files: &[(&str, &str)]) -> Vec<Step> {
        let files: Files =
            files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        let mut contents = repository.contents();
        let files = add::insert(&mut contents, files).unwrap();
        repository.renew(keys, Depth::Targets, contents, files, lifetime::TIMESTAMP).unwrap()
    }

    fn add(&self, files: &[(&str, &str)]) {
        let (keys, mut repository) = self.open();
        let steps = self.adding(&keys, &repository, files);
        repository.apply(&steps, &keys).unwrap();
    }

    fn rotate(&mut self, role: RoleType) {
        let (mut keys, mut repository) = self.open();
        rotate::rotate(&mut keys, &mut repository, role, YEAR.parse().unwrap(), lifetime::TIMESTAMP).unwrap();
        self.remember();
    }

    /// Clients of all ages accept what is in a folder.
    #[track_caller]
    fn accepted(&self, folder: &Path, after: &str) {
        self.accepted_by(self.roots.len(), folder, after);
    }

    /// Clients accept it whose root metadata are of the first `known` versions.
    #[track_caller]
    fn accepted_by(&self, known: usize, folder: &Path, after: &str) {
        for (index, root) in self.roots[..known].iter().enumerate() {
            let seen = verify::folder(folder, root);
            assert!(seen.is_ok(), "after {after}, with root {}: {:?}", index + 1, seen.err());
        }
    }

    /// Carries writes out one by one in a copy, and has clients look after each.
    #[track_caller]
    fn replay(&self, steps: &[Step]) {
        let copy = self.path("copy");
        let _ = fs::remove_dir_all(&copy);
        let folder = Folder::new(&copy);
        folder.create().unwrap();
        let original = Folder::new(&self.path("repository"));
        for path in original.list().unwrap().keys() {
            folder.write(path, &original.read(path).unwrap().unwrap()).unwrap();
        }
        for step in steps {
            let path = match step {
                Step::Write { path, bytes } => folder.write(path, bytes).map(|()| path),
                Step::Remove { path } => folder.remove(path).map(|()| path),
            };
            self.accepted(&copy, path.unwrap());
        }
    }
}

const ROTATIONS: [RoleType; 4] = [RoleType::Timestamp, RoleType::Snapshot, RoleType::Targets, RoleType::Root];

#[test]
fn every_beginning_of_an_addition_is_accepted() {
    let mut world = World::new();
    world.add(&[("a", "1")]);
    let adding = |world: &World| {
        let (keys, repository) = world.open();
        world.adding(&keys, &repository, &[("a", "2"), ("b", "3")])
    };
    assert_eq!(adding(&world).len(), 2 + 3);
    world.replay(&adding(&world));
    // What a cut addition left is written over.
    for count in 1..5 {
        let steps = adding(&world);
        let folder = Folder::new(&world.path("repository"));
        for step in steps.iter().take(count) {
            let Step::Write { path, bytes } = step else { panic!("{step:?}") };
            folder.write(path, bytes).unwrap();
        }
        world.accepted(folder.path(), "a cut addition");
        world.add(&[("a", &format!("new {count}"))]);
        world.accepted(folder.path(), "the next addition");
    }
    for role in ROTATIONS {
        world.rotate(role);
        let (keys, repository) = world.open();
        world.replay(&world.adding(&keys, &repository, &[("c", &role.to_string())]));
    }
}

#[test]
fn every_beginning_of_a_rotation_is_accepted_and_made_good() {
    for role in ROTATIONS {
        for cut in 0..=5 {
            let mut world = World::new();
            world.add(&[("a", "1")]);
            let old = fs::read(world.path("keys").join(format!("{role}.pem"))).unwrap();
            let (mut keys, repository) = world.open();
            let (year, expires) = (YEAR.parse().unwrap(), lifetime::TIMESTAMP);
            let (root, steps) = rotate::plan(&mut keys, &repository, role, year, expires).unwrap();
            world.replay(&steps);
            let last = cut >= steps.len();
            let folder = Folder::new(&world.path("repository"));
            for step in steps.iter().take(cut) {
                let Step::Write { path, bytes } = step else { panic!("{step:?}") };
                folder.write(path, bytes).unwrap();
            }
            if cut == 5 {
                // The root is in its folder, and the key files still have their old names.
                let text = super::metadata::file(&root).unwrap().bytes;
                fs::write(world.path("keys").join(ROOT), text).unwrap();
            }
            drop(repository);
            // Any other command goes on with what there is.
            world.add(&[("b", "2")]);
            world.accepted(folder.path(), "a cut rotation");
            let version = world.keys().root().signed.version.get();
            assert_eq!(version, if last { 2 } else { 1 }, "{role} {cut}");
            if !last {
                world.rotate(role);
            }
            world.remember();
            world.accepted(folder.path(), "the rotation");
            let revoked = world.path("keys").join(format!("{role}.revoked-1.pem"));
            assert_eq!(fs::read(revoked).unwrap(), old, "{role} {cut}");
            assert!(!world.path("keys").join(format!("{role}.next.pem")).exists());
            assert_ne!(fs::read(world.path("keys").join(format!("{role}.pem"))).unwrap(), old);
        }
    }
}

#[test]
fn a_revoked_key_signs_for_nobody_who_knows() {
    let mut world = World::new();
    world.add(&[("a", "1")]);
    let before = Folder::new(&world.path("repository"));
    let stale = before.read("metadata/timestamp.json").unwrap().unwrap();
    world.rotate(RoleType::Timestamp);
    before.write("metadata/timestamp.json", &stale).unwrap();
    let told = verify::folder(before.path(), &world.roots[0]).unwrap_err().to_string();
    assert!(told.contains("Signature threshold of 1 not met for role timestamp (0 valid"), "{told}");
}

#[test]
fn every_beginning_of_a_prune_is_accepted() {
    let world = World::new();
    let channel = r#"{"format":1,"version":"VERSION"}"#;
    world.add(&[("channel-stable.json", &channel.replace("VERSION", "1")), ("holdfast-1-x", "1")]);
    // Documents that a client does not have to understand here.
    let (mut keys, mut repository) = world.open();
    for version in ["1", "2", "3"] {
        let version = version.parse().unwrap();
        let mut contents = repository.contents();
        let files: Files =
            vec![(super::catalogue::part_target(&version, "x"), version.to_string().into_bytes())];
        let files = add::insert(&mut contents, files).unwrap();
        contents.retain(|name, _| name.raw() != "channel-stable.json");
        let steps = repository.renew(&keys, Depth::Targets, contents, files, lifetime::TIMESTAMP).unwrap();
        repository.apply(&steps, &keys).unwrap();
    }
    let forget = prune::forget(&repository, &keys, &["1".parse().unwrap()], lifetime::TIMESTAMP).unwrap();
    world.replay(&forget);
    repository.apply(&forget, &keys).unwrap();
    let sweep = prune::sweep(&repository).unwrap();
    assert!(sweep.len() >= 2 + 4 + 4, "{sweep:?}");
    world.replay(&sweep);
    repository.apply(&sweep, &keys).unwrap();
    assert_eq!(prune::sweep(&repository).unwrap(), []);
    keys = world.keys();
    assert!(keys.has(RoleType::Targets));
}

#[test]
fn every_beginning_of_a_publication_is_accepted() {
    let mut world = World::new();
    world.add(&[("a", "1")]);
    let source = || Source::open(Folder::new(&world.path("repository"))).unwrap();
    let there = world.path("there");
    let place = || Place::open(there.to_str().unwrap(), &Options::default()).unwrap();
    let publish = |world: &World, known: usize| {
        let (source, place) = (Source::open(Folder::new(&world.path("repository"))).unwrap(), place());
        let plan = source.plan(&place).unwrap();
        for transfer in &plan {
            source.transfer(transfer, &place).unwrap();
            if place.read("metadata/timestamp.json").unwrap().is_some() {
                world.accepted_by(known, &there, &format!("{transfer:?}"));
            }
        }
        world.accepted(&there, "the publication");
        plan.len()
    };
    assert_eq!(source().plan(&place()).unwrap().len(), 1 + 3 + 1);
    assert_eq!(publish(&world, 1), 5);
    assert_eq!(publish(&world, 1), 0);
    // Clients look on while the place moves by several rotations at once.
    world.add(&[("a", "2"), ("b", "1")]);
    for role in ROTATIONS {
        world.rotate(role);
    }
    world.add(&[("c", "1")]);
    assert!(publish(&world, 1) >= 3 + 3 + 4);
    let (keys, mut repository) = world.open();
    let sweep = prune::sweep(&repository).unwrap();
    repository.apply(&sweep, &keys).unwrap();
    drop(repository);
    let removals = Source::open(Folder::new(&world.path("repository"))).unwrap().plan(&place()).unwrap();
    assert!(!removals.is_empty() && removals.iter().all(|transfer| matches!(transfer, Transfer::Remove(_))));
    publish(&world, world.roots.len());
    let list = |folder: &Path| Folder::new(folder).list().unwrap();
    assert_eq!(list(&there), list(&world.path("repository")));
}
