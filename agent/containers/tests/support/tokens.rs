//! A server of tokens for a real registry, which checks each: it trusts the certificate of our key.
//!
//! "Token Authentication Specification" and "Token Authentication Implementation" of the distribution
//! project: a JWT signed with ES256, its certificate in the header.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::authority::Authority;
use super::odd::{Answer, Odd, Request};
use super::registry::USER;

pub const SERVICE: &str = "registry of the tests";
pub const ISSUER: &str = "tokens of the tests";
/// What the registry forgives of a token's time.
const LEEWAY: u64 = 60;

/// The server. It gives [`USER`] what is asked for, nobody what is in `public/`, and others nothing.
pub struct Tokens {
    pub certificate: String,
    odd: Odd,
    scheme: &'static str,
    /// Seconds that tokens are good.
    pub lifetime: Arc<Mutex<u64>>,
}

struct Signer {
    key: EcdsaKeyPair,
    certificate: String,
}

impl Tokens {
    pub fn start(authority: Option<&Authority>) -> Tokens {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new([]).unwrap().self_signed(&key).unwrap();
        let pkcs8 = key.serialize_der();
        let random = SystemRandom::new();
        let signer = Signer {
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random).unwrap(),
            certificate: STANDARD.encode(certificate.der()),
        };
        let lifetime = Arc::new(Mutex::new(300));
        let good = lifetime.clone();
        let answer = move |request: &Request, _: usize| answer(&signer, request, *good.lock().unwrap());
        let (scheme, odd) = match authority {
            None => ("http", Odd::start(answer)),
            Some(authority) => ("https", Odd::start_tls(authority, answer)),
        };
        Tokens { certificate: certificate.pem(), odd, scheme, lifetime }
    }

    pub fn realm(&self) -> String {
        format!("{}://{}/token", self.scheme, self.odd.host)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.odd.requests("/token")
    }
}

fn answer(signer: &Signer, request: &Request, lifetime: u64) -> Answer {
    let (_, query) = request.path.split_once('?').unwrap();
    let of = |name: &str| {
        let value = query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).unwrap();
        percent_decode_str(value).decode_utf8().unwrap()
    };
    assert_eq!(of("service"), SERVICE);
    let known = format!("Basic {}", STANDARD.encode(format!("{}:{}", USER.0, USER.1)));
    let named = match request.headers.get("authorization") {
        Some(login) if *login == known => true,
        Some(_) => {
            let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"wrong"}]}"#.to_vec();
            return Answer { status: "401 Who".into(), body, ..Answer::default() };
        }
        None => false,
    };
    let scope = of("scope");
    let (name, actions) = scope.strip_prefix("repository:").unwrap().split_once(':').unwrap();
    let access = match named || name.starts_with("public/") {
        true => {
            json!([{ "type": "repository", "name": name, "actions": actions.split(',').collect::<Vec<_>>() }])
        }
        false => json!([]),
    };
    let body = json!({ "token": signer.token(&access, lifetime) }).to_string().into_bytes();
    Answer { status: "200 OK".into(), body, ..Answer::default() }
}

impl Signer {
    /// A token that the registry takes for `lifetime` seconds.
    fn token(&self, access: &Value, lifetime: u64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [self.certificate] });
        let claims = json!({
            "iss": ISSUER, "sub": "", "aud": SERVICE, "jti": "1", "iat": now - LEEWAY, "nbf": now - LEEWAY,
            "exp": now + lifetime - LEEWAY, "access": access,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
