//! Replies of JSON lines, read as they come.

use agent_api::client::Stream;
use serde::de::DeserializeOwned;

use crate::error::Failure;

/// The longest line that is accepted.
const LONGEST: usize = 4 << 20;

/// The lines of a stream.
pub(super) struct Lines {
    stream: Stream,
    buffer: Vec<u8>,
    /// Up to here there is no end of line in the buffer.
    seen: usize,
}

impl Lines {
    /// Reads from here on.
    pub(super) fn of(stream: Stream) -> Lines {
        Lines { stream, buffer: Vec::new(), seen: 0 }
    }

    /// The next line as text, without its end.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            if let Some(at) = self.buffer[self.seen..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.seen + at).collect();
                self.seen = 0;
                return Ok(Some(String::from_utf8_lossy(&line[..line.len() - 1]).into_owned()));
            }
            self.seen = self.buffer.len();
            if self.buffer.len() > LONGEST {
                return Err(Failure::failed("the box sent a line without end"));
            }
            match self.stream.chunk().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

/// Reads a line.
pub(super) fn parse<T: DeserializeOwned>(line: &str) -> Result<T, Failure> {
    serde_json::from_str(line)
        .map_err(|error| Failure::failed(format!("a line of the box is not understood: {error}")))
}
