//! Stands between a registry and who pulls: counts what comes, cuts connections, and holds them up.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Cuts a connection after so many bytes of the registry.
pub struct Proxy {
    pub host: String,
    passed: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    cut: Arc<AtomicU64>,
    held: Arc<AtomicU64>,
}

impl Proxy {
    /// Cuts each connection after `cut` bytes.
    pub fn start(upstream: &str, cut: u64) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy {
            host: listener.local_addr().unwrap().to_string(),
            passed: Arc::default(),
            connections: Arc::default(),
            cut: Arc::new(AtomicU64::new(cut)),
            held: Arc::new(AtomicU64::new(u64::MAX)),
        };
        let (passed, connections) = (proxy.passed.clone(), proxy.connections.clone());
        let (cut, held) = (proxy.cut.clone(), proxy.held.clone());
        let upstream = upstream.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(&upstream).unwrap();
                let (passed, cut, held) = (passed.clone(), cut.clone(), held.clone());
                let (up, down) =
                    ((client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client));
                let never = || AtomicU64::new(u64::MAX);
                thread::spawn(move || pass(up.0, up.1, &AtomicU64::new(0), &never(), &never()));
                thread::spawn(move || pass(down.0, down.1, &passed, &cut, &held));
            }
        });
        proxy
    }

    /// Cuts connections after that many bytes from now on.
    pub fn cut_after(&self, bytes: u64) {
        self.cut.store(bytes, Ordering::SeqCst);
    }

    /// Lets nothing pass any more once that many bytes have.
    pub fn hold_after(&self, bytes: u64) {
        self.held.store(bytes, Ordering::SeqCst);
    }

    /// Whether it is holding something up.
    pub fn holds(&self) -> bool {
        self.passed() >= self.held.load(Ordering::SeqCst)
    }

    /// Bytes that came from the registry.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Copies until the end, or until that many bytes; then nothing goes either way any more.
fn pass(mut from: TcpStream, mut to: TcpStream, passed: &AtomicU64, cut: &AtomicU64, held: &AtomicU64) {
    let mut buffer = [0; 4096];
    let mut here = 0;
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        while passed.load(Ordering::SeqCst) >= held.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        let left = cut.load(Ordering::SeqCst).saturating_sub(here).min(read as u64);
        if to.write_all(&buffer[..left as usize]).is_err() {
            break;
        }
        here += left;
        passed.fetch_add(left, Ordering::SeqCst);
        if left < read as u64 {
            break;
        }
    }
    // The other direction may have ended it.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
