//! The demo: a box that runs a recipe of its library, and a page.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use qemu_tests::{Disk, Lab, Machine, Setup};

/// How long the first boot may take until the page is served: emulated processors are slow.
const LIMIT: Duration = Duration::from_secs(420);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let once = std::env::args().any(|a| a == "--once");
    let interrupted = async {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            done = tokio::signal::ctrl_c() => done,
            _ = term.recv() => Ok(()),
        }
    };
    let (stop, stopped) = std::sync::mpsc::channel();
    let work = tokio::task::spawn_blocking(move || demo(once, &stopped));
    tokio::pin!(work);
    let result = tokio::select! {
        biased;
        _ = interrupted => {
            // The demo sees this wherever it waits, and takes the box down itself. The box may have heard of it
            // too: that it ended is no failure then.
            drop(stop);
            work.await.map(|_| Ok(()))
        }
        result = &mut work => result,
    };
    match result.context("the demo crashed").and_then(|r| r) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(once: bool, stopped: &Receiver<()>) -> Result<()> {
    let lab = Lab::new()?;
    let word = if once { random_word()? } else { "hello from Holdfast".to_owned() };
    let disk = Disk::new(&lab, "demo.raw", 4 << 30)?;
    println!("booting a box");
    let machine = Machine::boot(&lab, &disk, &Setup::with(user_data(&word)))?;
    if !wait(&machine, stopped, "page", || machine.serves(&word))? {
        return Ok(());
    }
    println!("served after {:.0} s: {}", machine.age().as_secs_f64(), machine.url());
    let healthy = || machine.json(&["status"], &[0, 3]).is_ok_and(|status| status["health"] == "healthy");
    if !wait(&machine, stopped, "healthy box", healthy)? {
        return Ok(());
    }
    print!("{}", String::from_utf8_lossy(&machine.cli(&["status"])?.stdout));
    if once {
        return machine.kill();
    }
    println!("its CLI: {}", machine.ssh_line());
    println!("Ctrl-C ends it");
    // Nothing is ever sent: this returns when the sender is gone.
    let _ = stopped.recv();
    Ok(())
}

/// Asks until something holds; `false` when Ctrl-C came first.
fn wait(machine: &Machine, stopped: &Receiver<()>, what: &str, holds: impl Fn() -> bool) -> Result<bool> {
    let end = Instant::now() + LIMIT;
    while !holds() {
        if stopped.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Disconnected) {
            return Ok(false);
        }
        ensure!(Instant::now() < end, "no {what}; the console's end:\n{}", machine.console.tail(60));
    }
    Ok(true)
}

fn random_word() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(format!("word{:x}{:x}", now.subsec_nanos(), std::process::id()))
}

fn user_data(word: &str) -> String {
    format!(
        r#"format = 1

[box]
hostname = "demo"

[[recipe]]
use = "hello"
params = {{ word = "{word}" }}
"#
    )
}
