//! User-data as providers deliver it: plain, gzip, base64, and the two nested.

use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;

/// Most bytes of user-data as delivered.
pub const MAX_DELIVERED: usize = 64 * 1024;
/// Most bytes of user-data unpacked.
pub const MAX_UNPACKED: usize = 1024 * 1024;
/// Most wrappings around a document.
const MAX_LAYERS: usize = 4;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// User-data that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More than [`MAX_DELIVERED`] bytes.
    #[error("user-data is larger than {MAX_DELIVERED} bytes")]
    Delivered,
    /// More than [`MAX_UNPACKED`] bytes.
    #[error("user-data is larger than {MAX_UNPACKED} bytes when it is unpacked")]
    Unpacked,
    /// A gzip stream that is broken or cut.
    #[error("user-data is broken gzip")]
    Gzip(#[source] io::Error),
    /// Wrapped again and again.
    #[error("user-data is packed more than {MAX_LAYERS} times")]
    Layers,
}

/// Unpacks user-data. What is neither gzip nor base64 is returned as it is, whatever it holds.
pub fn decode(delivered: &[u8]) -> Result<Vec<u8>, DecodeError> {
    if delivered.len() > MAX_DELIVERED {
        return Err(DecodeError::Delivered);
    }
    unpack(delivered.to_vec())
}

/// The same of what is inside of something that was delivered.
pub(crate) fn unpack(mut data: Vec<u8>) -> Result<Vec<u8>, DecodeError> {
    for _ in 0..MAX_LAYERS {
        data = if data.starts_with(&GZIP) {
            gunzip(&data)?
        } else if let Some(inner) = unbase64(&data) {
            inner
        } else {
            return Ok(data);
        };
    }
    Err(DecodeError::Layers)
}

/// Unpacks at most [`MAX_UNPACKED`] bytes: the rest of a bomb is never made.
fn gunzip(packed: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut data = Vec::new();
    let mut bounded = MultiGzDecoder::new(packed).take(MAX_UNPACKED as u64 + 1);
    bounded.read_to_end(&mut data).map_err(DecodeError::Gzip)?;
    if data.len() > MAX_UNPACKED { Err(DecodeError::Unpacked) } else { Ok(data) }
}

/// The content, if this is base64, however its lines are broken.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let compact: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(compact).ok()
}

/// The content, if this is base64 of gzip or of text. No TOML document is: it would have to have
/// `=` or `[` before its end.
fn unbase64(text: &[u8]) -> Option<Vec<u8>> {
    let inner = base64(text).filter(|inner| !inner.is_empty())?;
    (inner.starts_with(&GZIP) || std::str::from_utf8(&inner).is_ok()).then_some(inner)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const DOCUMENT: &[u8] = b"format = 1\n[box]\nhostname = \"hub1\"\n";

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn base64(data: &[u8]) -> Vec<u8> {
        let text = STANDARD.encode(data);
        let lines: Vec<&[u8]> = text.as_bytes().chunks(76).collect();
        lines.join(&b"\r\n"[..])
    }

    #[test]
    fn however_it_is_packed() {
        for packed in [
            DOCUMENT.to_vec(),
            gzip(DOCUMENT),
            base64(DOCUMENT),
            base64(&gzip(DOCUMENT)),
            gzip(&base64(DOCUMENT)),
            [gzip(&DOCUMENT[..10]), gzip(&DOCUMENT[10..])].concat(),
        ] {
            assert_eq!(decode(&packed).unwrap(), DOCUMENT);
        }
    }

    #[test]
    fn what_is_not_packed_stays_as_it_is() {
        for plain in
            [&b""[..], b" \n", b"abcd", b"#!/bin/sh\n", b"\x00\x01\xff", b"#cloud-config\n", b"a = 1"]
        {
            assert_eq!(decode(plain).unwrap(), plain);
        }
    }

    #[test]
    fn limits_hold() {
        assert!(decode(&vec![b'#'; MAX_DELIVERED]).is_ok());
        assert!(matches!(decode(&vec![b'#'; MAX_DELIVERED + 1]), Err(DecodeError::Delivered)));
        assert_eq!(decode(&gzip(&vec![b'#'; MAX_UNPACKED])).unwrap().len(), MAX_UNPACKED);
        assert!(matches!(decode(&gzip(&vec![b'#'; MAX_UNPACKED + 1])), Err(DecodeError::Unpacked)));
        let bomb = gzip(&vec![0; 40 << 20]);
        assert!(bomb.len() <= MAX_DELIVERED, "small enough to be delivered");
        assert!(matches!(decode(&bomb), Err(DecodeError::Unpacked)));
        let mut nested = DOCUMENT.to_vec();
        for _ in 0..MAX_LAYERS {
            nested = gzip(&nested);
        }
        assert!(matches!(decode(&nested), Err(DecodeError::Layers)));
    }

    #[test]
    fn broken_gzip_is_told() {
        let good = gzip(DOCUMENT);
        assert!(matches!(decode(&good[..good.len() - 9]), Err(DecodeError::Gzip(_))));
        assert!(matches!(decode(&[0x1f, 0x8b, 0, 0]), Err(DecodeError::Gzip(_))));
        let mut flipped = good;
        let last = flipped.len() - 5;
        flipped[last] ^= 1;
        assert!(matches!(decode(&flipped), Err(DecodeError::Gzip(_))));
    }
}
