//! What is kept of a layer beside its erofs file: what later layers and the image need to know of it.
//!
//! A text of lines, so that a layer of a million directories is written and read without keeping it:
//! first a JSON header, then `d MODE UID GID PATH[ NAME=VALUE]…` for each directory that the layer has an
//! entry for and `h PATH` for each path whose lower version it hides, last `end`. Bytes other than plain
//! ASCII are written as `%XX`.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::parents::Attributes;
use super::scan::{ACCOUNTS, Scan};
use super::tree::State;

/// Longest line that is read, in bytes.
const LINE: u64 = 16 << 20;

/// The header of a layer's meta file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerMeta {
    /// Version of this format.
    pub format: u32,
    /// Bytes of the layer's tar stream, or of its files where holes make these more.
    pub bytes: u64,
    /// Whether the layer hides everything below it.
    pub opaque_root: bool,
    /// What the layer says of `/etc/passwd`.
    pub passwd: AccountFiles,
    /// What the layer says of `/etc/group`.
    pub group: AccountFiles,
}

/// What a layer says of a file that names users or groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountFiles {
    /// Nothing: the layer below counts.
    Below,
    /// There is none.
    Gone,
    /// It has this content.
    Text(String),
}

/// A line of a meta file.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A directory of the layer.
    Directory {
        /// Its path; empty for the root.
        path: Vec<u8>,
        /// Its attributes.
        attributes: Attributes,
    },
    /// What lower layers have at this path is gone.
    Hides {
        /// The path; empty for the root.
        path: Vec<u8>,
    },
}

/// A meta file is not usable.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum MetaError {
    #[error("failed to read what is known of a layer")]
    Read(#[source] io::Error),
    #[error("what is known of a layer is damaged: line {0}")]
    Damaged(u64),
    #[error("what is known of a layer is of format {0}, which is not known")]
    Format(u32),
}

impl LayerMeta {
    /// The current format.
    pub const FORMAT: u32 = 1;

    /// Describes a layer of `bytes` bytes.
    pub fn new(scan: &Scan, bytes: u64) -> LayerMeta {
        LayerMeta {
            format: LayerMeta::FORMAT,
            bytes,
            opaque_root: scan.opaque_root(),
            passwd: account(scan, 0),
            group: account(scan, 1),
        }
    }

    /// Writes the whole file.
    pub fn write(&self, scan: &Scan, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")?;
        let tree = &scan.tree;
        for node in 0..tree.len() {
            if let State::Directory(index) = tree.state(node) {
                let (directory, xattrs) = tree.directory(index);
                let attributes = Attributes {
                    mode: directory.mode,
                    uid: directory.uid,
                    gid: directory.gid,
                    xattrs: xattrs.to_vec(),
                };
                out.write_all(&directory_line(&tree.path(node), &attributes))?;
            }
            if tree.hides(node) {
                writeln!(out, "h {}", escape(&tree.path(node)))?;
            }
        }
        out.write_all(b"end\n")?;
        out.flush()
    }

    /// Reads the header and gives the lines after it.
    pub fn read<R: BufRead>(
        mut file: R,
    ) -> Result<(LayerMeta, impl Iterator<Item = Result<Line, MetaError>>), MetaError> {
        let header = line(&mut file)?.ok_or(MetaError::Damaged(1))?;
        let meta: LayerMeta = serde_json::from_str(&header).map_err(|_| MetaError::Damaged(1))?;
        if meta.format != LayerMeta::FORMAT {
            return Err(MetaError::Format(meta.format));
        }
        let (mut number, mut ended) = (1, false);
        let lines = std::iter::from_fn(move || {
            if ended {
                return None;
            }
            number += 1;
            let parsed = match line(&mut file) {
                Err(error) => Err(error),
                Ok(Some(text)) if text == "end" => {
                    ended = true;
                    return None;
                }
                Ok(text) => text.as_deref().and_then(parse).ok_or(MetaError::Damaged(number)),
            };
            ended = parsed.is_err();
            Some(parsed)
        });
        Ok((meta, lines))
    }
}

fn account(scan: &Scan, index: usize) -> AccountFiles {
    let parts = ACCOUNTS[index];
    if let Some(content) = scan.account(index) {
        return AccountFiles::Text(String::from_utf8_lossy(content).into_owned());
    }
    let tree = &scan.tree;
    let hidden = (0..=parts.len())
        .filter_map(|length| tree.lookup(&parts[..length]))
        .any(|node| tree.hides(node) || matches!(tree.state(node), State::Other(_)));
    if hidden { AccountFiles::Gone } else { AccountFiles::Below }
}

/// The line of a directory.
pub(super) fn directory_line(path: &[u8], attributes: &Attributes) -> Vec<u8> {
    let Attributes { mode, uid, gid, xattrs } = attributes;
    let mut text = format!("d {mode:o} {uid} {gid} {}", escape(path));
    for (name, value) in xattrs {
        text.push_str(&format!(" {}={}", escape(name), escape(value)));
    }
    text.push('\n');
    text.into_bytes()
}

fn line(file: &mut impl BufRead) -> Result<Option<String>, MetaError> {
    let mut text = String::new();
    let mut limited = io::Read::take(file, LINE);
    let read = limited.read_line(&mut text).map_err(MetaError::Read)?;
    if read == 0 || text.pop() != Some('\n') {
        return Ok(None);
    }
    Ok(Some(text))
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    match words.next()? {
        "d" => {
            let mode = u32::from_str_radix(words.next()?, 8).ok()?;
            let uid = words.next()?.parse().ok()?;
            let gid = words.next()?.parse().ok()?;
            let path = unescape(words.next()?)?;
            let xattrs = words
                .map(|word| {
                    let (name, value) = word.split_once('=')?;
                    Some((unescape(name)?, unescape(value)?))
                })
                .collect::<Option<Vec<_>>>()?;
            Some(Line::Directory { path, attributes: Attributes { mode, uid, gid, xattrs } })
        }
        "h" => {
            let path = unescape(words.next()?)?;
            words.next().is_none().then_some(Line::Hides { path })
        }
        _ => None,
    }
}

fn escape(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'%' | b'=' => {
                let _ = write!(text, "%{byte:02x}");
            }
            b'!'..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "%{byte:02x}");
            }
        }
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    Some(bytes)
}
