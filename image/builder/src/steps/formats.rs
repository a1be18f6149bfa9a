//! The forms in which a disk is delivered: raw, gzip, qcow2.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use flate2::{Compress, Compression, FlushCompress};
use rayon::prelude::*;

use crate::tools::Tools;

/// A form of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The disk as it is, sparse.
    Raw,
    /// The same through gzip.
    #[value(name = "raw.gz")]
    RawGz,
    /// QEMU's format, compressed with zlib.
    Qcow2,
}

impl Format {
    /// Of the file it is written to.
    pub fn file_name(self) -> &'static str {
        match self {
            Format::Raw => "holdfast.raw",
            Format::RawGz => "holdfast.raw.gz",
            Format::Qcow2 => "holdfast.qcow2",
        }
    }
}

const CHUNK: usize = 4 << 20;
const LEVEL: u32 = 9;

/// Writes `from` as one gzip member (RFC 1952) without name or time. Chunks are compressed side by side,
/// each ending at a byte boundary as after a sync flush, so that the bytes do not depend on how many
/// processors there are.
pub fn gzip(from: &Path, to: &Path) -> io::Result<()> {
    let mut input = File::open(from)?;
    let mut output = io::BufWriter::new(File::create_new(to)?);
    output.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255])?;
    let mut checksum = crc32fast::Hasher::new();
    let mut length = 0u64;
    // Most of a new disk is this.
    let empty = vec![0u8; CHUNK];
    let zeroes = (&empty, deflate(&empty)?);
    let batch = rayon::current_num_threads() * 2;
    loop {
        let mut chunks = Vec::with_capacity(batch);
        for _ in 0..batch {
            let mut chunk = Vec::with_capacity(CHUNK);
            (&mut input).take(CHUNK as u64).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                break;
            }
            chunks.push(chunk);
        }
        if chunks.is_empty() {
            break;
        }
        let pack = |chunk: &Vec<u8>| if chunk == zeroes.0 { Ok(zeroes.1.clone()) } else { deflate(chunk) };
        let packed: Vec<Packed> = chunks.par_iter().map(pack).collect::<io::Result<_>>()?;
        for (bytes, sum) in packed {
            output.write_all(&bytes)?;
            checksum.combine(&sum);
        }
        length += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
    }
    // A last, empty block with fixed codes.
    output.write_all(&[0x03, 0x00])?;
    output.write_all(&checksum.finalize().to_le_bytes())?;
    output.write_all(&(length as u32).to_le_bytes())?;
    output.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Deflate blocks of a chunk, none of them marked as the last, and the chunk's checksum.
type Packed = (Vec<u8>, crc32fast::Hasher);

fn deflate(chunk: &[u8]) -> io::Result<Packed> {
    let mut compress = Compress::new(Compression::new(LEVEL), false);
    let mut out = Vec::with_capacity(chunk.len() / 2 + 1024);
    loop {
        let done = compress.total_in() as usize;
        out.reserve(64 * 1024);
        compress.compress_vec(&chunk[done..], &mut out, FlushCompress::Sync).map_err(io::Error::other)?;
        if compress.total_in() as usize == chunk.len() && out.len() < out.capacity() {
            break;
        }
    }
    let mut sum = crc32fast::Hasher::new();
    sum.update(chunk);
    Ok((out, sum))
}

/// Writes `from` as qcow2, by `qemu-img` of the tools.
pub fn qcow2(tools: &Tools, from: &Path, to: &Path) -> Result<()> {
    let mut command = tools.command("qemu-img")?;
    command.args(["convert", "-c", "-m", "1", "-f", "raw", "-O", "qcow2"]);
    command.args(["-o", "compat=1.1,compression_type=zlib"]).arg(from).arg(to);
    super::run(command, "qemu-img").with_context(|| format!("failed to write `{}`", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &[u8]) {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("a.gz"));
        std::fs::write(&from, content).unwrap();
        gzip(&from, &to).unwrap();
        let packed = std::fs::read(&to).unwrap();
        let mut plain = Vec::new();
        // A decoder for one member: everything must be in the first.
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut plain).unwrap();
        assert!(plain == content, "{} bytes", content.len());
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let again = folder.path().join("again.gz");
        one.install(|| gzip(&from, &again)).unwrap();
        assert!(std::fs::read(again).unwrap() == packed, "the same with one thread");
    }

    #[test]
    fn gzip_is_one_member_and_does_not_depend_on_threads() {
        check(b"");
        check(b"x");
        let mut noise = 1u32;
        let mixed: Vec<u8> = (0..2 * CHUNK + 77)
            .map(|i| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if i % 3 == 0 { (noise >> 24) as u8 } else { (i / 1000) as u8 }
            })
            .collect();
        check(&mixed);
        check(&vec![0; CHUNK]);
    }
}
