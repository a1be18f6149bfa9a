//! Keys and roots of a publisher.

use std::collections::HashMap;
use std::error::Error;
use std::num::NonZeroU64;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use jiff::Timestamp;
use serde::Serialize;
use tough::async_trait;
use tough::editor::signed::SignedRole;
use tough::key_source::KeySource;
use tough::schema::{KeyHolder, Role, RoleKeys, RoleType, Root, Signed};
use tough::sign::{Sign, parse_keypair};

pub const ROLES: [RoleType; 4] = [RoleType::Root, RoleType::Timestamp, RoleType::Snapshot, RoleType::Targets];

/// An ed25519 key, PKCS 8.
#[derive(Clone, Debug)]
pub struct Key(Vec<u8>);

impl Key {
    pub fn new() -> Key {
        Key(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref().to_vec())
    }
}

#[async_trait]
impl KeySource for Key {
    async fn as_sign(&self) -> Result<Box<dyn Sign>, Box<dyn Error + Send + Sync>> {
        Ok(Box::new(parse_keypair(&self.0)?))
    }

    async fn write(&self, _: &str, _: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        unreachable!()
    }
}

/// The key of each role.
pub type Keys = HashMap<RoleType, Key>;

pub fn keys() -> Keys {
    ROLES.into_iter().map(|role| (role, Key::new())).collect()
}

pub fn days(count: i64) -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() + count * 86_400).unwrap()
}

pub fn number(version: u64) -> NonZeroU64 {
    NonZeroU64::new(version).unwrap()
}

/// A root of one key for each role.
pub fn root(version: u64, keys: &Keys) -> Root {
    let mut root = Root {
        spec_version: "1.0.0".to_owned(),
        consistent_snapshot: true,
        version: number(version),
        expires: days(365),
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    };
    for (role, key) in keys {
        let key = parse_keypair(&key.0).unwrap().tuf_key();
        let id = key.key_id().unwrap();
        root.keys.insert(id.clone(), key);
        let keys = RoleKeys { keyids: vec![id], threshold: number(1), _extra: HashMap::new() };
        root.roles.insert(*role, keys);
    }
    root
}

/// Signs `role` with those of `keys` that `root` has for it.
pub fn sign<T: Role + Serialize>(role: T, root: &Root, keys: &Keys) -> SignedRole<T> {
    let sources: Vec<Box<dyn KeySource>> =
        keys.values().map(|key| Box::new(key.clone()) as Box<dyn KeySource>).collect();
    let holder = KeyHolder::Root(root.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(SignedRole::new(role, &holder, &sources, &SystemRandom::new())).unwrap()
}

/// A root that is signed by its own key and by that of the one before it.
pub fn sign_root(root: Root, keys: &Keys, before: Option<(&Root, &Keys)>) -> Signed<Root> {
    let signed = sign(root.clone(), &root, keys);
    let signed = match before {
        None => signed,
        Some((old, keys)) => {
            let old = sign(root, old, keys);
            signed.add_old_signatures(old.signed().signatures.clone()).unwrap()
        }
    };
    signed.signed().clone()
}
