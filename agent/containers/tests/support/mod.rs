//! What the tests of layers share: making tar streams, normalising them, reading what came out.

#![allow(dead_code, missing_docs)]

pub mod authority;
pub mod cases;
pub mod fetching;
pub mod image;
pub mod listing;
pub mod making;
pub mod odd;
pub mod proxy;
pub mod registry;
pub mod tokens;

use std::io::Cursor;

use agent_containers::Limits;
use agent_containers::layer::{self, LayerError, Parents};

/// Limits that let every honest test through and keep hostile ones short.
pub fn limits() -> Limits {
    Limits { layer: 64 << 20, free: 64 << 20, ..Limits::default() }
}

/// Both passes, as a fetch does them, on top of nothing.
pub fn normalise(blob: &[u8], limits: &Limits) -> Result<Vec<u8>, LayerError> {
    let open = || layer::open(Cursor::new(blob.to_vec()), blob.len() as u64, limits, false);
    let scan = layer::scan(open()?, blob.len() as u64, limits)?;
    let mut out = Vec::new();
    layer::emit(open()?, &scan, &Parents::default(), &mut out)?;
    Ok(out)
}
