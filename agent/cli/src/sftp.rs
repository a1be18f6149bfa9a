//! Tells clients of SFTP, in their own protocol, that no file is to be had here.
//!
//! What a subsystem of `sshd` writes to its stderr reaches nobody: a client would only say that the
//! connection was closed. So each request is answered with a refusal and its reason, in version 3 of the
//! protocol (draft-ietf-secsh-filexfer-02), which is what everyone speaks.

use std::io::{self, Read, Write};

const INIT: u8 = 1;
const VERSION: u8 = 2;
const STATUS: u8 = 101;
/// `SSH_FX_OP_UNSUPPORTED`.
const UNSUPPORTED: u32 = 8;
/// The longest packet that OpenSSH sends.
const MAX: u32 = 256 * 1024;

/// Answers requests with `reason`, one line, until there are no more.
pub(crate) fn refuse(mut input: impl Read, mut output: impl Write, reason: &str) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        match input.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let length = u32::from_be_bytes(length);
        if !(5..=MAX).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut request = vec![0; length as usize];
        input.read_exact(&mut request)?;
        output.write_all(&packet(&answer(request[0], &request[1..5], reason)))?;
        output.flush()?;
    }
}

/// The answer to a request of this kind and number.
fn answer(kind: u8, number: &[u8], reason: &str) -> Vec<u8> {
    if kind == INIT {
        return [&[VERSION][..], &3u32.to_be_bytes()].concat();
    }
    let language = packet(b"");
    [&[STATUS][..], number, &UNSUPPORTED.to_be_bytes(), &packet(reason.as_bytes()), &language].concat()
}

/// Bytes behind their number.
fn packet(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_refused_with_the_reason() {
        let requests = [packet(&[1, 0, 0, 0, 3]), packet(&[16, 0, 0, 0, 7, 0, 0, 0, 1, b'.'])].concat();
        let mut said = Vec::new();
        refuse(&requests[..], &mut said, "no").unwrap();
        let version = [0, 0, 0, 5, 2, 0, 0, 0, 3];
        let status = [0, 0, 0, 19, 101, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 2, b'n', b'o', 0, 0, 0, 0];
        assert_eq!(said, [&version[..], &status].concat());
    }

    #[test]
    fn what_is_no_packet_ends_it() {
        for bytes in [&b"GET / HTTP/1.1"[..], &[0, 0, 0, 0], &[0, 0, 0, 9, 1]] {
            assert!(refuse(bytes, io::sink(), "no").is_err(), "{bytes:?}");
        }
        assert!(refuse(&b""[..], io::sink(), "no").is_ok());
    }
}
