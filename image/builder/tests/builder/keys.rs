//! Which keys may sign a release: not those that had expired, are revoked, or are for something else.

use std::fs;

use crate::support::archive::{Days, package, release};
use crate::support::workspace::{Run, Workspace};
use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey, SubkeyParams, SubkeyParamsBuilder,
};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Duration, KeyDetails, Password, SignedUser, SigningKey, Tag, Timestamp};

const DAY: u32 = 24 * 3600;

fn days_ago(days: u32) -> Timestamp {
    Timestamp::from_secs(Timestamp::now().as_secs() - days * DAY)
}

/// A key of ten days ago with a subkey of the kind asked for.
fn key(subkey_signs: bool) -> SignedSecretKey {
    let mut subkey = SubkeyParamsBuilder::default();
    if subkey_signs {
        subkey.key_type(KeyType::Ed25519Legacy).can_sign(true);
    } else {
        subkey.key_type(KeyType::ECDH(ECCCurve::Curve25519Legacy)).can_encrypt(EncryptionCaps::All);
    }
    subkey.created_at(days_ago(10));
    generate(KeyType::Ed25519Legacy, vec![subkey.build().unwrap()])
}

fn generate(kind: KeyType, subkeys: Vec<SubkeyParams>) -> SignedSecretKey {
    let mut parameters = SecretKeyParamsBuilder::default();
    parameters.key_type(kind).can_certify(true).can_sign(true).created_at(days_ago(10));
    parameters.primary_user_id("Test <test@example.org>".into()).subkeys(subkeys);
    parameters.build().unwrap().generate(rand::thread_rng()).unwrap()
}

fn config(key: &impl SigningKey, kind: SignatureType, more: Vec<SubpacketData>) -> SignatureConfig {
    let mut config = SignatureConfig::from_key(rand::thread_rng(), key, kind).unwrap();
    let mut data = vec![SubpacketData::IssuerFingerprint(key.fingerprint())];
    data.extend(more);
    config.hashed_subpackets = data.into_iter().map(|data| Subpacket::regular(data).unwrap()).collect();
    config
}

/// The key as others see it, certified ten days ago to these ends and for so many days.
fn certified(key: &SignedSecretKey, signs: bool, days: u32) -> SignedPublicKey {
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(signs);
    let more = vec![
        SubpacketData::SignatureCreationTime(days_ago(10)),
        SubpacketData::KeyFlags(flags),
        SubpacketData::KeyExpirationTime(Duration::from_secs(days * DAY)),
    ];
    let mut public = key.to_public_key();
    let id = public.details.users[0].id.clone();
    let signature = config(&key.primary_key, SignatureType::CertGeneric, more)
        .sign_certification(&key.primary_key, &public.primary_key, &Password::empty(), Tag::UserId, &id)
        .unwrap();
    public.details.users = vec![SignedUser::new(id, vec![signature])];
    public
}

/// Locks from an archive whose release `signer` signed, pinning `public`.
fn lock(public: &SignedPublicKey, signer: &impl SigningKey, change: impl Fn(&mut SignatureConfig)) -> Run {
    let w = Workspace::new(&["app"], &[package("app", "1")]);
    let pinned = public.to_armored_string(ArmorOptions::default()).unwrap();
    fs::write(w.root().join("image/keys/test.asc"), pinned).unwrap();
    let text = release(&fs::read(w.archive.index()).unwrap(), Days { made: 0, until: None });
    let created = vec![SubpacketData::SignatureCreationTime(Timestamp::now())];
    let mut config = config(signer, SignatureType::Text, created);
    change(&mut config);
    let message = CleartextSignedMessage::new(text.trim_end(), config, signer, &Password::empty()).unwrap();
    fs::write(w.archive.in_release(), message.to_armored_string(ArmorOptions::default()).unwrap()).unwrap();
    w.run(&["lock"])
}

fn unchanged(_: &mut SignatureConfig) {}

#[test]
fn a_signing_key_and_a_signing_subkey_are_accepted() {
    let key = key(true);
    lock(&certified(&key, true, 20), &key.primary_key, unchanged).ok();
    lock(&certified(&key, false, 20), &key.secret_subkeys[0].key, unchanged).ok();
}

#[test]
fn a_key_that_had_expired_is_refused_with_its_subkeys() {
    let key = key(true);
    let public = certified(&key, true, 5);
    lock(&public, &key.primary_key, unchanged).fails(1, &["bad signature of", "the key had expired"]);
    lock(&public, &key.secret_subkeys[0].key, unchanged).fails(1, &["the key had expired"]);
}

