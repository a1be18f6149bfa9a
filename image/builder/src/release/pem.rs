//! ed25519 keys in PEM (RFC 7468), as PKCS#8 (RFC 8410): what `openssl genpkey -algorithm ed25519` writes too.
//!
//! A secret is in no error and in no `Debug`.

use pem::{EncodeConfig, LineEnding, Pem};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::Ed25519KeyPair;

/// PKCS#8 version 1 around a seed of 32 bytes.
const PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const TAG: &str = "PRIVATE KEY";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PemError {
    /// It is something else.
    #[error("it is no ed25519 key in PEM (PKCS#8)")]
    Syntax,
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// Makes a key; the text is secret.
pub(crate) fn generate() -> Result<String, PemError> {
    let mut der = PREFIX.to_vec();
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| PemError::Random)?;
    der.extend_from_slice(&seed);
    Ok(pem::encode_config(&Pem::new(TAG, der), EncodeConfig::new().set_line_ending(LineEnding::LF)))
}

/// Reads a key.
pub(crate) fn parse(text: &str) -> Result<Ed25519KeyPair, PemError> {
    let block = pem::parse(text).ok().filter(|block| block.tag() == TAG).ok_or(PemError::Syntax)?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(block.contents()).map_err(|_| PemError::Syntax)
}

#[cfg(test)]
mod tests {
    use ring::signature::KeyPair;

    use super::*;

    #[test]
    fn reads_what_it_makes_and_what_openssl_makes() {
        let made = generate().unwrap();
        assert_eq!(made.lines().count(), 3);
        parse(&made).unwrap();
        assert_ne!(made, generate().unwrap());
        // RFC 8410, section 10.3.
        let known = "-----BEGIN PRIVATE KEY-----\n\
                     MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                     -----END PRIVATE KEY-----";
        let public = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        let hex: String =
            parse(known).unwrap().public_key().as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, public);
        for bad in [
            "",
            "-----BEGIN PRIVATE KEY-----",
            &known.replace("MC4C", "MC4D"),
            &known.replace("PRIVATE", "PUBLIC"),
            "a\nb",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
