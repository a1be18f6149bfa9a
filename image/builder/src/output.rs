//! Standard output, which belongs to results.

use std::io::{ErrorKind, Write};

use anyhow::{Context as _, Result};

/// Prints a result. That nobody reads on, as after `| head`, is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("failed to write the result")
        }
        _ => Ok(()),
    }
}