#[test]
fn a_key_for_something_else_is_refused() {
    let key = key(true);
    let public = certified(&key, false, 20);
    lock(&public, &key.primary_key, unchanged).fails(1, &["the key is not meant for signing"]);
    let mut public = certified(&key, true, 20);
    let binding = config(
        &key.primary_key,
        SignatureType::SubkeyBinding,
        vec![SubpacketData::SignatureCreationTime(days_ago(9)), SubpacketData::KeyFlags(KeyFlags::default())],
    );
    let subkey = &mut public.public_subkeys[0];
    let binding = binding
        .sign_subkey_binding(&key.primary_key, &public.primary_key, &Password::empty(), &subkey.key)
        .unwrap();
    subkey.signatures = vec![binding];
    lock(&public, &key.secret_subkeys[0].key, unchanged).fails(1, &["the subkey is not meant for signing"]);
}

#[test]
fn a_revoked_key_is_refused_with_its_subkeys() {
    let key = key(true);
    let mut public = certified(&key, true, 20);
    let created = vec![SubpacketData::SignatureCreationTime(days_ago(1))];
    let revocation = config(&key.primary_key, SignatureType::KeyRevocation, created.clone())
        .sign_key(&key.primary_key, &Password::empty(), &public.primary_key)
        .unwrap();
    public.details.revocation_signatures = vec![revocation];
    lock(&public, &key.primary_key, unchanged).fails(1, &["the key is revoked"]);
    lock(&public, &key.secret_subkeys[0].key, unchanged).fails(1, &["the key is revoked"]);

    let mut public = certified(&key, true, 20);
    let subkey = &mut public.public_subkeys[0];
    let revocation = config(&key.primary_key, SignatureType::SubkeyRevocation, created)
        .sign_subkey_binding(&key.primary_key, &public.primary_key, &Password::empty(), &subkey.key)
        .unwrap();
    subkey.signatures.push(revocation);
    lock(&public, &key.secret_subkeys[0].key, unchanged).fails(1, &["the subkey is revoked"]);
    lock(&public, &key.primary_key, unchanged).ok();
}

#[test]
fn a_subkey_that_another_key_has_bound_is_refused() {
    let (ours, theirs) = (key(true), key(true));
    let mut public = certified(&ours, true, 20);
    public.public_subkeys = theirs.to_public_key().public_subkeys;
    let signer = &theirs.secret_subkeys[0].key;
    lock(&public, signer, unchanged).fails(1, &["the subkey does not belong to its key"]);
}

#[test]
fn a_weak_hash_and_an_expired_signature_are_refused() {
    let key = generate(KeyType::Rsa(2048), vec![]);
    let public = certified(&key, true, 20);
    lock(&public, &key.primary_key, unchanged).ok();
    lock(&public, &key.primary_key, |config| config.hash_alg = HashAlgorithm::Sha224)
        .fails(1, &["its hash is too weak"]);
    let old = |config: &mut SignatureConfig| {
        let data = [
            SubpacketData::IssuerFingerprint(key.primary_key.fingerprint()),
            SubpacketData::SignatureCreationTime(days_ago(2)),
            SubpacketData::SignatureExpirationTime(Duration::from_secs(DAY)),
        ];
        config.hashed_subpackets = data.into_iter().map(|data| Subpacket::regular(data).unwrap()).collect();
    };
    lock(&public, &key.primary_key, old).fails(1, &["the signature has expired"]);
}

#[test]
fn a_key_file_must_hold_a_key_that_certifies_itself() {
    let w = Workspace::new(&["app"], &[package("app", "1")]);
    let file = w.root().join("image/keys/test.asc");
    fs::write(&file, "nothing\n").unwrap();
    w.run(&["lock"]).fails(1, &["failed to read the key", "no OpenPGP public key in it"]);
    let (ours, theirs) = (key(false), key(false));
    let mut public = ours.to_public_key();
    public.details.users = theirs.to_public_key().details.users;
    fs::write(&file, public.to_armored_string(ArmorOptions::default()).unwrap()).unwrap();
    w.run(&["lock"]).fails(1, &["failed to read the key", "the key does not certify itself"]);
    fs::remove_file(&file).unwrap();
    w.run(&["lock"]).fails(1, &["failed to read the key", "cannot be opened"]);
}
