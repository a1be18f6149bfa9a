//! Time and randomness, read here and handed on as values.

use std::time::{SystemTime, UNIX_EPOCH};

use agent_core::healing::Millis;

/// Milliseconds since the box started.
pub(crate) fn uptime() -> Millis {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    (now.tv_sec as u64) * 1000 + (now.tv_nsec as u64) / 1_000_000
}

/// Seconds since 1970.
pub(crate) fn epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// RFC 3339 in UTC, in seconds.
pub(crate) fn rfc3339(epoch: u64) -> String {
    match jiff::Timestamp::from_second(epoch as i64) {
        Ok(time) => time.to_string(),
        Err(_) => String::from("1970-01-01T00:00:00Z"),
    }
}

/// Random bytes of the kernel.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    random_into(&mut bytes);
    bytes
}

/// Fills `bytes` with random ones.
pub(crate) fn random_into(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("the kernel gives no randomness: {error}"),
        }
    }
}
