//! What the tests share: a lab with a registry and the demo's app in it.
#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]

pub(crate) mod follower;

use std::process::Output;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use image_layout::Slot;
pub(crate) use qemu_tests::documents::{page, probe, settings, site};
use qemu_tests::{Lab, Machine, Registry, documents};

/// How long a boot may take until its page is served: emulated processors are slow.
pub(crate) const BOOT: Duration = Duration::from_secs(420);
/// How long a change to a running box may take.
pub(crate) const CHANGE: Duration = Duration::from_secs(180);
/// Bytes of an ordinary disk.
pub(crate) const DISK: u64 = 4 << 30;

/// A lab and a registry that serves `nginx:1` and `probe:1`.
pub(crate) fn lab() -> (Lab, Registry) {
    let lab = Lab::new().unwrap();
    let registry = Registry::with_apps(&lab, &["nginx", "probe"]).unwrap();
    (lab, registry)
}

/// Applies a document by the CLI, with more arguments; what it said, and its exit code.
pub(crate) fn apply(machine: &Machine, document: &str, more: &[&str]) -> Output {
    documents::apply(machine, document, more).unwrap()
}

/// A box that had booted already, with `document` accepted: for tests that are not about booting.
pub(crate) fn resumed(lab: &Lab, document: &str, expected: &[&'static str]) -> Machine {
    let machine = Machine::resume(lab, expected).unwrap();
    let accepted = apply(&machine, document, &["--no-wait"]);
    assert!(accepted.status.success(), "{}", out(&accepted));
    machine
}

/// Stdout of a command that must succeed.
pub(crate) fn text(machine: &Machine, arguments: &[&str]) -> String {
    let done = machine.cli(arguments).unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", out(&done));
    String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
}

/// Asks until something holds, and gives what was found; the error is how it is instead.
pub(crate) fn wait_until<T>(what: &str, limit: Duration, mut holds: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + limit;
    loop {
        match holds() {
            Ok(found) => return found,
            Err(state) => assert!(Instant::now() < end, "not in time: {what}: {state}"),
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Waits until the box says that nothing is left to do and nothing is wrong.
pub(crate) fn settled(machine: &Machine) {
    wait_until("a healthy box", CHANGE, || {
        let status = machine.json(&["status"], &[0, 3]).unwrap();
        if status["health"] == "healthy" { Ok(()) } else { Err(status.to_string()) }
    });
}

/// The word of a command's stdout, for messages.
pub(crate) fn out(output: &std::process::Output) -> String {
    format!(
        "{}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Waits until the initrd says behind `mark` that it starts `slot`; the whole line.
pub(crate) fn started(machine: &Machine, slot: Slot, mark: usize) -> String {
    let said = format!("Holdfast: slot {slot} on");
    machine.console.wait_after(mark, &said, BOOT).unwrap();
    let text = machine.console.text();
    let start = mark + text[mark..].find(&said).unwrap();
    machine.console.wait_after(start, "\n", CHANGE).unwrap();
    machine.console.text()[start..].lines().next().unwrap().to_owned()
}

/// Waits until a command can be run in each of these containers.
pub(crate) fn up(machine: &Machine, containers: &[&str]) {
    machine.wait_ssh(BOOT).unwrap();
    for container in containers {
        wait_until(container, BOOT, || {
            let done = machine.cli(&["exec", container, "--", "/bin/true"]).unwrap();
            if done.status.success() { Ok(()) } else { Err(out(&machine.cli(&["status"]).unwrap())) }
        });
    }
}

/// A small generator of numbers, so that a seed that failed can be given again as `HOLDFAST_SEED`.
pub(crate) struct Random(u64);

impl Random {
    /// Prints its seed.
    pub(crate) fn new() -> Random {
        let given = std::env::var("HOLDFAST_SEED").ok().and_then(|text| text.parse().ok());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
        let seed = given.unwrap_or_else(now);
        println!("HOLDFAST_SEED={seed}");
        Random(seed)
    }

    /// What it began with.
    pub(crate) fn seed(&self) -> u64 {
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
