//! Frames of an exec connection, after `101 Switching Protocols` with `Upgrade: holdfast-exec`.
//!
//! A frame is one byte of kind, four bytes of length (big endian) and that many bytes of payload.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The protocol's name in `Upgrade`.
pub const UPGRADE: &str = "holdfast-exec";
/// The longest payload that is accepted, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Input for the command; empty: the end of it.
    Stdin(Vec<u8>),
    /// Output of the command.
    Stdout(Vec<u8>),
    /// Errors of the command.
    Stderr(Vec<u8>),
    /// The terminal's new columns and rows.
    Resize(u16, u16),
    /// The command ended with this code; the last frame.
    Exit(i32),
    /// The command could not be run; the last frame.
    Failed(String),
}

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke.
    #[error("the exec connection broke")]
    Io(#[from] std::io::Error),
    /// The other side does not speak this protocol.
    #[error("the exec connection carries an invalid frame (kind {kind}, {length} bytes)")]
    Invalid {
        /// First byte.
        kind: u8,
        /// Announced length.
        length: usize,
    },
}

impl Frame {
    /// Writes the frame.
    pub async fn write<W: AsyncWrite + Unpin>(&self, to: &mut W) -> std::io::Result<()> {
        let (kind, payload) = match self {
            Frame::Stdin(bytes) => (0, bytes.clone()),
            Frame::Stdout(bytes) => (1, bytes.clone()),
            Frame::Stderr(bytes) => (2, bytes.clone()),
            Frame::Resize(columns, rows) => (3, [columns.to_be_bytes(), rows.to_be_bytes()].concat()),
            Frame::Exit(code) => (4, code.to_be_bytes().to_vec()),
            Frame::Failed(message) => (5, message.clone().into_bytes()),
        };
        let mut frame = Vec::with_capacity(payload.len() + 5);
        frame.push(kind);
        frame.extend((payload.len() as u32).to_be_bytes());
        frame.extend(payload);
        to.write_all(&frame).await?;
        to.flush().await
    }

    /// Reads the next frame; `None` when the connection ended between two frames.
    pub async fn read<R: AsyncRead + Unpin>(from: &mut R) -> Result<Option<Frame>, FrameError> {
        let kind = match from.read_u8().await {
            Ok(kind) => kind,
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let length = from.read_u32().await? as usize;
        let invalid = FrameError::Invalid { kind, length };
        if length > MAX_PAYLOAD {
            return Err(invalid);
        }
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await?;
        Ok(Some(match (kind, payload.as_slice()) {
            (0, _) => Frame::Stdin(payload),
            (1, _) => Frame::Stdout(payload),
            (2, _) => Frame::Stderr(payload),
            (3, &[a, b, c, d]) => Frame::Resize(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            (4, &[a, b, c, d]) => Frame::Exit(i32::from_be_bytes([a, b, c, d])),
            (5, _) => Frame::Failed(String::from_utf8_lossy(&payload).into_owned()),
            _ => return Err(invalid),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_survive_the_wire() {
        let frames = [
            Frame::Stdin(vec![]),
            Frame::Stdout(b"out".to_vec()),
            Frame::Stderr(b"err".to_vec()),
            Frame::Resize(80, 24),
            Frame::Failed("no such container".into()),
            Frame::Exit(-1),
        ];
        let mut wire = Vec::new();
        for frame in &frames {
            frame.write(&mut wire).await.unwrap();
        }
        let mut from = wire.as_slice();
        for frame in &frames {
            assert_eq!(Frame::read(&mut from).await.unwrap().as_ref(), Some(frame));
        }
        assert_eq!(Frame::read(&mut from).await.unwrap(), None);
    }

    #[tokio::test]
    async fn refuses_what_is_no_frame() {
        for wire in [&[9u8, 0, 0, 0, 0][..], &[1, 0, 2, 0, 0], &[4, 0, 0, 0, 1, 7]] {
            let error = Frame::read(&mut &wire[..]).await.unwrap_err();
            assert!(matches!(error, FrameError::Invalid { .. }), "{error:?}");
        }
        assert!(matches!(Frame::read(&mut &[1u8, 0, 0, 0, 5, 1][..]).await, Err(FrameError::Io(_))));
    }
}
