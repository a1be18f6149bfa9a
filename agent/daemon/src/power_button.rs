//! The power button. A provider's "shut down" is an ACPI event, which the kernel turns into a key.
//!
//! Keys come from `/dev/input`; nothing else on a box reads them. The box is then powered off as an admin
//! would: containers are stopped first, each with its own stop signal and time.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{OpenOptions, Receiver};

use crate::agent::Agent;
use crate::server;

const DEVICES: &str = "/sys/class/input";
/// Drivers appear while the box starts: devices are looked for so often, this many times.
const LOOKS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(2);
/// `EV_KEY` and `KEY_POWER` of `linux/input-event-codes.h`.
const KEY_EVENT: u16 = 1;
const KEY_POWER: u16 = 116;
/// `struct input_event` on a 64-bit kernel: two words of time, type, code, value.
const EVENT: usize = 24;

/// Follows every device that has the key.
pub(crate) async fn watch(agent: Arc<Agent>) {
    let mut known = BTreeSet::new();
    for _ in 0..LOOKS {
        for name in devices(Path::new(DEVICES)) {
            if known.contains(&name) {
                continue;
            }
            // udev may not have made its node yet: another look will find it.
            let path = Path::new("/dev/input").join(&name);
            // No pipe, but it is read as one.
            if let Ok(device) = OpenOptions::new().unchecked(true).open_receiver(path) {
                tokio::spawn(follow(agent.clone(), name.clone(), device));
                known.insert(name);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    if known.is_empty() {
        tracing::info!("the box has no power button");
    }
}

/// Event devices whose keys have the power key among them.
fn devices(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let has_key = |name: &String| {
        let keys = std::fs::read_to_string(folder.join(name).join("device/capabilities/key"));
        name.starts_with("event") && keys.is_ok_and(|keys| has(&keys, KEY_POWER))
    };
    names.filter(has_key).collect()
}

/// Whether a bitmap of the kernel's, words of 64 bits in hexadecimal with the highest first, has a bit.
fn has(bitmap: &str, bit: u16) -> bool {
    let word = bitmap.split_whitespace().rev().nth(usize::from(bit / 64));
    word.and_then(|word| u64::from_str_radix(word, 16).ok()).is_some_and(|word| word >> (bit % 64) & 1 == 1)
}

async fn follow(agent: Arc<Agent>, name: String, mut device: Receiver) {
    let mut events = [0; EVENT * 16];
    loop {
        match device.read(&mut events).await {
            Ok(0) | Err(_) => {
                tracing::warn!("{name} is gone");
                return;
            }
            Ok(length) if pressed(&events[..length]) => server::power_button(&agent).await,
            Ok(_) => {}
        }
    }
}

/// Whether one of the events is the key going down.
fn pressed(events: &[u8]) -> bool {
    events.chunks_exact(EVENT).any(|event| {
        let half = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
        let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
        (half(16), half(18), value) == (KEY_EVENT, KEY_POWER, 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        [&[7; 16][..], &kind.to_ne_bytes(), &code.to_ne_bytes(), &value.to_ne_bytes()].concat()
    }

    #[test]
    fn only_the_power_key_going_down_counts() {
        let sync = event(0, 0, 0);
        assert!(pressed(&[event(1, 116, 1), sync.clone()].concat()));
        assert!(pressed(&[sync.clone(), event(1, 30, 1), event(1, 116, 1)].concat()));
        for other in [event(1, 116, 0), event(1, 116, 2), event(1, 142, 1), event(4, 116, 1)] {
            assert!(!pressed(&[other, sync.clone()].concat()));
        }
        assert!(!pressed(&event(1, 116, 1)[..23]));
    }

    #[test]
    fn devices_with_the_key_are_found_by_their_bitmap() {
        let folder = tempfile::tempdir().unwrap();
        let device = |name: &str, keys: &str| {
            let path = folder.path().join(name).join("device/capabilities");
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("key"), keys).unwrap();
        };
        device("event0", "10000000000000 0\n");
        device("event1", "8000 10000000000000 0\n");
        device("event2", "0\n");
        device("event3", "10000000000000\n");
        device("input0", "10000000000000 0\n");
        let mut found = devices(folder.path());
        found.sort();
        assert_eq!(found, ["event0", "event1"]);
    }
}
