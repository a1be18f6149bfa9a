//! What the box says on its consoles: its addresses, its host keys, how it stands, its last error.
//!
//! Lines begin with `holdfast: ` and are written only when they differ from the last of their kind. Their
//! first words, `ready`, `error` and `state`, are for programs to wait on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use agent_core::text::{self, cut};
use rustix::fs::OFlags;

/// Where the kernel lists its consoles.
const ACTIVE: &str = "/sys/class/tty/console/active";
/// Lines of a text that are written: a serial line is slow.
const LINES: usize = 8;

/// The consoles.
#[derive(Debug)]
pub(crate) struct Console(Mutex<Vec<Device>>);

/// A console, which stays open: closing one waits until all is sent.
#[derive(Debug)]
struct Device {
    path: PathBuf,
    file: Option<File>,
    /// What it took last, by topic.
    said: BTreeMap<&'static str, String>,
}

impl Device {
    /// Writes what it takes at once, and says whether that was all. One whose other end takes nothing, or that is
    /// gone, holds nothing up.
    fn write(&mut self, bytes: &[u8]) -> bool {
        // A terminal that was hung up is opened anew.
        for _ in 0..2 {
            let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
            let open = || OpenOptions::new().append(true).custom_flags(flags).open(&self.path).ok();
            let Some(file) = self.file.take().or_else(open) else { return false };
            match (&file).write_all(bytes) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => {}
                written => {
                    self.file = Some(file);
                    return written.is_ok();
                }
            }
        }
        false
    }
}

impl Console {
    /// All consoles of the kernel.
    pub(crate) fn open() -> Console {
        let active = std::fs::read_to_string(ACTIVE).unwrap_or_else(|_| "console".into());
        Console::on(active.split_whitespace().map(|name| PathBuf::from("/dev").join(name)).collect())
    }

    fn on(devices: Vec<PathBuf>) -> Console {
        let device = |path| Device { path, file: None, said: BTreeMap::new() };
        Console(Mutex::new(devices.into_iter().map(device).collect()))
    }

    /// Says `text` under `topic` on each console that did not take it as the last of that topic; of a long text, the
    /// beginning.
    pub(crate) fn say(&self, topic: &'static str, text: &str) {
        let text = cut(text, text::ERROR);
        let lines = text.lines().take(LINES);
        let lines: String = lines.map(|line| format!("\rholdfast: {}\r\n", printable(line))).collect();
        for device in self.devices().iter_mut() {
            if device.said.get(topic) != Some(&text) && device.write(lines.as_bytes()) {
                device.said.insert(topic, text.clone());
            }
        }
    }

    /// Forgets what was said under `topic`, so that it is said again.
    pub(crate) fn forget(&self, topic: &'static str) {
        for device in self.devices().iter_mut() {
            device.said.remove(topic);
        }
    }

    fn devices(&self) -> MutexGuard<'_, Vec<Device>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Without what would command a terminal.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_that_takes_nothing_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        let console = Console::on(vec![path.clone()]);
        console.say("state", "state nobody listens");
        let mut other = File::options().read(true).write(true).open(&path).unwrap();
        for round in 0..200 {
            console.say("error", &format!("error {round} {}", "x".repeat(900)));
        }
        let mut heard = [0; 20];
        std::io::Read::read_exact(&mut other, &mut heard).unwrap();
        assert_eq!(&heard, b"\rholdfast: error 0 x");

        // What was not taken is said again; what was taken is not.
        let mut taken = vec![0; 1 << 20];
        let _ = std::io::Read::read(&mut other, &mut taken).unwrap();
        console.say("error", &format!("error 199 {}", "x".repeat(900)));
        console.say("error", &format!("error 199 {}", "x".repeat(900)));
        let length = std::io::Read::read(&mut other, &mut taken).unwrap();
        let heard = String::from_utf8_lossy(&taken[..length]);
        assert_eq!(heard.matches("error 199").count(), 1, "{heard}");
    }

    #[test]
    fn says_changes_only_and_commands_no_terminal() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let console = Console::on(vec![file.path().to_owned(), "/nonexistent/tty".into()]);
        console.say("state", "state healthy");
        console.say("state", "state healthy");
        console.say("error", "error \u{1b}[2Jgone\nsecond line");
        console.say("state", "state degraded");
        let text = std::fs::read_to_string(file.path()).unwrap();
        let lines: Vec<_> = text.lines().map(|l| l.trim_matches('\r')).collect();
        assert_eq!(
            lines,
            [
                "holdfast: state healthy",
                "holdfast: error  [2Jgone",
                "holdfast: second line",
                "holdfast: state degraded"
            ]
        );
    }

    #[test]
    fn little_is_written_of_a_long_text() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let console = Console::on(vec![file.path().to_owned()]);
        console.say("error", &"x".repeat(4 << 20));
        console.say("error", &"\n".repeat(4 << 20));
        assert!(std::fs::metadata(file.path()).unwrap().len() < 1200);
    }
}
