//! Telling systemd how a service of `Type=notify` does, by `sd_notify(3)`'s protocol.
//!
//! Absent: descriptors in the store, and everything when the process was not started by systemd: then
//! nothing is sent, and that is no error.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Why systemd was not told.
#[derive(Debug, thiserror::Error)]
#[error("failed to notify systemd")]
pub struct NotifyError(#[from] io::Error);

/// The way to systemd.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// Opens the socket that `NOTIFY_SOCKET` names; without one, nothing will be sent.
    pub fn from_env() -> Result<Notifier, NotifyError> {
        env::var_os("NOTIFY_SOCKET").map_or(Ok(Notifier { socket: None }), |name| Notifier::open(&name))
    }

    fn open(name: &OsStr) -> Result<Notifier, NotifyError> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(Notifier { socket: Some(socket) })
    }

    /// Startup is finished.
    pub fn ready(&self) -> Result<(), NotifyError> {
        self.send("READY=1")
    }

    /// The service is going down.
    pub fn stopping(&self) -> Result<(), NotifyError> {
        self.send("STOPPING=1")
    }

    /// The service is alive.
    pub fn watchdog(&self) -> Result<(), NotifyError> {
        self.send("WATCHDOG=1")
    }

    /// One line on what the service does, shown by `systemctl status`; what follows a line end is left out.
    pub fn status(&self, text: &str) -> Result<(), NotifyError> {
        self.send(&format!("STATUS={}", text.lines().next().unwrap_or_default()))
    }

    fn send(&self, message: &str) -> Result<(), NotifyError> {
        if let Some(socket) = &self.socket {
            socket.send(message.as_bytes())?;
        }
        Ok(())
    }
}

/// How often at least systemd wants [`Notifier::watchdog`]; half of it is a good interval. `None` when it
/// does not watch this process.
pub fn watchdog_timeout() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    if env::var_os("WATCHDOG_PID").is_some() && number("WATCHDOG_PID") != Some(std::process::id().into()) {
        return None;
    }
    number("WATCHDOG_USEC").filter(|&usec| usec > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn tells_over_a_path_and_over_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("holdfast-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();

        let notifier = Notifier::open(path.as_os_str()).unwrap();
        notifier.ready().unwrap();
        assert_eq!(sent(&by_path), "READY=1");
        let notifier = Notifier::open(OsStr::new(&format!("@{name}"))).unwrap();
        notifier.status("one\nREADY=1").unwrap();
        assert_eq!(sent(&by_name), "STATUS=one");
    }

    #[test]
    fn without_systemd_nothing_is_sent_and_all_is_well() {
        Notifier { socket: None }.watchdog().unwrap();
    }
}
