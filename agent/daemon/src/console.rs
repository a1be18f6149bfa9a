//! What the box says on its consoles: its addresses, its host keys, how it stands, its last error.
//!
//! Lines begin with `holdfast: ` and are written only when they differ from the last of their kind. Their
//! first words, `ready`, `error` and `state`, are for programs to wait on.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use agent_core::text::{self, cut};

/// Where the kernel lists its consoles.
const ACTIVE: &str = "/sys/class/tty/console/active";
/// Lines of a text that are written: a serial line is slow, and the agent waits for it.
const LINES: usize = 8;

/// The consoles, and what was said on them last.
#[derive(Debug)]
pub(crate) struct Console {
    devices: Vec<PathBuf>,
    said: Mutex<BTreeMap<&'static str, String>>,
}

impl Console {
    /// All consoles of the kernel.
    pub(crate) fn open() -> Console {
        let active = std::fs::read_to_string(ACTIVE).unwrap_or_else(|_| "console".into());
        Console::on(active.split_whitespace().map(|name| PathBuf::from("/dev").join(name)).collect())
    }

    fn on(devices: Vec<PathBuf>) -> Console {
        Console { devices, said: Mutex::default() }
    }

    /// Says `text` under `topic`, unless that was said last under it; of a long text, the beginning.
    pub(crate) fn say(&self, topic: &'static str, text: &str) {
        let text = cut(text, text::ERROR);
        let mut said = self.said.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if said.get(topic) == Some(&text) {
            return;
        }
        let lines = text.lines().take(LINES);
        let lines: String = lines.map(|line| format!("\rholdfast: {}\r\n", printable(line))).collect();
        said.insert(topic, text);
        for device in &self.devices {
            let opened = OpenOptions::new().append(true).open(device);
            // A console that is gone is no reason to stop.
            let _ = opened.and_then(|mut file| file.write_all(lines.as_bytes()));
        }
    }

    /// Forgets what was said under `topic`, so that it is said again.
    pub(crate) fn forget(&self, topic: &'static str) {
        self.said.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(topic);
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
