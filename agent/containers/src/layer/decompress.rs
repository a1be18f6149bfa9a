//! From a blob to the tar stream in it: gzip, zstd or plain, told apart by their first bytes.
//!
//! Invariant: no more than the limits is ever decompressed, and a stream that grows beyond all measure
//! ends early. The media type is not consulted: registries hold layers whose type is wrong, and what
//! counts is the digest of what comes out.

use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::error::LayerError;
use crate::{Digest, Limits};

/// Largest window of a zstd stream, as a power of two: 64 MiB, what `zstd --ultra -21` uses.
const ZSTD_WINDOW: u32 = 26;

/// A layer's tar stream, counted and hashed while it is read.
pub struct Layer {
    stream: Box<dyn Read>,
    hasher: Option<Sha256>,
    bytes: u64,
    limit: u64,
    /// Bytes after which the stream counts as a bomb, and the ratio to name then.
    bomb: u64,
    ratio: u64,
}

impl Layer {
    /// What was read: its digest (the layer's diff-id once read to the end) and its length.
    /// The digest is there only when asked for in [`open`].
    pub fn finish(self) -> (Option<Digest>, u64) {
        (self.hasher.map(Digest::finish), self.bytes)
    }
}

/// Opens a blob of `size` bytes; `hash`: whether to compute the digest of what comes out.
pub fn open(blob: impl Read + 'static, size: u64, limits: &Limits, hash: bool) -> Result<Layer, LayerError> {
    let mut blob = BufReader::with_capacity(1 << 16, blob);
    let mut magic = Vec::new();
    (&mut blob).take(4).read_to_end(&mut magic).map_err(LayerError::Read)?;
    let whole = io::Cursor::new(magic.clone()).chain(blob);
    let stream: Box<dyn Read> = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let mut decoder = zstd::Decoder::with_buffer(BufReader::new(whole)).map_err(LayerError::Read)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(LayerError::Read)?;
            Box::new(decoder)
        }
        _ => Box::new(whole),
    };
    Ok(Layer {
        stream,
        hasher: hash.then(Sha256::new),
        bytes: 0,
        limit: limits.layer,
        bomb: limits.grown(size),
        ratio: limits.ratio,
    })
}

impl Read for Layer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.bytes += read as u64;
        if self.bytes > self.limit {
            return Err(LayerError::Limit { what: "bytes", limit: self.limit }.into());
        }
        if self.bytes > self.bomb {
            return Err(LayerError::Bomb { ratio: self.ratio }.into());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(blob: Vec<u8>, limits: &Limits) -> Result<Vec<u8>, LayerError> {
        let size = blob.len() as u64;
        let mut layer = open(io::Cursor::new(blob), size, limits, true)?;
        let mut bytes = Vec::new();
        layer.read_to_end(&mut bytes).map_err(LayerError::from)?;
        assert_eq!(layer.finish(), (Some(Digest::of(&bytes)), bytes.len() as u64));
        Ok(bytes)
    }

    #[test]
    fn each_compression_gives_the_same_bytes() {
        let text = b"some text, some more text".repeat(1000);
        let limits = Limits::default();
        assert_eq!(read(text.clone(), &limits).unwrap(), text);
        assert_eq!(read(gzip(&text), &limits).unwrap(), text);
        assert_eq!(read([gzip(&text[..50]), gzip(&text[50..])].concat(), &limits).unwrap(), text);
        assert_eq!(read(zstd::encode_all(&text[..], 3).unwrap(), &limits).unwrap(), text);
        assert_eq!(read(Vec::new(), &limits).unwrap(), b"");
    }

    #[test]
    fn broken_streams_are_errors() {
        let whole = gzip(&b"text".repeat(1000));
        let mut flipped = whole.clone();
        let last = flipped.len() - 5;
        flipped[last] ^= 1;
        for blob in [whole[..whole.len() - 1].to_vec(), flipped, [whole, b"junk".to_vec()].concat()] {
            assert!(matches!(read(blob, &Limits::default()), Err(LayerError::Read(_))));
        }
    }

    #[test]
    fn a_stream_that_grows_too_much_ends_early() {
        let zeroes = vec![0; 1 << 20];
        let limits = Limits { layer: 1000, ..Limits::default() };
        assert!(matches!(read(gzip(&zeroes), &limits), Err(LayerError::Limit { limit: 1000, .. })));
        let limits = Limits { free: 1 << 16, ratio: 10, ..Limits::default() };
        assert!(matches!(read(gzip(&zeroes), &limits), Err(LayerError::Bomb { ratio: 10 })));
        let limits = Limits { free: 1 << 20, ratio: 0, ..Limits::default() };
        assert_eq!(read(gzip(&zeroes), &limits).unwrap().len(), 1 << 20);
    }

    #[test]
    fn a_zstd_window_that_would_take_much_memory_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.long_distance_matching(true).unwrap();
        encoder.write_all(b"text").unwrap();
        let blob = encoder.finish().unwrap();
        assert!(matches!(read(blob, &Limits::default()), Err(LayerError::Read(_))));
    }
}
