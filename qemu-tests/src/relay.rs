//! A wire that loses frames: every frame between a machine's first NIC and QEMU's network goes through here.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

/// How long a thread waits for a frame until it sees whether it is to end.
const TICK: Duration = Duration::from_millis(200);

/// The wire. It ends when dropped.
#[derive(Debug)]
pub struct Relay {
    dir: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Of a hundred frames, in each direction.
    lost: AtomicU32,
    ended: AtomicBool,
    frames: AtomicU32,
    dropped: AtomicU32,
}

impl Relay {
    /// Loses nothing at first. Its sockets lie in `dir`.
    pub(crate) fn start(dir: &Path) -> Result<Relay> {
        let shared = Arc::<Shared>::default();
        let bind = |name: &str| -> Result<UnixDatagram> {
            let socket = UnixDatagram::bind(dir.join(name)).with_context(|| format!("no socket {name}"))?;
            socket.set_read_timeout(Some(TICK))?;
            Ok(socket)
        };
        let (nic, net) = (bind("nic.relay")?, bind("net.relay")?);
        for (from, to, peer, seed) in
            [(nic.try_clone()?, net.try_clone()?, "net.qemu", 1), (net, nic, "nic.qemu", 2)]
        {
            let (shared, peer) = (shared.clone(), dir.join(peer));
            std::thread::spawn(move || carry(&from, &to, &peer, &shared, seed));
        }
        Ok(Relay { dir: dir.to_owned(), shared })
    }

    /// QEMU's arguments for a network `name` that is the one of `backend` behind this wire.
    pub(crate) fn arguments(&self, name: &str, backend: &str) -> Vec<String> {
        let dgram = |id: &str, end: &str| {
            let path = |whose: &str| self.dir.join(format!("{end}.{whose}")).display().to_string();
            let (local, remote) = (path("qemu"), path("relay"));
            format!("dgram,id={id},local.type=unix,local.path={local},remote.type=unix,remote.path={remote}")
        };
        let devices = [
            format!("{backend},id=behind"),
            "hubport,id=port1,hubid=1,netdev=behind".to_owned(),
            dgram("wire", "net"),
            "hubport,id=port2,hubid=1,netdev=wire".to_owned(),
            dgram(name, "nic"),
        ];
        devices.into_iter().flat_map(|device| ["-netdev".to_owned(), device]).collect()
    }

    /// Loses so many of a hundred frames from now on.
    pub fn lose(&self, hundredths: u32) {
        self.shared.lost.store(hundredths, Ordering::Relaxed);
    }

    /// Frames that came, and those of them that were lost.
    pub fn frames(&self) -> (u32, u32) {
        (self.shared.frames.load(Ordering::Relaxed), self.shared.dropped.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

fn carry(from: &UnixDatagram, to: &UnixDatagram, peer: &Path, shared: &Shared, seed: u64) {
    let mut frame = vec![0; 1 << 17];
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while !shared.ended.load(Ordering::Relaxed) {
        let length = match from.recv(&mut frame) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        shared.frames.fetch_add(1, Ordering::Relaxed);
        if random % 100 < u64::from(shared.lost.load(Ordering::Relaxed)) {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            // A machine that is off takes nothing, as on any wire.
            let _ = to.send_to(&frame[..length], peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_lost_as_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let relay = Relay::start(dir.path()).unwrap();
        let nic = UnixDatagram::bind(dir.path().join("nic.qemu")).unwrap();
        let net = UnixDatagram::bind(dir.path().join("net.qemu")).unwrap();
        net.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let arrived = |lost: u32| {
            relay.lose(lost);
            std::thread::scope(|scope| {
                let counted = scope.spawn(|| std::iter::from_fn(|| net.recv(&mut [0; 16]).ok()).count());
                for _ in 0..200 {
                    nic.send_to(b"frame", dir.path().join("nic.relay")).unwrap();
                }
                counted.join().unwrap()
            })
        };
        assert_eq!(arrived(0), 200);
        let some = arrived(30);
        assert!((100..180).contains(&some), "{some}");
        assert_eq!(arrived(100), 0);
        assert_eq!(relay.frames().0, 600);
    }
}
