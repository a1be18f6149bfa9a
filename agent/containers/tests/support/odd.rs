//! A registry that misbehaves as told: cuts downloads, is busy, sends elsewhere, wants tokens.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::authority::Authority;
use super::image::Image;

/// One answer: status line's rest, headers, body, and how much of the body is really sent.
#[derive(Clone, Default)]
pub struct Answer {
    pub status: String,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
    pub sent: Option<usize>,
}

/// A request that came: its first line and headers in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

type Handler = dyn Fn(&Request, usize) -> Answer + Send + Sync;

/// Serves until dropped with the test.
pub struct Odd {
    pub host: String,
    pub seen: Arc<Mutex<Vec<Request>>>,
}

impl Odd {
    /// `handler` is given the request and how many came for that path before.
    pub fn start(handler: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Odd {
        Odd::listen(None, handler)
    }

    /// The same with TLS.
    pub fn start_tls(
        authority: &Authority,
        handler: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Odd {
        let (certificate, key) = authority.server();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Odd::listen(Some(Arc::new(config)), handler)
    }

    fn listen(
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Odd {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let log = seen.clone();
        let handler: Arc<Handler> = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, handler, tls) = (log.clone(), handler.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &log, &*handler),
                    Some(tls) => {
                        let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
                        serve(&mut stream, &log, &*handler);
                        stream.conn.send_close_notify();
                        // The client may be gone: that is its own matter.
                        let _ = stream.flush();
                    }
                });
            }
        });
        Odd { host, seen }
    }

    pub fn requests(&self, part: &str) -> Vec<Request> {
        self.seen.lock().unwrap().iter().filter(|request| request.path.contains(part)).cloned().collect()
    }
}

fn serve(mut stream: impl Read + Write, log: &Mutex<Vec<Request>>, handler: &Handler) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let path = lines.next().and_then(|first| first.split(' ').nth(1)).unwrap_or_default().to_owned();
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let request = Request { path, headers };
    let before = {
        let mut log = log.lock().unwrap();
        let before = log.iter().filter(|other| other.path == request.path).count();
        log.push(request.clone());
        before
    };
    let answer = handler(&request, before);
    let mut head = format!(
        "HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n",
        answer.status,
        answer.body.len()
    );
    for header in &answer.headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    // The client may be gone: that is its own matter.
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    let _ = stream.write_all(&answer.body[..answer.sent.unwrap_or(answer.body.len())]);
}

/// What an honest registry answers for an image at `app:1`.
pub fn honest(image: &mut Image, request: &Request) -> Answer {
    let manifest = image.finish();
    let name = request.path.rsplit('/').next().unwrap_or_default();
    let body = if request.path.contains("/manifests/") { Some(&manifest) } else { image.blobs.get(name) };
    match body {
        Some(body) => Answer { status: "200 OK".into(), body: body.clone(), ..Answer::default() },
        None => Answer { status: "404 Not Found".into(), ..Answer::default() },
    }
}
