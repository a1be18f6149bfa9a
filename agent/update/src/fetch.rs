//! Stored blocks, fetched by range.
//!
//! Blocks that lie side by side come in one request. Where a server gives fewer bytes than it was asked for,
//! or the transfer breaks off, it goes on behind the last whole block; where it gives no ranges the file is
//! read from its beginning to the last block that is needed. Every block is checked against the map before it
//! is used.

use std::collections::HashSet;
use std::io::Read;

use image_layout::block_map::{Block, BlockMap, Hash};
use image_layout::disk::BLOCK;
use zstd::bulk::Decompressor;

use crate::blocks::hash;
use crate::error::{UpdateError, UpdateErrorKind};
use crate::http::{Http, Ranged, cut_off};

/// Bytes between two wanted blocks that are rather fetched than asked around.
const GAP: u64 = 2048;
/// The most bytes of one request.
const LONGEST: u64 = 4 << 20;

/// A block to fetch: what the map says of it, and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The block.
    pub(crate) block: Block,
    /// Its place in the image.
    pub(crate) index: u64,
}

/// A file of stored blocks.
pub(crate) struct Stored<'a> {
    /// The client.
    pub(crate) http: &'a Http,
    /// Its address.
    pub(crate) url: &'a str,
    /// Its bytes.
    pub(crate) length: u64,
    /// What it is, for messages.
    pub(crate) name: &'a str,
}

/// Where blocks go that have come and been checked: the place in the image, and the bytes.
pub(crate) type Take<'a> = dyn FnMut(u64, &[u8]) -> Result<(), UpdateError> + 'a;

/// How far a request got.
struct Got {
    /// Whole blocks that came.
    blocks: usize,
    /// Why no more came.
    broke: Option<std::io::Error>,
}

/// How many of `wanted`, which are in the order of the file, come in one request.
fn together(wanted: &[Wanted]) -> usize {
    let begin = |w: &Wanted| w.block.stored.offset;
    let end = |w: &Wanted| begin(w) + u64::from(w.block.stored.length);
    let apart = |pair: &[Wanted]| {
        begin(&pair[1]) > end(&pair[0]) + GAP || end(&pair[1]) - begin(&wanted[0]) > LONGEST
    };
    wanted.windows(2).position(apart).map_or(wanted.len(), |last| last + 1)
}

/// The stored blocks that `places` need: hashes, in order, each with a place in the image. `name` is the map's.
pub(crate) fn wanted(map: &BlockMap, name: &str, places: &[(Hash, u64)]) -> Result<Vec<Wanted>, UpdateError> {
    let mut needed: HashSet<&Hash> = places.iter().map(|(hash, _)| hash).collect();
    let stored = (0..).zip(map.blocks()).filter(|(_, block)| block.stored.length > 0);
    let wanted = stored
        .filter(|(_, block)| needed.remove(&block.hash))
        .map(|(index, block)| Wanted { block: *block, index })
        .collect();
    match places.iter().filter(|(hash, _)| needed.contains(hash)).map(|(_, index)| index).min() {
        None => Ok(wanted),
        Some(index) => {
            Err(UpdateError::damaged(format!("`{name}` does not say where block {index} is stored")))
        }
    }
}

/// Where the block of this hash belongs, of `places` in order.
pub(crate) fn places(places: &[(Hash, u64)], hash: &Hash) -> impl Iterator<Item = u64> {
    let from = places.partition_point(|(other, _)| other < hash);
    places[from..].iter().take_while(move |(other, _)| other == hash).map(|(_, index)| *index)
}

