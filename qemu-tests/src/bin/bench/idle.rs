//! What a box costs that has nothing to do.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use qemu_tests::{Disk, Machine, Setup};

use crate::bench::{Bench, IDLE, ROUNDS};
use crate::figure::{Aim, Figure};
use crate::figures::median;
use crate::ours::{LIMIT, Ours};

/// Containers of one instance.
const INSTANCE: usize = 10;
/// How long the agent may take until it rests.
const REST: Duration = Duration::from_secs(600);
/// Ticks of `/proc/PID/stat` in a second.
const TICKS: f64 = 100.0;
/// Prints the agent's process, its time in user mode and in the kernel, and how often each of its threads
/// gave up its core by itself.
const COUNTS: &str = "p=$(pidof holdfastd); echo $p $(cut -d' ' -f14,15 /proc/$p/stat) \
                      $(grep -h ^voluntary /proc/$p/task/*/status | cut -f2)";

/// `idle-memory`: MiB in use, ours and the peer's, of boxes that are idle side by side.
pub(crate) fn memory(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    let (ours, peer) = (&bench.ours, bench.peer()?);
    let mut used = [vec![], vec![]];
    for _ in 0..ROUNDS {
        let (mine, peers) = (ours.served("memory.raw", false)?, peer.served(ours)?);
        std::thread::sleep(IDLE);
        used[0].push(ours.memory(&mine)?);
        used[1].push(peer.memory(&peers)?);
        mine.kill()?;
        peers.kill()?;
    }
    let [mine, peers] = used.map(|mut side| median(&mut side));
    Ok(vec![Figure::new(name, "MiB", mine, Some(peers), Aim::Ratio(0.5))])
}

/// `idle-cpu-N`: per cent of a core that the agent takes with N containers and no event, and how often a
/// minute any of its threads wakes up. The peer has no agent.
pub(crate) fn cpu(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    let (_, count) = name.rsplit_once('-').context("no count")?;
    let mut machine = sleepers(&bench.ours, count.parse()?)?;
    let started = Instant::now();
    // What the start of the containers left to do is no part of it; a loop would never rest.
    while started.elapsed() < REST && rises(&mut machine, 10)?.ticks > 0.0 {}
    eprintln!("  the agent rests {} s after the box was healthy", started.elapsed().as_secs());
    let risen = rises(&mut machine, IDLE.as_secs())?;
    machine.kill()?;
    let share = risen.ticks / TICKS / IDLE.as_secs_f64() * 100.0;
    let wakeups = risen.waits * 60.0 / IDLE.as_secs_f64();
    Ok(vec![
        Figure::new(name, "%", share, None, Aim::Ours(0.1)),
        Figure::new(&format!("idle-wakeups-{count}"), "/min", wakeups, None, Aim::Ours(60.0)),
    ])
}

/// By how much the agent's counts rise in so many seconds.
fn rises(machine: &mut Machine, seconds: u64) -> Result<Counts> {
    let line = format!("{COUNTS}; sleep {seconds}; {COUNTS}");
    let said = machine.shell(&line)?;
    let counts = said.lines().map(Counts::parse).collect::<Result<Vec<_>>>()?;
    let [before, after] = counts.as_slice() else { bail!("`{line}` said {said}") };
    ensure!(before.process == after.process, "the agent was started anew: {said}");
    let (ticks, waits) = (after.ticks - before.ticks, after.waits - before.waits);
    Ok(Counts { process: after.process, ticks, waits })
}

/// A box on which so many containers run that only sleep.
fn sleepers(ours: &Ours, count: usize) -> Result<Machine> {
    let disk = Disk::new(&ours.lab, "idle.raw", 8 << 30)?;
    let memory = if count > INSTANCE { 2048 } else { 1024 };
    let document = ours.settings() + &recipes(&ours.registry.reference("probe:1"), count);
    let machine = Machine::boot(&ours.lab, &disk, &Setup { memory, shell: true, ..Setup::with(document) })?;
    machine.wait_ssh(LIMIT)?;
    ours.wait(LIMIT * 4, || {
        let containers = machine.json(&["ps"], &[0, 3])?;
        let running = containers
            .as_array()
            .is_some_and(|all| all.iter().filter(|c| c["state"] == "running").count() == count);
        Ok(running && machine.json(&["status"], &[0, 3])?["health"] == "healthy")
    })?;
    Ok(machine)
}

fn recipes(image: &str, count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        if number % INSTANCE == 0 {
            text += &format!("[[recipe]]\nname = \"sleep{}\"\n", number / INSTANCE);
        }
        text += &format!(
            "[recipe.containers.c{number}]\nimage = \"{image}\"\nentrypoint = [\"/bin/sleep\", \"1000000\"]\n"
        );
    }
    text
}

/// What [`COUNTS`] printed, or the difference of two of them.
struct Counts {
    process: u32,
    ticks: f64,
    waits: f64,
}

impl Counts {
    fn parse(line: &str) -> Result<Counts> {
        let mut words = line.split_whitespace();
        let process = words.next().context("the agent does not run")?.parse()?;
        let numbers = words.map(|word| Ok(word.parse()?)).collect::<Result<Vec<f64>>>()?;
        ensure!(numbers.len() > 2, "no counts in `{line}`");
        Ok(Counts { process, ticks: numbers[0] + numbers[1], waits: numbers[2..].iter().sum() })
    }
}
