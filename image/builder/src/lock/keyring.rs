//! The pinned archive keys, and what is accepted as signed by them.
//!
//! A release is a cleartext-signed message (RFC 9580, section 7). One valid signature by a pinned key
//! is enough, as several generations of Debian's keys sign each release. A key or subkey that is
//! revoked, was expired when it signed, or is not meant for signing does not count, nor does a weak
//! hash. What is parsed afterwards is the text that was signed, not the file around it.

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, Timestamp};

/// Why keys or signatures are not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyringError {
    /// The key file cannot be opened.
    #[error("cannot be opened")]
    Open(#[source] std::io::Error),
    /// The key file holds no usable key.
    #[error("no OpenPGP public key in it")]
    NoKey(#[source] Option<pgp::errors::Error>),
    /// The key's own signatures do not hold.
    #[error("the key does not certify itself")]
    KeyBinding,
    /// The message is not cleartext-signed.
    #[error("not an OpenPGP cleartext-signed message")]
    Format(#[source] pgp::errors::Error),
    /// No pinned key made any of the signatures.
    #[error("signed by none of the pinned keys, but by {}", list(signers))]
    UnknownSigner {
        /// Key ids that claim to have signed.
        signers: Vec<String>,
    },
    /// A pinned key is named, but what it would have signed is not this text.
    #[error("bad signature of {signer}: {reason}")]
    BadSignature {
        /// Its key id.
        signer: String,
        /// What does not hold.
        reason: String,
    },
}

fn list(signers: &[String]) -> String {
    if signers.is_empty() { "nobody".to_owned() } else { signers.join(", ") }
}

/// Keys that may sign releases.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    keys: Vec<Pinned>,
}

/// A key, and those of its self-signatures that hold: other people's say nothing here.
#[derive(Debug)]
struct Pinned {
    key: SignedPublicKey,
    certified: Vec<Signature>,
}

impl Keyring {
    /// Adds the keys of an armored or binary file and checks that they certify themselves.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), KeyringError> {
        let (keys, _) = SignedPublicKey::from_reader_many(bytes).map_err(|e| KeyringError::NoKey(Some(e)))?;
        let before = self.keys.len();
        for key in keys {
            let key = key.map_err(|e| KeyringError::NoKey(Some(e)))?;
            let certified = self_signatures(&key);
            if certified.is_empty() {
                return Err(KeyringError::KeyBinding);
            }
            self.keys.push(Pinned { key, certified });
        }
        if self.keys.len() == before { Err(KeyringError::NoKey(None)) } else { Ok(()) }
    }

    /// The signed text, with a line feed after each line, when a pinned key has signed it.
    pub(crate) fn verify(&self, message: &str) -> Result<String, KeyringError> {
        let (message, _) = CleartextSignedMessage::from_string(message).map_err(KeyringError::Format)?;
        let text = message.signed_text();
        let mut bad = None;
        let mut signers = Vec::new();
        for signature in message.signatures() {
            match self.check(signature, text.as_bytes()) {
                Ok(()) => return Ok(text.replace("\r\n", "\n") + "\n"),
                Err(KeyringError::UnknownSigner { signers: unknown }) => signers.extend(unknown),
                Err(error) => bad = Some(error),
            }
        }
        Err(bad.unwrap_or(KeyringError::UnknownSigner { signers }))
    }

    fn check(&self, signature: &Signature, text: &[u8]) -> Result<(), KeyringError> {
        let mut outcome = Err(KeyringError::UnknownSigner { signers: claimed(signature) });
        for key in &self.keys {
            if names(signature, &key.key) {
                outcome = check_primary(key, signature, text);
            }
            for subkey in key.key.public_subkeys.iter().filter(|subkey| names(signature, &subkey.key)) {
                outcome = check_subkey(key, subkey, signature, text);
            }
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

fn claimed(signature: &Signature) -> Vec<String> {
    let mut ids: Vec<String> = signature.issuer_fingerprint().iter().map(|id| format!("{id:X}")).collect();
    if ids.is_empty() {
        ids = signature.issuer_key_id().iter().map(|id| id.to_string().to_uppercase()).collect();
    }
    ids
}

fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        return signature.issuer_key_id().contains(&&key.legacy_key_id());
    }
    fingerprints.contains(&&key.fingerprint())
}

fn check_primary(key: &Pinned, signature: &Signature, text: &[u8]) -> Result<(), KeyringError> {
    let bad = |reason: &str| bad(&key.key.primary_key, reason);
    let at = made_at(signature).ok_or_else(|| bad("it does not say when it was made"))?;
    primary_usable(key, at).map_err(bad)?;
    let newest = newest(&key.certified, at).ok_or_else(|| bad("the key has no self-signature"))?;
    if !newest.key_flags().sign() {
        return Err(bad("the key is not meant for signing"));
    }
    strong(signature).map_err(bad)?;
    signature.verify(&key.key.primary_key, text).map_err(|_| bad("the text was changed after it was signed"))
}

fn check_subkey(
    key: &Pinned,
    subkey: &SignedPublicSubKey,
    signature: &Signature,
    text: &[u8],
) -> Result<(), KeyringError> {
    let bad = |reason: &str| bad(&subkey.key, reason);
    let at = made_at(signature).ok_or_else(|| bad("it does not say when it was made"))?;
    primary_usable(key, at).map_err(bad)?;
    subkey.verify_bindings(&key.key.primary_key).map_err(|_| bad("the subkey does not belong to its key"))?;
    if subkey.signatures.iter().any(|s| s.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err(bad("the subkey is revoked"));
    }
    let newest = newest(&subkey.signatures, at).ok_or_else(|| bad("the subkey is not bound"))?;
    if !newest.key_flags().sign() {
        return Err(bad("the subkey is not meant for signing"));
    }
    if expired(&subkey.key, newest, at) {
        return Err(bad("the subkey had expired"));
    }
    strong(signature).map_err(bad)?;
    signature.verify(&subkey.key, text).map_err(|_| bad("the text was changed after it was signed"))
}

fn bad(key: &impl KeyDetails, reason: &str) -> KeyringError {
    KeyringError::BadSignature { signer: format!("{:X}", key.fingerprint()), reason: reason.to_owned() }
}

fn primary_usable(key: &Pinned, at: Timestamp) -> Result<(), &'static str> {
    let primary = &key.key.primary_key;
    let own = |s: &Signature| names(s, primary) && s.verify_key(primary).is_ok();
    if key.key.details.revocation_signatures.iter().any(own) {
        return Err("the key is revoked");
    }
    match newest(&key.certified, at) {
        Some(newest) if expired(primary, newest, at) => Err("the key had expired"),
        Some(_) => Ok(()),
        None => Err("the key has no self-signature"),
    }
}

