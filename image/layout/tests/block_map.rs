//! The fuzzing corpus of block maps: what is read comes back, and what is wrong is refused.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::fs;
use std::path::Path;

#[test]
fn the_corpus_is_read_or_refused_as_its_names_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/block_map");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let (ok, no) = (name.starts_with("ok-"), name.starts_with("no-"));
        if ok || no {
            let bytes = fs::read(entry.path()).unwrap();
            assert_eq!(bodies::block_map(&bytes), ok, "{name}");
            for end in 0..bytes.len() {
                assert!(!bodies::block_map(&bytes[..end]), "{name}, {end} bytes of it");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 6);
}
