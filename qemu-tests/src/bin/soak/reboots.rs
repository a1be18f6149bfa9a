//! One box that is restarted again and again.

use std::time::Duration;

use anyhow::{Result, ensure};
use qemu_tests::cuts::{Random, healthy, serves};
use qemu_tests::documents::{page, probe};
use qemu_tests::{Disk, Lab, Machine, Registry, Setup, Stop};
use serde_json::json;

use crate::counts::{Counts, Failure};

/// How long a start may take until all is well: emulated processors are slow.
const LIMIT: Duration = Duration::from_secs(420);
const TEXT: &str = "still here";
const VOLUME: &str = "volumes = { data = \"/data\" }\n[recipe.volumes.data]\nsize = \"64M\"\n";
/// What the loader says.
const STARTS: &str = "Holdfast: starting slot";

/// How a box is restarted.
const WAYS: [&str; 3] = ["clean", "reset", "cut"];

/// Restarts a box `count` times; each time it must serve, be healthy and have what was written before.
pub(crate) fn run(counts: &mut Counts, count: usize, seed: u64, stop: &Stop) -> Result<()> {
    let lab = Lab::new()?;
    let registry = Registry::with_apps(&lab, &["nginx", "probe"])?;
    let setup = Setup::with(page(&registry, TEXT) + &probe(&registry, VOLUME));
    let fresh = || Disk::new(&lab, "reboots.raw", 4 << 30);
    let mut disk = fresh()?;
    let mut random = Random::new(seed);
    let mut machine = Machine::boot(&lab, &disk, &setup)?;
    well(&machine, stop)?;
    for n in 1..=count {
        write(&machine, n)?;
        let way = WAYS[random.below(WAYS.len() as u64) as usize];
        let mark = machine.console.mark();
        match way {
            "clean" => drop(machine.cli(&["reboot"])?),
            "reset" => drop(machine.qmp("system_reset", json!({}))?),
            _ => {
                machine.kill()?;
                machine = Machine::boot(&lab, &disk, &setup)?;
            }
        }
        let problem = restarted(&machine, if way == "cut" { 0 } else { mark }, n, stop).err();
        if stop.asked() {
            break;
        }
        println!("{n} of {count}: {way}");
        let failed = problem.is_some();
        let failure = problem.map(|error| Failure {
            run: 0,
            what: format!("restart {n} ({way})"),
            cut: None,
            problems: vec![format!("{error:#}; the console's end:\n{}", machine.console.tail(40))],
            kept: None,
        });
        counts.add("box", way, failure)?;
        if failed {
            // The next one starts from a sound box.
            machine.kill()?;
            disk = fresh()?;
            machine = Machine::boot(&lab, &disk, &setup)?;
            well(&machine, stop)?;
        }
    }
    machine.kill()
}

/// Waits until the box has started behind `mark` and all is well, with the file of `n` in its volume.
fn restarted(machine: &Machine, mark: usize, n: usize, stop: &Stop) -> Result<()> {
    stop.wait("start", LIMIT, || {
        let said = machine.console.text();
        if said[mark..].contains(STARTS) { Ok(()) } else { Err("the loader has said nothing".to_owned()) }
    })?;
    well(machine, stop)?;
    let done = machine.cli(&["exec", "probe.sh", "--", "/bin/cat", "/data/number"])?;
    let found = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(found == n.to_string(), "the volume has `{found}` instead of `{n}`: {said}");
    Ok(())
}

fn well(machine: &Machine, stop: &Stop) -> Result<()> {
    healthy(machine, stop, LIMIT)?;
    serves(machine, TEXT, stop, LIMIT)?;
    stop.wait("container", LIMIT, || {
        let done = machine.cli(&["exec", "probe.sh", "--", "/bin/true"]).map_err(|e| e.to_string())?;
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into()) }
    })
}

/// Has the application write `n` and sync it, and the folder that has the file's name.
fn write(machine: &Machine, n: usize) -> Result<()> {
    let line = format!("cd /data; echo {n} | dd of=new conv=fsync && mv new number && sync .");
    let done = machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", &line])?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