fn self_signatures(key: &SignedPublicKey) -> Vec<Signature> {
    let primary = &key.primary_key;
    let users = key.details.users.iter().flat_map(|user| user.signatures.iter().map(move |s| (s, &user.id)));
    let users = users.filter(|(s, _)| s.is_certification() && names(s, primary));
    let users = users.filter(|(s, id)| s.verify_certification(primary, Tag::UserId, id).is_ok());
    let direct = key.details.direct_signatures.iter();
    let direct = direct.filter(|s| names(s, primary) && s.verify_key(primary).is_ok());
    users.map(|(s, _)| s).chain(direct).cloned().collect()
}

/// The newest signature that was there at a time: it is the one that counts.
fn newest(signatures: &[Signature], at: Timestamp) -> Option<&Signature> {
    signatures.iter().filter(|s| s.created().is_some_and(|c| c <= at)).max_by_key(|s| s.created())
}

fn expired(key: &impl KeyDetails, binding: &Signature, at: Timestamp) -> bool {
    let lifetime = binding.key_expiration_time().map_or(0, |d| u64::from(d.as_secs()));
    lifetime != 0 && u64::from(key.created_at().as_secs()) + lifetime <= u64::from(at.as_secs())
}

fn made_at(signature: &Signature) -> Option<Timestamp> {
    signature.created()
}

/// Whether the signature itself may count: its kind, its time, its hash.
fn strong(signature: &Signature) -> Result<(), &'static str> {
    if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
        return Err("it is not a signature of a document");
    }
    let lifetime = signature.signature_expiration_time().map_or(0, |d| u64::from(d.as_secs()));
    let made = made_at(signature).map_or(0, |at| u64::from(at.as_secs()));
    if lifetime != 0 && made + lifetime <= u64::from(Timestamp::now().as_secs()) {
        return Err("the signature has expired");
    }
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => Ok(()),
        _ => Err("its hash is too weak"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A release of Debian as it was signed in November 2026, and the keys of this repository.
    #[test]
    fn debians_own_release_is_accepted_and_no_other_text() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut keyring = Keyring::default();
        for entry in std::fs::read_dir(folder.join("../keys")).unwrap() {
            keyring.add(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        }
        let message = std::fs::read_to_string(folder.join("tests/data/trixie-security.InRelease")).unwrap();
        let text = keyring.verify(&message).unwrap();
        assert!(text.starts_with("Origin: Debian\n") && text.ends_with('\n'));
        assert!(text.contains("\nCodename: trixie-security\n"));
        let changed = message.replace("Valid-Until: Wed, 25 Nov 2026", "Valid-Until: Wed, 25 Nov 2099");
        assert_ne!(changed, message);
        let error = keyring.verify(&changed).unwrap_err().to_string();
        assert!(error.ends_with("the text was changed after it was signed"), "{error}");
        let error = Keyring::default().verify(&message).unwrap_err().to_string();
        assert!(error.starts_with("signed by none of the pinned keys, but by "), "{error}");
    }
}
