//! What an update costs: bytes, memory, and seconds without a page.
//!
//! Bytes are those of block maps and blocks, as `update status` says; the signed metadata before them is some
//! 7 kB. Every release is staged by a box that was just installed, whose other slot is empty: what helps is
//! what runs.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use image_layout::block_map::{BlockMap, MAGIC};
use qemu_tests::documents::page;
use qemu_tests::{Disk, FIRST, Machine, Publisher, SECOND, Setup, time_server};

use crate::bench::{Bench, SETTLED};
use crate::figure::{Aim, Figure};
use crate::ours::{LIMIT, Ours, TEXT, compressed};
use crate::releases;

/// Notes five times a second the most memory that the unit had so far, its page cache in it, and what of it
/// is anonymous now.
const WATCH: &str = "(cd /sys/fs/cgroup/system.slice; while sleep 0.2; do \
    echo $(cat holdfast-update.service/memory.peak && grep '^anon ' holdfast-update.service/memory.stat); \
    done) >/run/bench-memory 2>/dev/null </dev/null &";

/// How a release was staged.
pub(crate) struct Staged {
    /// MB of the whole image through gzip.
    whole: f64,
    /// MB of maps and blocks that were fetched.
    fetched: f64,
    /// MiB of memory at most.
    peak: f64,
    /// MiB of it that were not page cache.
    anonymous: f64,
}

impl Staged {
    /// The release in which our programs alone changed.
    pub(crate) fn own(ours: &Ours) -> Result<Staged> {
        let publisher = Publisher::new(&ours.lab)?;
        Staged::of(ours, &publisher, &releases::own(&ours.lab, &publisher)?)
    }

    fn five(ours: &Ours) -> Result<Staged> {
        let publisher = Publisher::new(&ours.lab)?;
        Staged::of(ours, &publisher, &releases::five(&ours.lab, &publisher)?)
    }

    fn of(ours: &Ours, publisher: &Publisher, image: &Path) -> Result<Staged> {
        publisher.add(image)?;
        let mut machine = follower(ours, publisher)?;
        machine.shell(WATCH)?;
        let status = machine.json(&["update", "stage"], &[0])?;
        let bytes = |name: &str| {
            status["staged"][name].as_f64().with_context(|| format!("no {name} of what was staged: {status}"))
        };
        let (fetched, needed) = (bytes("fetched")? / 1e6, bytes("needed")? / 1e6);
        eprintln!("  {fetched:.2} MB fetched, {needed:.2} MB needed");
        let said = machine.shell("cat /run/bench-memory")?;
        machine.kill()?;
        let [peak, anonymous] = [0, 2].map(|n| most(&said, n));
        ensure!(peak > 0.0, "the memory of the unit was not seen");
        Ok(Staged { whole: compressed(&image.join("holdfast.raw"))?, fetched, peak, anonymous })
    }
}

/// `update-bytes-own` and `update-bytes-five`: MB fetched, and beside them those of the whole image.
pub(crate) fn bytes(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    let figure = |staged: &Staged, aim| {
        vec![Figure::new(name, "MB", staged.fetched, Some(staged.whole), Aim::Ratio(aim))]
    };
    Ok(match name {
        "update-bytes-own" => figure(bench.staged_own()?, 0.25),
        _ => figure(&Staged::five(&bench.ours)?, 0.2),
    })
}

/// `update-bytes-all`: the same for a box that has no block of the release: its maps and all of its blocks.
pub(crate) fn bytes_all(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    let publisher = Publisher::new(&bench.ours.lab)?;
    publisher.add(&publisher.image(SECOND))?;
    let mut all = 0;
    for entry in fs::read_dir(publisher.repository().join(image_layout::release::TARGETS))? {
        let bytes = fs::read(entry?.path())?;
        if bytes.starts_with(&MAGIC) {
            all += bytes.len() as u64 + BlockMap::decode(&bytes)?.stored();
        }
    }
    let whole = compressed(&publisher.raw(SECOND))?;
    Ok(vec![Figure::new(name, "MB", all as f64 / 1e6, Some(whole), Aim::Ratio(1.0))])
}

/// `stage-memory`: MiB at most, of 64 MB, while a release is staged in which our programs changed. The page cache
/// counts: it fills what the unit is given, which the aim is not above, and the kernel takes it back; so what is
/// anonymous is a figure of its own.
pub(crate) fn memory(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    let staged = bench.staged_own()?;
    let figure = |name: &str, value| Figure::new(name, "MiB", value, None, Aim::Ours(61.0));
    Ok(vec![figure(name, staged.peak), figure(&format!("{name}-anonymous"), staged.anonymous)])
}

