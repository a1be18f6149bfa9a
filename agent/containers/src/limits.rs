//! What a foreign image may cost at most.

use std::time::Duration;

/// Upper bounds of an image and its layers. [`Limits::default`] is what a box uses; tests use less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a manifest, of an index and of an image's configuration.
    pub document: u64,
    /// Layers of an image.
    pub layers: usize,
    /// Entries of a layer, parents that it leaves out and ignored entries included.
    pub entries: u32,
    /// Bytes of a layer once decompressed; and once more for the content of its files, which may be
    /// larger where they are sparse.
    pub layer: u64,
    /// Bytes of all layers of an image, the larger of the two counted of each.
    pub image: u64,
    /// Bytes of all different file names of a layer.
    pub names: usize,
    /// Bytes of all extended attributes of a layer's directories.
    pub xattrs: usize,
    /// Directories above an entry.
    pub depth: usize,
    /// Names that `mkfs.erofs` compares while it looks for the places of a layer's entries.
    pub comparisons: u64,
    /// Bytes, decompressed or of files, that an image may have whatever its compressed size is.
    pub free: u64,
    /// Bytes for each compressed one beyond that.
    pub ratio: u64,
    /// Bytes of the disk that are left to everything else on the box.
    pub reserve: u64,
    /// How often a request is tried.
    pub attempts: u32,
    /// Time before the second try; doubled each time.
    pub pause: Duration,
    /// Longest time before a try that a server may ask for; one that asks for more is not tried again.
    pub wait: Duration,
}

impl Limits {
    /// What a blob of `size` bytes may grow to.
    pub fn grown(&self, size: u64) -> u64 {
        size.saturating_mul(self.ratio).saturating_add(self.free)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            document: 4 << 20,
            layers: 128,
            entries: 1_000_000,
            layer: 4 << 30,
            image: 16 << 30,
            names: 64 << 20,
            xattrs: 16 << 20,
            depth: 255,
            comparisons: 2_000_000_000,
            free: 256 << 20,
            ratio: 200,
            reserve: 64 << 20,
            attempts: 5,
            pause: Duration::from_millis(500),
            wait: Duration::from_secs(60),
        }
    }
}
