//! Users, owners, capabilities and signals, as OCI and the kernel name them.

use serde::{Deserialize, Serialize};

use super::ShapeError;
use crate::model::Owner;

/// Whom a container runs as: `USER[:GROUP]`, each a number or a name of the image's own files (OCI image
/// configuration, `User`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct User(String);

impl User {
    /// Reads it.
    pub fn parse(text: &str) -> Result<User, ShapeError> {
        let mut parts = text.splitn(2, ':');
        let good = |part: &str| {
            let bytes = part.as_bytes();
            let number = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
            match number {
                true => part.parse::<u32>().is_ok_and(|n| n < u32::MAX),
                false => {
                    matches!(bytes.len(), 1..=64)
                        && bytes[0] != b'-'
                        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-$".contains(b))
                }
            }
        };
        if parts.all(good) {
            return Ok(User(text.to_owned()));
        }
        Err(ShapeError::new(
            "not a user",
            "write `USER` or `USER:GROUP`, such as \"1000:1000\" or \"www-data\"",
        ))
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A numeric owner, `UID:GID` or `UID` for both.
pub fn owner(text: &str) -> Result<Owner, ShapeError> {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u32>().ok().filter(|n| digits && *n < 65_536)
    };
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    match (number(uid), number(gid)) {
        (Some(uid), Some(gid)) => Ok(Owner { uid, gid }),
        _ => Err(ShapeError::new(
            "not an owner",
            "write `UID:GID` in numbers from 0 to 65535, such as \"0:0\": names are the image's own and cannot be looked up",
        )),
    }
}

/// Every capability of Linux 6.12 (capabilities(7)), without `CAP_`.
pub const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];

/// A capability without `CAP_`.
pub fn capability(text: &str) -> Result<String, ShapeError> {
    if CAPABILITIES.contains(&text) {
        return Ok(text.to_owned());
    }
    let upper = text.to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let hint = match crate::keys::nearest(plain, CAPABILITIES) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "names are the kernel's without `CAP_`, such as \"NET_BIND_SERVICE\"".to_owned(),
    };
    Err(ShapeError::new("not a capability", hint))
}

/// Signals that can stop something, in the kernel's order.
const SIGNALS: &[&str] = &[
    "SIGHUP", "SIGINT", "SIGQUIT", "SIGABRT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTERM",
    "SIGCONT", "SIGWINCH", "SIGPWR",
];

/// A signal by its name, with `SIG`; real-time ones as `SIGRTMIN+N`.
pub fn stop_signal(text: &str) -> Result<String, ShapeError> {
    let realtime = text.strip_prefix("SIGRTMIN+").and_then(|n| n.parse::<u8>().ok()).is_some_and(|n| n <= 30);
    if SIGNALS.contains(&text) || realtime {
        return Ok(text.to_owned());
    }
    let upper = text.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let hint = match crate::keys::nearest(&full, SIGNALS.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "write a signal's name, such as \"SIGTERM\"".to_owned(),
    };
    Err(ShapeError::new("not a signal that stops something", hint))
}
