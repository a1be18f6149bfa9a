//! Ports of loopback for servers that tests start.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::TcpListener;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};

use crate::lab::Lab;

/// Below those that Linux gives to whoever asks for any port, so that no client and no server gets one of
/// these before the program that it is meant for listens on it.
const PORTS: Range<u16> = 10_240..32_768;

/// A port that nothing listens on. Tests that run side by side are given them in turn, so none is given twice
/// within thousands.
pub(crate) fn free_port(lab: &Lab) -> Result<u16> {
    next(&lab.root().join("target/ports"))
}

/// The next free one after the one that a file names; the first is anywhere, for those of another checkout.
fn next(path: &Path) -> Result<u16> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let last = text.parse().ok().filter(|last| PORTS.contains(last)).unwrap_or_else(anywhere);
    let port = (last + 1..PORTS.end)
        .chain(PORTS)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no port of loopback is free")?;
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{port}")?;
    Ok(port)
}

fn anywhere() -> u16 {
    let offset = std::process::id() % u32::from(PORTS.end - PORTS.start);
    PORTS.start + u16::try_from(offset).expect("an offset below the count of ports")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ports_are_given_in_turn_and_only_free_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ports");
        let first = next(&path).unwrap();
        let path = &path;
        let given: Vec<u16> = std::thread::scope(|scope| {
            let askers: Vec<_> =
                (0..8).map(|_| scope.spawn(move || [(); 20].map(|()| next(path).unwrap()))).collect();
            askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect()
        });
        let different: HashSet<u16> = given.iter().copied().chain([first]).collect();
        assert_eq!(different.len(), given.len() + 1);
        assert!(different.iter().all(|port| PORTS.contains(port)));

        let taken = next(path).unwrap();
        let _listener = TcpListener::bind(("127.0.0.1", taken)).unwrap();
        std::fs::write(path, (taken - 1).to_string()).unwrap();
        assert_ne!(next(path).unwrap(), taken);

        // After the last comes the first, and a file that says nothing is no trouble.
        std::fs::write(path, (PORTS.end - 1).to_string()).unwrap();
        assert!(next(path).unwrap() < PORTS.start + 1_000);
        std::fs::write(path, "x").unwrap();
        assert!(PORTS.contains(&next(path).unwrap()));
    }
}
