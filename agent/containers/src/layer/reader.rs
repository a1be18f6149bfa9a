//! A tar stream, entry by entry: headers, their checksums and extensions, content with holes filled in.
//!
//! Invariant: every byte that decides where the next header lies is checked before it is used, and no
//! header makes the reader keep more than [`EXTENSION`] bytes. Content that is not read is skipped.
//!
//! Reads v7, ustar, GNU and PAX. Deliberately absent: multi-volume archives, incremental dumps, and any
//! guess about a header that makes no sense.

use std::io::{self, Read};

use tar::Header;

use super::entry::{Entry, printable};
use super::error::{LayerError, Problem};
use super::header::{Fields, number};
use super::path::PATH;
use super::pax::{self, Records};
use super::sparse::{self, Map};

/// Largest extended header, in bytes: room for the map of a sparse file.
const EXTENSION: u64 = 1 << 20;
const BLOCK: usize = 512;

/// Reads the entries of a tar stream.
pub struct TarReader<R> {
    stream: R,
    number: u64,
    data: Data,
}

/// What is left of the current entry's content.
#[derive(Default)]
struct Data {
    /// Bytes still in the stream.
    stored: u64,
    /// Zeroes after them, up to a whole block.
    padding: u64,
    /// How far the content was read, holes included, and where it ends.
    position: u64,
    size: u64,
    /// Pieces of a sparse file, and the one that is read now.
    map: Option<Map>,
    piece: usize,
}

/// Extension headers that wait for the entry they describe.
#[derive(Default)]
struct Pending {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Records>,
}

impl<R: Read> TarReader<R> {
    /// Reads `stream` from its beginning.
    pub fn new(stream: R) -> TarReader<R> {
        TarReader { stream, number: 0, data: Data::default() }
    }

    /// The next entry, or `None` at the archive's end, after which the stream has been read to its own
    /// end. Content of the entry before that was not read is skipped.
    pub fn entry(&mut self) -> Result<Option<Entry>, LayerError> {
        let mut pending = Pending::default();
        loop {
            self.skip()?;
            self.number += 1;
            let Some(header) = self.header()? else {
                if pending.path.is_some() || pending.link.is_some() || pending.pax.is_some() {
                    return Err(self.problem(b"", Problem::Dangling));
                }
                return Ok(None);
            };
            let kind = header.as_bytes()[156];
            if !matches!(kind, b'L' | b'K' | b'x' | b'X' | b'g') {
                return self.finish(&header, pending).map(Some);
            }
            let named = header.path_bytes().into_owned();
            let bytes = self.extension(&header, kind)?;
            self.number -= 1;
            let taken = match kind {
                b'L' => once(&mut pending.path, bytes),
                b'K' => once(&mut pending.link, bytes),
                b'g' => pax::check_global(&bytes),
                _ => pax::parse(&bytes).and_then(|records| once(&mut pending.pax, records)),
            };
            taken.map_err(|problem| self.problem(&named, problem))?;
        }
    }

