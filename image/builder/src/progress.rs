//! What the user sees while work goes on: bars on a terminal, plain lines otherwise, all on stderr.
//! With `--verbose` each step says how long it took. Nothing here is written to stdout, which belongs
//! to results.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How progress is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    verbose: bool,
    terminal: bool,
}

impl Progress {
    /// Bars where stderr is a terminal.
    pub(crate) fn new(verbose: bool) -> Self {
        Progress { verbose, terminal: std::io::stderr().is_terminal() }
    }

    /// A line that is always shown.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        say(format_args!("{}", text.as_ref()));
    }

    /// Runs a step under its name: a spinner while it runs on a terminal, a line otherwise, and its
    /// time with `--verbose`.
    pub(crate) fn step<T>(&self, name: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let spinner = self.spinner(name);
        let result = work();
        spinner.finish_and_clear();
        if self.verbose {
            say(format_args!("{name}: {:.2} s", start.elapsed().as_secs_f64()));
        }
        result
    }

    /// A bar over `total` bytes; a plain line where stderr is no terminal.
    pub(crate) fn bytes(&self, name: &str, total: u64) -> ProgressBar {
        if !self.terminal {
            say(format_args!("{name}, {}", size(total)));
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let style = "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(name.to_owned());
        bar
    }

    fn spinner(&self, name: &str) -> ProgressBar {
        if !self.terminal {
            if !self.verbose {
                say(format_args!("{name}"));
            }
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::default_spinner());
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }
}

/// A line on stderr. Nobody may be listening any more, which is no reason to stop.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A size for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
