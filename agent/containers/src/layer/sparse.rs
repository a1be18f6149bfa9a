//! Sparse files: the map of what is stored, in each of the formats that GNU tar writes.
//!
//! Invariant of a [`Map`]: its pieces are sorted, do not overlap, lie inside the file, and add up to
//! exactly what the stream holds, so expanding it can neither read into the next entry nor run long.

use super::error::Problem;
use super::pax::decimal;

/// Pieces that a map may have; GNU tar writes one for each run of data.
const PIECES: usize = 1 << 18;

/// Where the stored bytes of a sparse file belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map {
    /// Offset and length of each piece.
    pub(super) pieces: Vec<(u64, u64)>,
}

impl Map {
    /// Checks a map of a file of `size` bytes, of which the stream holds `stored`.
    pub(super) fn new(pieces: Vec<(u64, u64)>, size: u64, stored: u64) -> Result<Map, Problem> {
        if pieces.len() > PIECES {
            return Err(Problem::Sparse);
        }
        let (mut end, mut total) = (0, 0u64);
        for &(offset, length) in &pieces {
            let next = offset.checked_add(length).ok_or(Problem::Sparse)?;
            if offset < end || next > size {
                return Err(Problem::Sparse);
            }
            (end, total) = (next, total + length);
        }
        if total != stored {
            return Err(Problem::Sparse);
        }
        Ok(Map { pieces })
    }
}

/// Whether one more piece may be added.
pub(super) fn room(pieces: &[(u64, u64)]) -> Result<(), Problem> {
    if pieces.len() < PIECES { Ok(()) } else { Err(Problem::Sparse) }
}

/// Reads the map that PAX format 1.0 puts before the content: lines of decimal numbers, the first the
/// count of pieces, in whole blocks. `block` gives the next 512 bytes. Returns the pieces and how many
/// bytes the map took.
pub(super) fn leading_map<E: From<Problem>>(
    mut block: impl FnMut() -> Result<[u8; 512], E>,
) -> Result<(Vec<(u64, u64)>, u64), E> {
    let mut lines = Lines { text: Vec::new(), taken: 0 };
    let count = lines.number(&mut block)?;
    if count > PIECES as u64 {
        return Err(Problem::Sparse.into());
    }
    let mut pieces = Vec::new();
    for _ in 0..count {
        pieces.push((lines.number(&mut block)?, lines.number(&mut block)?));
    }
    Ok((pieces, lines.taken))
}

struct Lines {
    text: Vec<u8>,
    taken: u64,
}

impl Lines {
    fn number<E: From<Problem>>(
        &mut self,
        block: &mut impl FnMut() -> Result<[u8; 512], E>,
    ) -> Result<u64, E> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let number = decimal(&self.text[..end]).map_err(|_| Problem::Sparse)?;
                self.text.drain(..=end);
                return Ok(number);
            }
            if self.text.len() > 32 {
                return Err(Problem::Sparse.into());
            }
            self.text.extend(block()?);
            self.taken += 512;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_checked() {
        for (pieces, size, stored, good) in [
            (vec![], 0, 0, true),
            (vec![(0, 5), (10, 5), (20, 0)], 20, 10, true),
            (vec![(0, 5)], 4, 5, false),
            (vec![(0, 5), (4, 1)], 10, 6, false),
            (vec![(5, 1), (0, 1)], 10, 2, false),
            (vec![(0, 5)], 10, 4, false),
            (vec![(u64::MAX, 2)], 10, 2, false),
        ] {
            assert_eq!(Map::new(pieces.clone(), size, stored).is_ok(), good, "{pieces:?}");
        }
        let many = vec![(0, 0); PIECES + 1];
        assert_eq!(Map::new(many, 0, 0), Err(Problem::Sparse));
    }

    #[test]
    fn the_leading_map_of_format_1_0() {
        let read = |text: &str| {
            let mut blocks = text.as_bytes().chunks(512);
            leading_map(|| {
                let mut block = [0; 512];
                let chunk = blocks.next().ok_or(Problem::Sparse)?;
                block[..chunk.len()].copy_from_slice(chunk);
                Ok::<_, Problem>(block)
            })
        };
        assert_eq!(read("2\n0\n5\n10\n7\n"), Ok((vec![(0, 5), (10, 7)], 512)));
        let long: String = "100\n".chars().chain((0..100).flat_map(|_| "1000\n2000\n".chars())).collect();
        assert_eq!(read(&long).unwrap().1, 1024);
        for text in ["", "x\n", "2\n0\n", "9999999\n", "1\n-1\n5\n", &"1".repeat(600)] {
            assert_eq!(read(text), Err(Problem::Sparse), "{text}");
        }
    }
}
