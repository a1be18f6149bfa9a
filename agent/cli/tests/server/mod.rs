//! An HTTP server of few words on a Unix socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What is answered to one request.
#[derive(Clone)]
pub struct Reply {
    bytes: Vec<u8>,
    /// Whether the connection stays open after it.
    open: bool,
    /// Whether the connection ends after it.
    ends: bool,
}

impl Reply {
    pub fn json(status: u16, body: &str) -> Reply {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Reply { bytes: [head.as_bytes(), body.as_bytes()].concat(), open: false, ends: false }
    }

    pub fn bytes(body: &[u8]) -> Reply {
        let head = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n", body.len());
        Reply { bytes: [head.as_bytes(), body].concat(), open: false, ends: false }
    }

    /// A body that breaks off.
    pub fn torn(body: &[u8]) -> Reply {
        let head = "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = format!("{head}{:x}\r\n", body.len() + 1).into_bytes();
        Reply { bytes: [&chunk, body].concat(), open: false, ends: true }
    }

    /// One line of a stream that then says nothing more and does not end.
    pub fn open(line: &str) -> Reply {
        let head = "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n";
        let bytes = format!("{head}{:x}\r\n{line}\n\r\n", line.len() + 1).into_bytes();
        Reply { bytes, open: true, ends: false }
    }

    pub fn upgraded(frames: &[u8]) -> Reply {
        let head = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: holdfast-exec\r\n\r\n";
        Reply { bytes: [head.as_bytes(), frames].concat(), open: true, ends: false }
    }
}

/// The server, until dropped.
pub struct Server {
    /// Removed with the server.
    _folder: tempfile::TempDir,
    socket: PathBuf,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers these requests, each `METHOD PATH`, any number of times; any other gets a 500.
    pub fn start(replies: Vec<(&'static str, Reply)>) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (replies, kept) = (replies.clone(), Arc::clone(&kept));
                std::thread::spawn(move || serve(stream.unwrap(), &replies, &kept));
            }
        });
        Server { _folder: folder, socket, bodies }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Bodies of the requests so far that had one.
    pub fn bodies(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }
}

fn serve(stream: UnixStream, replies: &[(&str, Reply)], bodies: &Mutex<Vec<String>>) {
    let mut to = stream.try_clone().unwrap();
    let mut from = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if from.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let body = body(&mut from);
        if !body.is_empty() {
            bodies.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
        }
        let asked = request.trim_end().trim_end_matches(" HTTP/1.1");
        let reply = replies.iter().find(|(known, _)| *known == asked).map(|(_, reply)| reply.clone());
        let reply = reply.unwrap_or_else(|| {
            Reply::json(500, &format!(r#"{{"error":{{"kind":"failed","message":"unexpected: {asked}"}}}}"#))
        });
        let _ = to.write_all(&reply.bytes);
        if reply.ends {
            return;
        }
        if reply.open {
            // Until the client goes.
            let _ = from.read_to_end(&mut Vec::new());
            return;
        }
    }
}

/// Reads the headers and the body that they announce.
fn body(from: &mut impl BufRead) -> Vec<u8> {
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        chunked |= line == "transfer-encoding: chunked";
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).unwrap();
    while chunked {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        from.read_exact(&mut chunk).unwrap();
        body.extend_from_slice(&chunk[..length]);
        chunked = length > 0;
    }
    body
}
