//! The tar in gzip, taken out of memory piece by piece.

use std::io;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

/// The folder that everything is in.
const FOLDER: &str = "holdfast-report";

/// What was added and not taken yet.
pub(super) struct Bundle {
    tar: Builder<GzEncoder<Vec<u8>>>,
    time: u64,
}

impl Bundle {
    /// An empty one of this time, seconds since 1970.
    pub(super) fn new(time: u64) -> Bundle {
        Bundle { tar: Builder::new(GzEncoder::new(Vec::new(), Compression::default())), time }
    }

    /// Adds a file.
    pub(super) fn add(&mut self, name: &str, text: &str) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(0o600);
        header.set_mtime(self.time);
        header.set_size(text.len() as u64);
        self.tar.append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes())
    }

    /// What can be sent by now.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.tar.get_mut().get_mut())
    }

    /// The rest.
    pub(super) fn end(self) -> io::Result<Vec<u8>> {
        self.tar.into_inner()?.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn pieces_are_a_whole_archive_and_are_not_kept() {
        let mut bundle = Bundle::new(7);
        let mut bytes = Vec::new();
        let long = "0123456789abcdef".repeat(1 << 14);
        for (name, text) in [("a.txt", "one"), ("b/c.txt", &long), ("d.txt", "")] {
            bundle.add(name, text).unwrap();
            bytes.extend(bundle.take());
            assert!(bundle.take().is_empty());
        }
        bytes.extend(bundle.end().unwrap());
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.push((entry.path().unwrap().display().to_string(), text.len()));
        }
        let names = ["holdfast-report/a.txt", "holdfast-report/b/c.txt", "holdfast-report/d.txt"];
        let expect: Vec<_> = names.map(str::to_owned).into_iter().zip([3, 1 << 18, 0]).collect();
        assert_eq!(found, expect);
    }
}
