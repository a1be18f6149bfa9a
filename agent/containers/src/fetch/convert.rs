//! From a layer's blob to its erofs file, or to the one that the store has.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use super::blobs::Blobs;
use super::error::{FetchError, FetchErrorKind, chain};
use super::manifest::LayerDescriptor;
use super::mkfs::{self, MkfsError};
use super::room;
use super::source::Source;
use super::{FetchedLayer, read_meta};
use crate::layer::{self, LayerError, LayerMeta, Parents, ParentsError, Scan};
use crate::{Digest, Limits};

/// Converts the layers of one image, the lowest first.
pub(super) struct Converter<'a> {
    pub(super) staging: &'a Path,
    pub(super) blobs: Blobs,
    pub(super) mkfs: &'a Path,
    /// What the layers to come may still cost.
    pub(super) limits: Limits,
    /// Meta files of the layers done so far, the lowest first.
    pub(super) below: Vec<PathBuf>,
    /// Bytes of these layers.
    pub(super) bytes: u64,
}

impl Converter<'_> {
    /// Makes sure of one layer.
    pub(super) fn layer(
        &mut self,
        source: &mut dyn Source,
        layer: &LayerDescriptor,
        place: &str,
        say: &mut dyn FnMut(&str),
    ) -> Result<FetchedLayer, FetchError> {
        let known = self.known(&layer.diff_id.hex());
        // Damaged knowledge is no knowledge: the layer is made again.
        let (done, meta) = match read_meta(&known) {
            Ok(meta) => {
                say(&format!("{place}: already there"));
                (fetched(layer, layer.diff_id.hex(), &meta, false), known)
            }
            Err(_) => self.convert(source, layer, place, say)?,
        };
        self.count(done.bytes)?;
        self.bytes += done.bytes;
        let beyond = done.bytes.saturating_sub(layer.blob.size.saturating_mul(self.limits.ratio));
        self.limits.free = self.limits.free.saturating_sub(beyond);
        self.below.push(meta);
        Ok(done)
    }

    /// Refuses an image that a layer of `bytes` bytes makes too large.
    fn count(&self, bytes: u64) -> Result<(), FetchError> {
        if self.bytes.saturating_add(bytes) <= self.limits.image {
            return Ok(());
        }
        let message = format!("the image's layers have more than {} bytes", self.limits.image);
        Err(FetchError::new(FetchErrorKind::Limit, message))
    }

    fn known(&self, name: &str) -> PathBuf {
        self.staging.join("known").join(format!("{name}.meta"))
    }

    fn convert(
        &self,
        source: &mut dyn Source,
        layer: &LayerDescriptor,
        place: &str,
        say: &mut dyn FnMut(&str),
    ) -> Result<(FetchedLayer, PathBuf), FetchError> {
        let digest = &layer.blob.digest;
        let blob = self.blobs.making_room(digest, || {
            source.blob(&layer.blob, &self.blobs.path(digest), &mut |far| say(&format!("{place}: {far}")))
        })?;
        let fail = |error: &LayerError| FetchError::layer(place, error);
        let (scan, bytes) = scan(&blob, layer, &self.limits).map_err(|error| fail(&error))?;
        let bytes = bytes.max(scan.bytes());
        self.count(bytes)?;
        let parents = self.parents(&scan, place)?;
        let name = match parents.context() {
            None => layer.diff_id.hex(),
            Some(context) => format!("{}-{}", layer.diff_id.hex(), &context.hex()[..16]),
        };
        let known = self.known(&name);
        let meta = LayerMeta::new(&scan, bytes);
        let done = if name != layer.diff_id.hex() && read_meta(&known).is_ok() {
            (fetched(layer, name, &meta, false), known)
        } else {
            say(&format!("{place}: converting {bytes} bytes"));
            self.blobs.making_room(digest, || {
                room::check(self.staging, scan.room(), &self.limits)?;
                self.make(&blob, layer, &scan, &parents, &name, place)
            })?;
            let path = self.staging.join("layers").join(format!("{name}.meta"));
            write_meta(&path, &meta, &scan)
                .map_err(|error| FetchError::io("failed to write what is known of a layer", &error))?;
            (fetched(layer, name, &meta, true), path)
        };
        Ok(done)
    }

    /// Attributes of directories that the layer leaves out.
    fn parents(&self, scan: &Scan, place: &str) -> Result<Parents, FetchError> {
        let lower = self.below.iter().rev().map(|path| {
            let file = File::open(path).map_err(layer::MetaError::Read)?;
            LayerMeta::read(BufReader::new(file)).map(|(_, lines)| lines)
        });
        Parents::find(scan, lower).map_err(|error| match error {
            ParentsError::Layer(error) => FetchError::layer(place, &error),
            ParentsError::Meta(error) => FetchError::local(&error),
        })
    }

    fn make(
        &self,
        blob: &File,
        layer: &LayerDescriptor,
        scan: &Scan,
        parents: &Parents,
        name: &str,
        place: &str,
    ) -> Result<(), FetchError> {
        let out = self.staging.join("layers").join(format!("{name}.erofs"));
        let seed = parents.context().map_or(layer.diff_id, |context| {
            Digest::of(&[&layer.diff_id.as_bytes()[..], context.as_bytes()].concat())
        });
        let made = mkfs::make(self.mkfs, &out, &self.staging.join("work"), &seed, |pipe| {
            let stream = open(blob, layer, &self.limits, false)?;
            layer::emit(stream, scan, parents, pipe)
        });
        made.map_err(|error| match error {
            MkfsError::Layer(error) => FetchError::layer(place, &error),
            error => {
                let failed = FetchError::new(FetchErrorKind::Local, format!("{place}: {}", chain(&error)));
                match error.is_out_of_memory() {
                    true => failed.hint(format!(
                        "a layer of {} entries may need more memory than the box has",
                        scan.paths()
                    )),
                    false => failed,
                }
            }
        })
    }
}

/// Reads the whole layer once; gives its bytes too.
fn scan(blob: &File, layer: &LayerDescriptor, limits: &Limits) -> Result<(Scan, u64), LayerError> {
    let mut stream = open(blob, layer, limits, true)?;
    let scanned = layer::scan(&mut stream, layer.blob.size, limits);
    let (found, bytes) = stream.finish();
    let scan = scanned?;
    match found {
        Some(found) if found != layer.diff_id => Err(LayerError::DiffId { expected: layer.diff_id, found }),
        _ => Ok((scan, bytes)),
    }
}

fn open(
    blob: &File,
    layer: &LayerDescriptor,
    limits: &Limits,
    hash: bool,
) -> Result<layer::Layer, LayerError> {
    let mut file = blob.try_clone().map_err(LayerError::Read)?;
    file.rewind().map_err(LayerError::Read)?;
    layer::open(file, layer.blob.size, limits, hash)
}

fn fetched(layer: &LayerDescriptor, name: String, meta: &LayerMeta, staged: bool) -> FetchedLayer {
    FetchedLayer { diff_id: layer.diff_id, name, bytes: meta.bytes, opaque_root: meta.opaque_root, staged }
}

fn write_meta(path: &Path, meta: &LayerMeta, scan: &Scan) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    meta.write(scan, &mut file)?;
    file.flush()
}