    /// Reads the current entry's content into `buffer`; 0 at its end.
    pub fn content(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        let left = self.data.size - self.data.position;
        let mut length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(0);
        }
        if let Some(map) = &self.data.map {
            let position = self.data.position;
            while map.pieces.get(self.data.piece).is_some_and(|(at, size)| at + size <= position) {
                self.data.piece += 1;
            }
            let (hole_end, piece_end) = match map.pieces.get(self.data.piece) {
                Some((at, size)) => (*at, at + size),
                None => (self.data.size, self.data.size),
            };
            let until = if position < hole_end { hole_end } else { piece_end };
            length = length.min(usize::try_from(until - position).unwrap_or(usize::MAX));
            if position < hole_end {
                buffer[..length].fill(0);
                self.data.position += length as u64;
                return Ok(length);
            }
        }
        let read = read_some(&mut self.stream, &mut buffer[..length])?;
        if read == 0 {
            return Err(LayerError::Truncated { number: self.number });
        }
        self.data.position += read as u64;
        self.data.stored -= read as u64;
        Ok(read)
    }

    /// Skips what is left of the current entry.
    fn skip(&mut self) -> Result<(), LayerError> {
        let mut left = self.data.stored + self.data.padding;
        self.data = Data::default();
        let mut scratch = [0; 16384];
        while left > 0 {
            let length = left.min(scratch.len() as u64) as usize;
            let read = read_some(&mut self.stream, &mut scratch[..length])?;
            if read == 0 {
                return Err(LayerError::Truncated { number: self.number });
            }
            left -= read as u64;
        }
        Ok(())
    }

    /// The next header with its checksum verified, or `None` at the archive's end.
    fn header(&mut self) -> Result<Option<Header>, LayerError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block == [0; BLOCK] {
            return match self.block()? {
                Some(next) if next != [0; BLOCK] => Err(self.problem(b"", Problem::LoneZeroBlock)),
                _ => {
                    io::copy(&mut self.stream, &mut io::sink()).map_err(LayerError::from)?;
                    Ok(None)
                }
            };
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum: u64 = block[..148].iter().chain(&block[156..]).map(|byte| u64::from(*byte)).sum();
        if number(&block[148..156]) != Some(sum + 8 * u64::from(b' ')) {
            return Err(self.problem(&header.path_bytes(), Problem::Checksum));
        }
        Ok(Some(header))
    }

    /// The next block; `None` at the stream's end.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, LayerError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match read_some(&mut self.stream, &mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(LayerError::Truncated { number: self.number }),
                read => filled += read,
            }
        }
        Ok(Some(block))
    }

    fn whole_block(&mut self) -> Result<[u8; BLOCK], LayerError> {
        self.block()?.ok_or(LayerError::Truncated { number: self.number })
    }

    /// The content of an extension header.
    fn extension(&mut self, header: &Header, kind: u8) -> Result<Vec<u8>, LayerError> {
        let name = header.path_bytes().into_owned();
        let size = number(&header.as_bytes()[124..136])
            .ok_or_else(|| self.problem(&name, Problem::Number("size")))?;
        let long_name = matches!(kind, b'L' | b'K');
        let limit = if long_name { PATH as u64 + 1 } else { EXTENSION };
        if size > limit {
            let problem = if long_name { Problem::LongName } else { Problem::LongHeader };
            return Err(self.problem(&name, problem));
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            bytes.extend(self.whole_block()?);
        }
        bytes.truncate(size as usize);
        if long_name {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            bytes.truncate(end);
        }
        Ok(bytes)
    }

    /// Makes the entry of a header and what was said about it before.
    fn finish(&mut self, header: &Header, pending: Pending) -> Result<Entry, LayerError> {
        let pax = pending.pax.unwrap_or_default();
        let path = pax.path.clone().or(pending.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let path = pax.sparse.name.clone().unwrap_or(path);
        let link =
            pax.link.clone().or(pending.link).unwrap_or_else(|| {
                header.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default()
            });
        let fields = Fields::read(header, &pax, &path).map_err(|problem| self.problem(&path, problem))?;
        self.data.stored = fields.stored;
        self.data.padding = fields.stored.wrapping_neg() % BLOCK as u64;
        let size = self.sparse(header, &pax, fields.stored).map_err(|error| match error {
            SparseError::Problem(problem) => self.problem(&path, problem),
            SparseError::Layer(error) => error,
        })?;
        self.data.size = size;
        Ok(Entry {
            number: self.number,
            path,
            link,
            kind: fields.kind,
            mode: fields.mode,
            uid: fields.uid,
            gid: fields.gid,
            mtime: fields.mtime,
            device: fields.device,
            size,
            xattrs: pax.xattrs,
        })
    }

    /// Reads the map of a sparse file, if it is one, and gives the content's size.
    fn sparse(&mut self, header: &Header, pax: &Records, stored: u64) -> Result<u64, SparseError> {
        let said = &pax.sparse;
        let (pieces, size) = if header.as_bytes()[156] == b'S' {
            self.old_gnu_map(header)?
        } else if !said.any() {
            return Ok(stored);
        } else {
            let size = said.size.ok_or(Problem::Sparse)?;
            match (said.major.unwrap_or(0), &said.map) {
                (0, Some(map)) => (map.clone(), size),
                (1, None) if said.minor.unwrap_or(0) == 0 => {
                    let (pieces, taken) =
                        sparse::leading_map(|| self.whole_block().map_err(SparseError::Layer))?;
                    self.data.stored = stored.checked_sub(taken).ok_or(Problem::Sparse)?;
                    (pieces, size)
                }
                _ => return Err(Problem::Sparse.into()),
            }
        };
        self.data.map = Some(Map::new(pieces, size, self.data.stored)?);
        Ok(size)
    }

    /// GNU's old format: four pieces in the header, then blocks of 21.
    fn old_gnu_map(&mut self, header: &Header) -> Result<(Vec<(u64, u64)>, u64), SparseError> {
        let block = header.as_bytes();
        let size = number(&block[483..495]).ok_or(Problem::Number("realsize"))?;
        let mut pieces = Vec::new();
        take_pieces(&block[386..482], &mut pieces)?;
        let mut more = block[482] != 0;
        while more {
            let block = self.whole_block().map_err(SparseError::Layer)?;
            take_pieces(&block[..504], &mut pieces)?;
            more = block[504] != 0;
        }
        Ok((pieces, size))
    }

    fn problem(&self, name: &[u8], problem: Problem) -> LayerError {
        LayerError::Entry { number: self.number, name: printable(name), problem }
    }
}

enum SparseError {
    Problem(Problem),
    Layer(LayerError),
}

impl From<Problem> for SparseError {
    fn from(problem: Problem) -> SparseError {
        SparseError::Problem(problem)
    }
}

/// Appends the pairs of 12-byte numbers of an old GNU map; an empty offset ends it.
fn take_pieces(bytes: &[u8], pieces: &mut Vec<(u64, u64)>) -> Result<(), Problem> {
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        sparse::room(pieces)?;
        let offset = number(&pair[..12]).ok_or(Problem::Sparse)?;
        pieces.push((offset, number(&pair[12..]).ok_or(Problem::Sparse)?));
    }
    Ok(())
}

fn once<T>(field: &mut Option<T>, value: T) -> Result<(), Problem> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::Twice),
    }
}

fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> Result<usize, LayerError> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(LayerError::from),
        }
    }
}
