//! Any bytes as a layer: they are refused, or what comes out is what `mkfs.erofs` handles right.
//!
//! `cargo +nightly fuzz run normalise` in `agent/containers`. The corpus is written and replayed by the
//! test `layers`; an input that was found is added to it as `found-…`.

#![no_main]

#[path = "../../tests/support/listing.rs"]
#[allow(dead_code)]
mod listing;

use std::io::Cursor;

use agent_containers::Limits;
use agent_containers::layer::{self, LayerError, LayerMeta, Parents};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|blob: &[u8]| {
    let limits = Limits { layer: 1 << 20, free: 1 << 20, entries: 1000, names: 100_000, ..Limits::default() };
    let Ok(stream) = normalise(blob, &limits) else { return };
    listing::read(&stream);
});

fn normalise(blob: &[u8], limits: &Limits) -> Result<Vec<u8>, LayerError> {
    let open = || layer::open(Cursor::new(blob.to_vec()), blob.len() as u64, limits, true);
    let scan = layer::scan(open()?, blob.len() as u64, limits)?;
    let mut out = Vec::new();
    // What was scanned once can be read again.
    layer::emit(open()?, &scan, &Parents::default(), &mut out).expect("the second pass");
    let mut meta = Vec::new();
    LayerMeta::new(&scan, 0).write(&scan, &mut meta).expect("the meta file");
    let (_, lines) = LayerMeta::read(Cursor::new(meta)).expect("its header");
    for line in lines {
        line.expect("its lines");
    }
    Ok(out)
}
