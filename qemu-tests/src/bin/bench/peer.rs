//! The peer's side of each figure: its own scripts where they measure the same, our machine elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use qemu_tests::{Disk, Firmware, Machine, Setup};

use crate::ours::{BEFORE_KILL, Boot, LIMIT, Ours, TEXT, compressed, gap, least, seconds, served_and_stays};

/// What the peer's memory is counted by: the same sums as `status` makes.
const MEMORY: &str = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null | awk '/^Pss:/{p+=$2} END{print \"Pss:\", p}'; \
                      cat /proc/meminfo /proc/iomem";

/// Kills conmon and prints hundredths of a second until another one watches over the container.
const CONMON_KILLED: &str = "now() { cut -d' ' -f1 /proc/uptime | tr -d .; }; \
    conmon() { podman inspect -f '{{if .State.Running}}{{.State.ConmonPid}}{{end}}' systemd-hello 2>/dev/null; }; \
    old=$(conmon); t=$(now); kill -9 $old; \
    while :; do sleep 0.02; new=$(conmon); [ -n \"$new\" ] && [ \"$new\" != $old ] && break; done; \
    echo $(($(now) - t))";

/// The peer's image.
pub(crate) struct Peer {
    dir: PathBuf,
}

impl Peer {
    /// Builds the peer unless it is there.
    pub(crate) fn build(ours: &Ours) -> Result<Peer> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/peers/mkosi").canonicalize()?;
        let peer = Peer { dir };
        if !peer.raw().exists() {
            eprintln!("building the peer");
            peer.run_build()?;
        }
        ensure!(ours.lab.image().exists(), "no image to compare with");
        Ok(peer)
    }

    fn raw(&self) -> PathBuf {
        self.dir.join("mkosi.output/peer.raw")
    }

    fn run_build(&self) -> Result<()> {
        let log = std::fs::File::create(self.dir.join("build.log"))?;
        let mut build = Command::new(self.dir.join("build"));
        let status = build.stdout(log.try_clone()?).stderr(log).status().context("cannot build the peer")?;
        ensure!(status.success(), "the peer does not build; see {}", self.dir.join("build.log").display());
        Ok(())
    }

    pub(crate) fn build_warm(&self) -> Result<f64> {
        let start = Instant::now();
        self.run_build()?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// MB of the raw image through gzip at the same level as ours.
    pub(crate) fn size_compressed(&self) -> Result<f64> {
        compressed(&self.raw())
    }

    pub(crate) fn boots(&self, ours: &Ours) -> Result<[Boot; 2]> {
        let disk = self.disk(ours)?;
        let boot = || -> Result<(Boot, Machine)> {
            let machine = self.machine(ours, &disk, 1024)?;
            let wall = machine.wait_served(TEXT, LIMIT)?.as_secs_f64();
            Ok((Boot { wall, cpu: machine.cpu()? }, machine))
        };
        let (first, machine) = boot()?;
        // It is not made for a cut: it is given the orderly end that it expects.
        machine.power_off(LIMIT)?;
        let (later, machine) = boot()?;
        machine.kill()?;
        Ok([first, later])
    }

    /// A box that serves the page, on a new disk.
    pub(crate) fn served(&self, ours: &Ours) -> Result<Machine> {
        let disk = self.disk(ours)?;
        let machine = self.machine(ours, &disk, 1024)?;
        machine.wait_served(TEXT, LIMIT)?;
        Ok(machine)
    }

    /// MiB in use on a box, as `status` of ours counts.
    pub(crate) fn memory(&self, machine: &Machine) -> Result<f64> {
        let said = self.ssh(machine, MEMORY)?;
        let kib = |name: &str| -> Result<f64> {
            let line =
                said.lines().find_map(|l| l.strip_prefix(name)).with_context(|| format!("no {name}"))?;
            Ok(line.split_whitespace().next().context("no figure")?.parse::<f64>()?)
        };
        // What the kernel took before it gave out memory, and what it holds.
        let installed = said.lines().filter_map(ram).sum::<u64>() as f64 / 1024.0;
        let held = ["PageTables:", "KernelStack:", "Percpu:", "SecPageTables:"].map(kib);
        let held = held.into_iter().sum::<Result<f64>>()?;
        Ok((kib("Pss:")? + kib("Slab:")? + installed - kib("MemTotal:")? + held) / 1024.0)
    }

    pub(crate) fn least_memory(&self, ours: &Ours) -> Result<f64> {
        least(&[192, 224, 256, 320, 384], |memory| {
            served_and_stays(&self.machine(ours, &self.disk(ours)?, memory)?)
        })
    }

    /// Seconds without a page after the container's first process is killed.
    pub(crate) fn killed(&self, machine: &Machine) -> Result<f64> {
        let kill = format!(
            "pid=$(podman inspect -f '{{{{.State.Pid}}}}' systemd-hello); \
             (sleep {BEFORE_KILL}; kill -9 $pid) >/dev/null 2>&1 </dev/null &"
        );
        self.ssh(machine, &kill)?;
        gap(machine)
    }

    /// Seconds from the kill of conmon until another one watches over the container.
    pub(crate) fn conmon_killed(&self, machine: &Machine) -> Result<f64> {
        seconds(&self.ssh(machine, CONMON_KILLED)?)
    }

    /// A new disk.
    pub(crate) fn disk(&self, ours: &Ours) -> Result<Disk> {
        Disk::of(&ours.lab, &self.raw(), "peer.raw", 4 << 30)
    }

    pub(crate) fn machine(&self, ours: &Ours, disk: &Disk, memory: u32) -> Result<Machine> {
        Machine::boot(&ours.lab, disk, &setup(memory))
    }

    /// The files of crun as the peer has it, with the library that our root lacks: name and content.
    pub(crate) fn crun(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let unpacked = tempfile::tempdir()?;
        let archives = self.dir.join("work/pkgcache/cache/apt/archives");
        for entry in std::fs::read_dir(&archives).with_context(|| format!("no {}", archives.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if name.starts_with("crun_") || name.starts_with("libyajl2_") {
                let status = Command::new("dpkg-deb").arg("-x").arg(&path).arg(unpacked.path()).status()?;
                ensure!(status.success(), "{} does not unpack", path.display());
            }
        }
        let read = |name, path: &str| -> Result<_> {
            let path = unpacked.path().join(path);
            Ok((name, std::fs::read(&path).with_context(|| format!("the peer has no {}", path.display()))?))
        };
        let library = "usr/lib/x86_64-linux-gnu/libyajl.so.2";
        Ok(vec![read("crun", "usr/bin/crun")?, read("libyajl.so.2", library)?])
    }

    fn ssh(&self, machine: &Machine, line: &str) -> Result<String> {
        let mut ssh = machine.ssh_command();
        let output = ssh.arg("-i").arg(self.dir.join("work/id")).arg("root@127.0.0.1").arg(line).output()?;
        ensure!(output.status.success(), "ssh to the peer: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The peer needs UEFI; its trouble is its own.
fn setup(memory: u32) -> Setup {
    Setup { firmware: Firmware::Uefi, memory, expected: vec![""], ..Setup::default() }
}

/// Bytes of memory that a line of `/proc/iomem` speaks of.
fn ram(line: &str) -> Option<u64> {
    let (from, to) = line.strip_suffix(" : System RAM")?.split_once('-')?;
    let hex = |word: &str| u64::from_str_radix(word, 16).ok();
    Some(hex(to)?.checked_sub(hex(from)?)? + 1)
}
