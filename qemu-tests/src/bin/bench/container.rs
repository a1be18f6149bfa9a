//! `container-run`: our shim beside crun.
//!
//! Both run in the same box, in turns, from the bundle that the agent wrote for a container of the probe
//! app, with `true` as its program: the same namespaces, ids, capabilities, limits, masked paths and
//! seccomp profile, and cgroups of their own. Create, start, wait and delete are one command of each. The
//! shim builds the root out of the image's layer, as it does for every container; crun has no part in that
//! and finds its root mounted. Both roots are mounted anew for each run and taken down by it, since what a
//! layer holds is in memory as long as it is mounted: to read it, and to clear it, costs more than all that
//! either program does.

use std::time::Duration;

use anyhow::{Context, Result};
use qemu_tests::{Disk, Machine, Setup};

use crate::bench::Bench;
use crate::figure::{Aim, Figure};
use crate::figures::median;
use crate::ours::{LIMIT, Ours};

/// Batches of each, in turns; the median counts.
const BATCHES: usize = 15;
/// Runs in a batch: the box's clock tells hundredths of a second only.
const RUNS: usize = 5;

/// Makes the bundles out of the agent's, one of the shim's and one of crun's for each run of a batch. What differs is
/// said in the module's words.
const PREPARE: &str = "set -e; b=/run/bench; v=/var/lib/bench; mkdir -p $b/bundles/ours $b/tools $v/ours; \
    chmod 755 $b $b/bundles $v; mount -t vfat -o ro /dev/vdb $b/tools; \
    c=$b/config; tr -d ' \n' </run/holdfast/bundles/probe.sh/config.json >$c; \
    sed -e 's#\"/bin/sleep\",\"1000000\"#\"/bin/true\"#' \
        -e 's#/containers.slice/holdfast-probe.sh.service/ctr#/bench/ours#' \
        -e 's#/var/lib/holdfast/containers/probe.sh#/var/lib/bench/ours#' $c >$b/bundles/ours/config.json; \
    grep -q '\"/bin/true\"' $b/bundles/ours/config.json; \
    base=$(grep -o '\"hostID\":[0-9]*' $c | head -n1 | cut -d: -f2); \
    for n in $RUNS; do mkdir -p $b/crun/$n $b/layer/$n $b/root/$n $v/upper/$n $v/work/$n; cd $v/upper/$n; \
    mkdir -p dev proc sys etc run/secrets; \
    for f in etc/hosts etc/resolv.conf etc/hostname; do : >$f; done; chown -R $base:$base .; \
    sed -e 's#/bench/ours#/bench/crun#' -e \"s#\\\"root\\\":{[^}]*}#\\\"root\\\":{\\\"path\\\":\\\"$b/root/$n\\\"}#\" \
        $b/bundles/ours/config.json >$b/crun/$n/config.json; grep -q $b/root/$n $b/crun/$n/config.json; done";

/// Mounts crun's roots anew.
const MOUNT: &str = "set -e; b=/run/bench; v=/var/lib/bench; \
    layer=$(grep -o '/var/lib/holdfast/[^\"\\]*erofs' $b/config | head -n1); for n in $RUNS; do \
    mount -t erofs -o ro \"$layer\" $b/layer/$n; \
    mount -t overlay -o lowerdir=$b/layer/$n,upperdir=$v/upper/$n,workdir=$v/work/$n bench $b/root/$n; done";

const OURS: &str = "/usr/libexec/holdfast/holdfast-shim run --state /run/bench/state /run/bench/bundles/ours";
const CRUN: &str = "LD_LIBRARY_PATH=/run/bench/tools /run/bench/tools/crun --root /run/bench/crun-state run --bundle /run/bench/crun/$n bench && umount /run/bench/root/$n /run/bench/layer/$n";

pub(crate) fn figures(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    let (mine, crun) = run(&bench.ours, &bench.peer()?.crun()?)?;
    Ok(vec![Figure::new(name, "ms", mine, Some(crun), Aim::Ratio(1.2))])
}

/// Milliseconds of the shim and of crun; `crun` are its files by name.
fn run(ours: &Ours, crun: &[(&str, Vec<u8>)]) -> Result<(f64, f64)> {
    let disk = Disk::new(&ours.lab, "container.raw", 4 << 30)?;
    let tools = Disk::with_files(&ours.lab, "tools.raw", crun)?;
    let user_data = format!(
        "{}[[recipe]]\nname = \"probe\"\n[recipe.containers.sh]\nimage = \"{}\"\n\
         entrypoint = [\"/bin/sleep\", \"1000000\"]\n",
        ours.settings(),
        ours.registry.reference("probe:1")
    );
    let setup =
        Setup { memory: 1024, shell: true, more_disks: vec![(tools, false)], ..Setup::with(user_data) };
    let mut machine = Machine::boot(&ours.lab, &disk, &setup)?;
    machine.wait_ssh(LIMIT)?;
    while !machine.json(&["ps"], &[0, 3])?.to_string().contains("\"running\"") {
        std::thread::sleep(Duration::from_secs(1));
    }
    std::thread::sleep(Duration::from_secs(10));
    let script = |machine: &mut Machine, text: &str| {
        let numbers: Vec<String> = (1..=RUNS).map(|n| n.to_string()).collect();
        let text = text.replace("$RUNS", &numbers.join(" "));
        machine.shell(&format!("sh -c '{}'", text.replace('\'', r"'\''")))
    };
    script(&mut machine, PREPARE)?;
    let (mut shims, mut cruns) = (vec![], vec![]);
    for batch in 0..=BATCHES {
        script(&mut machine, MOUNT)?;
        let (shim, crun) = (timed(&mut machine, OURS)?, timed(&mut machine, CRUN)?);
        // The first batch of each finds its own files cold.
        if batch > 0 {
            shims.push(shim);
            cruns.push(crun);
        }
    }
    machine.kill()?;
    Ok((median(&mut shims), median(&mut cruns)))
}

/// Milliseconds of one run of a command line, by the box's own clock. `$n` is the run's number in its batch.
fn timed(machine: &mut Machine, line: &str) -> Result<f64> {
    let runs: Vec<String> =
        (1..=RUNS).map(|n| format!("n={n} && {line} >/dev/null 2>&1 </dev/null")).collect();
    let clock = "$(cut -d' ' -f1 /proc/uptime | tr -d .)";
    let said = machine.shell(&format!("t={clock}; {} && echo $(({clock} - t))", runs.join(" && ")))?;
    let hundredths: f64 = said.trim().parse().with_context(|| format!("`{line}` said {said}"))?;
    Ok(hundredths * 10.0 / RUNS as f64)
}