impl Stored<'_> {
    /// Fetches blocks, in the order of the file, and hands each over; `fetched` counts bytes as they come.
    pub(crate) fn fetch(
        &self,
        wanted: &[Wanted],
        fetched: &mut dyn FnMut(u64),
        take: &mut Take<'_>,
    ) -> Result<(), UpdateError> {
        let patience = self.http.patience();
        let mut unpacker = Decompressor::new()
            .map_err(|error| UpdateError::local(format!("blocks cannot be unpacked: {error}")))?;
        let (mut left, mut attempt, mut wait) = (wanted, 1, patience.pause);
        while !left.is_empty() {
            let got = self.request(left, &mut unpacker, fetched, take)?;
            left = &left[got.blocks..];
            match got.broke {
                Some(error) if got.blocks == 0 => {
                    if attempt == patience.attempts {
                        return Err(UpdateError::new(
                            UpdateErrorKind::Unreachable,
                            cut_off(self.url, &error),
                        ));
                    }
                    std::thread::sleep(wait);
                    (attempt, wait) = (attempt + 1, wait * 2);
                }
                _ => (attempt, wait) = (1, patience.pause),
            }
        }
        Ok(())
    }

    /// One request for the first of `left`, and as many as come with them.
    fn request(
        &self,
        left: &[Wanted],
        unpacker: &mut Decompressor<'_>,
        fetched: &mut dyn FnMut(u64),
        take: &mut Take<'_>,
    ) -> Result<Got, UpdateError> {
        let group = &left[..together(left)];
        let (from, last) = (group[0].block.stored.offset, group[group.len() - 1].block.stored);
        let to = last.offset + u64::from(last.length);
        let (body, mut at, blocks) = match self.http.range(self.url, from, to, self.length)? {
            Ranged::Part(body) => (body, from, group),
            Ranged::Whole(body) => (body, 0, left),
        };
        let mut reader = Counting { reader: body.into_reader(), fetched };
        for (done, wanted) in blocks.iter().enumerate() {
            let stored = wanted.block.stored;
            let mut bytes = [0; BLOCK as usize];
            let bytes = &mut bytes[..usize::from(stored.length)];
            let read = skip(&mut reader, stored.offset - at).and_then(|()| reader.read_exact(bytes));
            if let Err(error) = read {
                return Ok(Got { blocks: done, broke: Some(error) });
            }
            at = stored.offset + u64::from(stored.length);
            self.unpack(wanted, bytes, unpacker, take)?;
        }
        Ok(Got { blocks: blocks.len(), broke: None })
    }

    /// Hands over the block itself, checked.
    fn unpack(
        &self,
        wanted: &Wanted,
        stored: &[u8],
        unpacker: &mut Decompressor<'_>,
        take: &mut Take<'_>,
    ) -> Result<(), UpdateError> {
        let wrong =
            |what: &str| UpdateError::damaged(format!("block {} of `{}` {what}", wanted.index, self.name));
        let mut unpacked = [0; BLOCK as usize];
        let block = if stored.len() as u64 == BLOCK {
            stored
        } else {
            let length = unpacker
                .decompress_to_buffer(stored, &mut unpacked[..])
                .map_err(|_| wrong("cannot be unpacked"))?;
            &unpacked[..length]
        };
        if block.len() as u64 != BLOCK || hash(block) != wanted.block.hash {
            return Err(wrong("is not what the signed map says"));
        }
        take(wanted.index, block)
    }
}

/// Counts what is read.
struct Counting<'a, R> {
    reader: R,
    fetched: &'a mut dyn FnMut(u64),
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(bytes)?;
        (self.fetched)(read as u64);
        Ok(read)
    }
}

fn skip(reader: &mut impl Read, bytes: u64) -> std::io::Result<()> {
    let skipped = std::io::copy(&mut reader.take(bytes), &mut std::io::sink())?;
    if skipped < bytes { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_layout::block_map::Stored as Place;

    #[test]
    fn neighbours_come_together_and_requests_are_bounded() {
        let wanted = |offset, length| Wanted {
            block: Block { hash: [0; 32], stored: Place { offset, length } },
            index: offset,
        };
        let check = |places: &[(u64, u16)], expect: usize| {
            let all: Vec<Wanted> = places.iter().map(|(o, l)| wanted(*o, *l)).collect();
            assert_eq!(together(&all), expect, "{places:?}");
        };
        check(&[], 0);
        check(&[(0, 10)], 1);
        check(&[(0, 10), (10, 10), (2068, 1), (5000, 1)], 3);
        check(&[(7, 10), (10_000, 10)], 1);
        let long: Vec<(u64, u16)> = (0..2000).map(|n| (n * 4096, 4096)).collect();
        check(&long, 1024);
    }
}