/// `update-downtime`: seconds without a page from `update apply` until the new version is kept, beside a plain
/// reboot of the same box, of which there is one before and one after it.
pub(crate) fn downtime(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    let publisher = Publisher::new(&bench.ours.lab)?;
    publisher.add(&publisher.image(SECOND))?;
    let machine = follower(&bench.ours, &publisher)?;
    let before = reboot(&machine)?;
    // The clock of a box that has restarted is set again.
    synchronized(&bench.ours, &machine)?;
    let watch = Watch::start(&machine);
    let applied = machine.cli(&["update", "apply"])?;
    ensure!(applied.status.success(), "update apply: {}", String::from_utf8_lossy(&applied.stderr));
    bench.ours.wait(LIMIT * 3, || {
        // Meanwhile it does not answer.
        Ok(machine.json(&["update"], &[0, 3]).is_ok_and(|status| status["last"]["kept"] == true))
    })?;
    let update = watch.end()?;
    let reboots = [before, reboot(&machine)?];
    eprintln!("  update {update:.1} s, reboots {reboots:.1?} s");
    machine.kill()?;
    Ok(vec![Figure::new(name, "s", update, Some(reboots.iter().sum::<f64>() / 2.0), Aim::Ratio(1.3))])
}

/// Seconds without a page when the box is rebooted.
fn reboot(machine: &Machine) -> Result<f64> {
    std::thread::sleep(SETTLED);
    let mark = machine.console.mark();
    let watch = Watch::start(machine);
    let done = machine.cli(&["reboot"])?;
    ensure!(done.status.success(), "reboot: {}", String::from_utf8_lossy(&done.stderr));
    machine.console.wait_after(mark, "Holdfast: slot", LIMIT)?;
    machine.wait_served(TEXT, LIMIT)?;
    machine.wait_ssh(LIMIT)?;
    std::thread::sleep(SETTLED);
    watch.end()
}

/// A box that serves the page and follows the publisher, and whose clock was set.
fn follower(ours: &Ours, publisher: &Publisher) -> Result<Machine> {
    let disk = Disk::of(&ours.lab, &publisher.raw(FIRST), "update.raw", 4 << 30)?;
    let document = page(&ours.registry, TEXT).replace("[box]\n", "[box]\nntp = [\"127.0.0.1\"]\n");
    let source = format!("[box.update]\nurl = \"{}\"\npolicy = \"manual\"\n", publisher.url());
    let setup = Setup { shell: true, memory: 1024, ..Setup::with(document + &source) };
    let setup = Setup { time_server: Some(time_server()?), ..setup };
    let machine = Machine::boot(&ours.lab, &disk, &setup)?;
    machine.wait_served(TEXT, LIMIT)?;
    machine.wait_ssh(LIMIT)?;
    synchronized(ours, &machine)?;
    Ok(machine)
}

fn synchronized(ours: &Ours, machine: &Machine) -> Result<()> {
    ours.wait(LIMIT, || Ok(machine.json(&["status"], &[0, 3])?["time"]["synchronized"] == true))
}

/// The largest number at this place of any line, as MiB.
fn most(lines: &str, place: usize) -> f64 {
    let number = |line: &str| line.split_whitespace().nth(place)?.parse::<f64>().ok();
    lines.lines().filter_map(number).fold(0.0, f64::max) / 1024.0 / 1024.0
}

/// Asks for the page ten times a second.
struct Watch {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<f64>,
}

impl Watch {
    fn start(machine: &Machine) -> Watch {
        let (url, stop) = (machine.url(), Arc::new(AtomicBool::new(false)));
        let asking = std::thread::spawn({
            let stop = stop.clone();
            move || without_page(&url, &stop)
        });
        Watch { stop, asking }
    }

    /// Seconds without a page until now.
    fn end(self) -> Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.join().ok().context("the watch of the page has died")
    }
}

/// Seconds from the last page before one was missed to the first one after, summed over all gaps.
fn without_page(url: &str, stop: &AtomicBool) -> f64 {
    const EVERY: Duration = Duration::from_millis(100);
    // A page that a busy host makes late is not missed.
    let config = ureq::Agent::config_builder().timeout_global(Some(EVERY * 10)).build();
    let agent = ureq::Agent::new_with_config(config);
    let served = || -> Option<bool> {
        // A connection of its own: one that is kept ends with the box.
        let request = agent.get(url).header("Connection", "close");
        Some(request.call().ok()?.body_mut().read_to_string().ok()?.contains(TEXT))
    };
    let (mut seconds, mut last, mut missed) = (0.0, Instant::now(), false);
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        if served() == Some(true) {
            if missed {
                seconds += last.elapsed().as_secs_f64();
            }
            (last, missed) = (Instant::now(), false);
        } else {
            missed = true;
        }
        std::thread::sleep(EVERY.saturating_sub(start.elapsed()));
    }
    seconds + if missed { last.elapsed().as_secs_f64() } else { 0.0 }
}
