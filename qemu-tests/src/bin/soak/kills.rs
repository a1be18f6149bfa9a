//! Every process of a box is killed in its turn.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu_tests::cuts::{Random, healthy, serves};
use qemu_tests::documents::{apply, page, probe};
use qemu_tests::{Lab, Machine, Registry, Stop};

use crate::counts::{Counts, Failure};

/// How long it may take until all is well again: emulated processors are slow.
const LIMIT: Duration = Duration::from_secs(180);
/// How long the box is given to notice.
const NOTICE: Duration = Duration::from_secs(2);
const TEXT: &str = "unharmed";
/// Process, program and name of each that has a program and is neither the first nor the test's own shell.
const LIST: &str = "for p in /proc/[0-9]*; do e=$(readlink $p/exe) && case $e in /run/lab/*) ;; *) \
                    echo ${p#/proc/} $e $(cat $p/comm);; esac; done 2>/dev/null | grep -v '^1 '";

/// Kills `count` processes; after each the box must be healthy, answer and serve, without a reboot.
pub(crate) fn run(counts: &mut Counts, count: usize, seed: u64, stop: &Stop) -> Result<()> {
    let lab = Lab::new()?;
    let registry = Registry::with_apps(&lab, &["nginx", "probe"])?;
    let (mut machine, mut boot) = sound(&lab, &registry, stop)?;
    let mut random = Random::new(seed);
    let mut killed: BTreeMap<String, usize> = BTreeMap::new();
    let mut n = 0;
    while n < count && !stop.asked() {
        let (pid, name) = choose(&mut machine, &killed, &mut random)?;
        // One that has ended by itself meanwhile does not count.
        if machine.shell(&format!("kill -9 {pid} 2>/dev/null")).is_err() {
            continue;
        }
        *killed.entry(name.clone()).or_default() += 1;
        n += 1;
        std::thread::sleep(NOTICE);
        let problem = well(&machine, stop).and_then(|()| same(&mut machine, &boot)).err();
        if stop.asked() {
            break;
        }
        println!("{n} of {count}: {name}");
        let failed = problem.is_some();
        let failure = problem.map(|error| Failure {
            run: 0,
            what: format!("{name} ({pid}) killed"),
            cut: None,
            problems: vec![format!("{error:#}; the console's end:\n{}", machine.console.tail(40))],
            kept: None,
        });
        counts.add(&name, "killed", failure)?;
        if failed {
            machine.kill()?;
            (machine, boot) = sound(&lab, &registry, stop)?;
        }
    }
    machine.kill()
}

/// A box that serves, and the id of its boot.
fn sound(lab: &Lab, registry: &Registry, stop: &Stop) -> Result<(Machine, String)> {
    let mut machine = Machine::resume(lab, &[])?;
    let done = apply(&machine, &(page(registry, TEXT) + &probe(registry, "")), &[])?;
    ensure!(done.status.success(), "apply: {}", String::from_utf8_lossy(&done.stderr));
    well(&machine, stop)?;
    let boot = boot_id(&mut machine)?;
    Ok((machine, boot))
}

/// Of the names that were killed least, any process.
fn choose(
    machine: &mut Machine,
    killed: &BTreeMap<String, usize>,
    random: &mut Random,
) -> Result<(u32, String)> {
    let listing = machine.shell(LIST)?;
    let process = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (pid, _, name) = (words.next()?.parse::<u32>().ok()?, words.next()?, words.next()?);
        Some((pid, name.to_owned()))
    };
    let all: Vec<(u32, String)> = listing.lines().filter_map(process).collect();
    let times = |name: &str| killed.get(name).copied().unwrap_or(0);
    let least = all.iter().map(|(_, name)| times(name)).min().context("the box has no processes")?;
    let mut least: Vec<_> = all.into_iter().filter(|(_, name)| times(name) == least).collect();
    Ok(least.swap_remove(random.below(least.len() as u64) as usize))
}

fn well(machine: &Machine, stop: &Stop) -> Result<()> {
    healthy(machine, stop, LIMIT)?;
    serves(machine, TEXT, stop, LIMIT)
}

fn boot_id(machine: &mut Machine) -> Result<String> {
    machine.shell("cat /proc/sys/kernel/random/boot_id")
}

fn same(machine: &mut Machine, boot: &str) -> Result<()> {
    ensure!(boot_id(machine)? == boot, "the box has rebooted");
    Ok(())
}
