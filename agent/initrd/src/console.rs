//! What the initrd says, through the kernel's log so that every console shows it and the journal keeps it.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

/// How long a message is left on the screen before the box restarts.
const LEGIBLE: Duration = Duration::from_secs(3);

/// How much a line matters, as the kernel numbers it.
#[derive(Clone, Copy)]
enum Level {
    Alert = 1,
    Warning = 3,
    Info = 6,
}

/// The kernel's log, open for as long as this runs: while mounts are moved there is no `/dev`.
static LOG: OnceLock<File> = OnceLock::new();

/// Opens the kernel's log and lets every line of ours through; it drops most lines of a program otherwise.
pub(crate) fn open() {
    let _ = fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
    if let Ok(log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = LOG.set(log);
    }
}

/// Says what is done.
pub(crate) fn info(text: &str) {
    write(Level::Info, text);
}

/// Says on the console what boots, whatever the kernel lets through.
pub(crate) fn announce(text: &str) {
    info(text);
    if let Ok(mut console) = OpenOptions::new().write(true).open("/dev/console") {
        let _ = console.write_all(format!("Holdfast: {text}\r\n").as_bytes());
    }
}

/// Says what is not as it should be; shown with `quiet` too.
pub(crate) fn warn(text: &str) {
    write(Level::Warning, text);
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Says why this cannot go on and restarts the box, so that the boot loader counts the slot's tries down.
pub(crate) fn give_up(text: &str) -> ! {
    write(Level::Alert, &format!("{text}; restarting"));
    thread::sleep(LEGIBLE);
    loop {
        rustix::fs::sync();
        let _ = rustix::system::reboot(rustix::system::RebootCommand::Restart);
        // Were the call refused, the kernel has another way; were that refused too, the watchdog has.
        let _ = fs::write("/proc/sysrq-trigger", "b");
        thread::sleep(LEGIBLE);
    }
}

fn write(level: Level, text: &str) {
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let line: String = line.chars().take(400).collect();
        // One write is one record. There is nobody to tell that telling failed.
        let _ = match LOG.get() {
            Some(mut log) => log.write_all(format!("<{}>holdfast-initrd: {line}\n", level as u8).as_bytes()),
            None => writeln!(std::io::stderr(), "holdfast-initrd: {line}"),
        };
    }
}
