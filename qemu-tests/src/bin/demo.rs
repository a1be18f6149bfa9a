//! The demo: a registry, a box, a page.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use qemu_tests::{Disk, Lab, Machine, Registry, Setup};

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
        result = &mut work => result,
        _ = interrupted => {
            // The demo sees this wherever it waits, and takes the box down itself.
            drop(stop);
            work.await
        }
    };
    match result.context("the demo crashed").and_then(|r| r) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(once: bool, stopped: &std::sync::mpsc::Receiver<()>) -> Result<()> {
    let lab = Lab::new()?;
    let registry = Registry::start(&lab)?;
    registry.push(&lab, &lab.app("nginx"), "nginx:demo")?;
    let word = if once { random_word()? } else { "hello from Holdfast".to_owned() };
    let disk = Disk::new(&lab, "demo.raw", 4 << 30)?;
    println!("booting a box");
    let machine = Machine::boot(&lab, &disk, &Setup::with(user_data(&registry, &word)))?;
    let end = std::time::Instant::now() + LIMIT;
    while !machine.serves(&word) {
        if stopped.recv_timeout(Duration::from_millis(200))
            == Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
        {
            return Ok(());
        }
        ensure!(std::time::Instant::now() < end, "no page; the console's end:\n{}", machine.console.tail(60));
    }
    println!("served after {:.0} s: {}", machine.age().as_secs_f64(), machine.url());
    let status = machine.cli(&["status"])?;
    print!("{}", String::from_utf8_lossy(&status.stdout));
    if once {
        let (out, err) = (status.stdout, String::from_utf8_lossy(&status.stderr));
        ensure!(!out.is_empty(), "no status: {err}\nthe console's end:\n{}", machine.console.tail(60));
        return machine.kill();
    }
    println!("its CLI: {}", machine.ssh_line());
    println!("Ctrl-C ends it");
    // Nothing is ever sent: this returns when the sender is gone.
    let _ = stopped.recv();
    Ok(())
}

fn random_word() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(format!("word{:x}{:x}", now.subsec_nanos(), std::process::id()))
}

fn user_data(registry: &Registry, word: &str) -> String {
    let (host, image) = (registry.host(), registry.reference("nginx:demo"));
    format!(
        r#"format = 1

[box]
hostname = "demo"

[[box.registry]]
host = "{host}"
plain_http = true

[[recipe]]
name = "hello"
[recipe.params.word]
type = "string"
default = "{word}"
[recipe.containers.web]
image = "{image}"
ports = ["80:8080"]
files = {{ "/usr/share/nginx/html/index.html" = {{ content = "<p>{{{{ params.word }}}}</p>\n" }} }}
[recipe.containers.web.health]
http = ":8080/"
"#
    )
}
