//! Images made by umoci and skopeo: what comes of their layers, one on top of the other, is what umoci
//! itself unpacks.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use agent_containers::fetch::{FetchedImage, Source};
use support::fetching::Staging;
use support::listing::{Facts, lossy};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Puts a layer on top of others, as overlayfs shows them.
fn stack(below: &mut BTreeMap<Vec<u8>, Facts>, layer: BTreeMap<Vec<u8>, Facts>) {
    for (path, mut facts) in layer {
        let inside = [&path[..], b"/"].concat();
        let opaque = facts.xattrs.remove("trusted.overlay.opaque").is_some();
        let was_folder = below.get(&path).is_some_and(|below| below.kind == 'd');
        if opaque || facts.kind != 'd' || !was_folder {
            below.retain(|other, _| !other.starts_with(&inside));
        }
        if facts.kind == 'c' && facts.device == (0, 0) {
            below.remove(&path);
        } else {
            below.insert(path, facts);
        }
    }
}

fn merged(staging: &Staging, image: &FetchedImage) -> String {
    let mut files = BTreeMap::new();
    for layer in &image.layers {
        stack(&mut files, staging.layer(&layer.name));
    }
    files.remove(&b""[..]);
    let mut text = String::new();
    for (path, facts) in files {
        let _ = match facts.kind {
            'l' => writeln!(text, "l /{} {}", lossy(&path), lossy(&facts.target)),
            kind => writeln!(text, "{kind} {:04o} /{}", facts.mode, lossy(&path)),
        };
    }
    text
}

#[test]
fn the_same_files_as_their_own() {
    let expected = std::fs::read_to_string(fixtures().join("unpacked.txt")).unwrap();
    let mut first: Option<FetchedImage> = None;
    for name in ["umoci.test/app:top", "skopeo.test/zstd:top", "skopeo.test/docker:top"] {
        let staging = Staging::new();
        let image = staging.fetch(name, Source::Layout(fixtures().join("layout"))).unwrap();
        assert_eq!(sorted(&merged(&staging, &image)), sorted(&expected), "{name}");
        assert_eq!(image.passwd.as_deref(), Some("root:x:0:0::/root:/bin/sh\n"));
        // The same layers, however they were packed.
        let first = first.get_or_insert_with(|| image.clone());
        assert_eq!(first.layers, image.layers, "{name}");
    }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}
