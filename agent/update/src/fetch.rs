//! Stored blocks, fetched by range.
//!
//! Blocks that lie side by side come in one request. Where a server gives no ranges the file is read from its
//! beginning to the last block that is needed. Every block is checked against the map before it is used.

use std::io::Read;

use image_layout::block_map::Block;
use image_layout::disk::BLOCK;
use ureq::Body;

use crate::blocks::hash;
use crate::error::{UpdateError, chain};
use crate::http::{Http, Ranged};

/// Bytes between two wanted blocks that are rather fetched than asked around.
const GAP: u64 = 2048;
/// The most bytes of one request.
const LONGEST: u64 = 4 << 20;
/// Attempts at a range whose transfer breaks off.
const ATTEMPTS: u32 = 4;

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
    pub(crate) url: String,
    /// What it is, for messages.
    pub(crate) name: String,
}

/// Groups blocks, which are in the order of the file, into requests.
fn requests(wanted: &[Wanted]) -> Vec<&[Wanted]> {
    let end = |w: &Wanted| w.block.stored.offset + u64::from(w.block.stored.length);
    let mut groups = Vec::new();
    let mut first = 0;
    for next in 1..=wanted.len() {
        let apart = wanted.get(next).is_none_or(|w| {
            let offset = w.block.stored.offset;
            offset > end(&wanted[next - 1]) + GAP || end(w) - wanted[first].block.stored.offset > LONGEST
        });
        if apart && first < next {
            groups.push(&wanted[first..next]);
            first = next;
        }
    }
    groups
}

impl Stored<'_> {
    /// Fetches blocks, in the order of the file, and hands each over; `fetched` counts bytes as they come.
    pub(crate) fn fetch(
        &self,
        wanted: &[Wanted],
        fetched: &mut dyn FnMut(u64),
        take: &mut dyn FnMut(u64, &[u8]) -> Result<(), UpdateError>,
    ) -> Result<(), UpdateError> {
        for group in requests(wanted) {
            let mut left = group;
            for attempt in 1.. {
                let rest = &wanted[position(wanted, left)..];
                match self.request(left, rest, fetched, take)? {
                    Progress::Group => break,
                    Progress::All => return Ok(()),
                    Progress::Broke { done, cause } => {
                        left = &left[done..];
                        if attempt == ATTEMPTS {
                            return Err(UpdateError::damaged(format!("`{}` was cut off: {cause}", self.url)));
                        }
                        std::thread::sleep(std::time::Duration::from_millis(500) * attempt);
                    }
                }
            }
        }
        Ok(())
    }

    /// One request for the blocks of a group; `rest` are these and all after them.
    fn request(
        &self,
        group: &[Wanted],
        rest: &[Wanted],
        fetched: &mut dyn FnMut(u64),
        take: &mut dyn FnMut(u64, &[u8]) -> Result<(), UpdateError>,
    ) -> Result<Progress, UpdateError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(Progress::Group) };
        let from = first.block.stored.offset;
        let to = last.block.stored.offset + u64::from(last.block.stored.length);
        let (body, from, blocks, all) = match self.http.range(&self.url, from, to)? {
            Ranged::Part(body) => (body, from, group, Progress::Group),
            Ranged::Whole(body) => (body, 0, rest, Progress::All),
        };
        match self.read(body, from, blocks, fetched, take)? {
            None => Ok(all),
            Some(broke) => Ok(broke),
        }
    }

    /// Reads blocks from a body that starts at byte `from` of the file; tells where it broke off.
    fn read(
        &self,
        body: Body,
        from: u64,
        blocks: &[Wanted],
        fetched: &mut dyn FnMut(u64),
        take: &mut dyn FnMut(u64, &[u8]) -> Result<(), UpdateError>,
    ) -> Result<Option<Progress>, UpdateError> {
        let mut reader = body.into_reader();
        let mut at = from;
        for (done, wanted) in blocks.iter().enumerate() {
            let stored = wanted.block.stored;
            let gap = stored.offset - at;
            let mut bytes = vec![0; usize::from(stored.length)];
            let read = skip(&mut reader, gap).and_then(|()| reader.read_exact(&mut bytes));
            if let Err(error) = read {
                return Ok(Some(Progress::Broke { done, cause: chain(&error) }));
            }
            fetched(gap + u64::from(stored.length));
            at = stored.offset + u64::from(stored.length);
            take(wanted.index, &self.unpack(wanted, bytes)?)?;
        }
        Ok(None)
    }

    /// The block itself, checked.
    fn unpack(&self, wanted: &Wanted, stored: Vec<u8>) -> Result<Vec<u8>, UpdateError> {
        let wrong =
            |what: &str| UpdateError::damaged(format!("block {} of `{}` {what}", wanted.index, self.name));
        let block = if stored.len() as u64 == BLOCK {
            stored
        } else {
            zstd::bulk::decompress(&stored, BLOCK as usize).map_err(|_| wrong("cannot be unpacked"))?
        };
        if block.len() as u64 != BLOCK || hash(&block) != wanted.block.hash {
            return Err(wrong("is not what the signed map says"));
        }
        Ok(block)
    }
}

/// How far a request got.
enum Progress {
    /// To the end of the group.
    Group,
    /// To the end of everything.
    All,
    /// So many blocks.
    Broke { done: usize, cause: String },
}

/// Where a part of `all` that reaches to the end of its group begins.
fn position(all: &[Wanted], part: &[Wanted]) -> usize {
    let first = part.first().map_or(u64::MAX, |w| w.index);
    all.partition_point(|w| w.index < first)
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
        let check = |places: &[(u64, u16)], expect: &[usize]| {
            let all: Vec<Wanted> = places.iter().map(|(o, l)| wanted(*o, *l)).collect();
            let lengths: Vec<usize> = requests(&all).iter().map(|group| group.len()).collect();
            assert_eq!(lengths, expect, "{places:?}");
        };
        check(&[], &[]);
        check(&[(0, 10)], &[1]);
        check(&[(0, 10), (10, 10), (2068, 1), (5000, 1)], &[3, 1]);
        let long: Vec<(u64, u16)> = (0..2000).map(|n| (n * 4096, 4096)).collect();
        check(&long, &[1024, 976]);
    }
}
