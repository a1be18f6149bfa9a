//! What the fuzz target does with an input. An ordinary test replays the corpus through the same function.

use std::io::Cursor;

use agent_containers::Limits;
use agent_containers::layer::{self, LayerError, LayerMeta, Parents};

// `tests/support/listing.rs`, which whoever includes this has.
use super::listing;

/// Normalises a layer, and reads all that comes out; whether it was accepted.
pub(crate) fn normalise(blob: &[u8]) -> bool {
    let limits = Limits { layer: 1 << 20, free: 1 << 20, entries: 1000, names: 100_000, ..Limits::default() };
    let Ok(stream) = both_passes(blob, &limits) else { return false };
    listing::read(&stream);
    true
}

fn both_passes(blob: &[u8], limits: &Limits) -> Result<Vec<u8>, LayerError> {
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
