//! The peer's side of each figure: its own scripts where they measure the same, our machine elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::{Compression, write::GzEncoder};
use qemu_tests::{Disk, Firmware, Machine, Setup};

use crate::ours::{Boot, Ours, gap};

const LIMIT: Duration = Duration::from_secs(300);
const TEXT: &str = "hello";
/// What the peer's memory is counted by: the same sums as `status` makes.
const MEMORY: &str = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null | awk '/^Pss:/{p+=$2} END{print \"Pss:\", p}'; \
                      cat /proc/meminfo; dmesg | grep -m1 ' reserved'";

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
        let mut counted = GzEncoder::new(Count(0), Compression::best());
        std::io::copy(&mut std::fs::File::open(self.raw())?, &mut counted)?;
        Ok(counted.finish()?.0 as f64 / 1e6)
    }

    pub(crate) fn boot(&self, ours: &Ours, later: bool) -> Result<Boot> {
        let disk = Disk::of(&ours.lab, &self.raw(), "peer.raw", 4 << 30)?;
        if later {
            let machine = Machine::boot(&ours.lab, &disk, &setup(1024))?;
            machine.wait_served(TEXT, LIMIT)?;
            machine.power_off(LIMIT)?;
        }
        let machine = Machine::boot(&ours.lab, &disk, &setup(1024))?;
        let wall = machine.wait_served(TEXT, LIMIT)?.as_secs_f64();
        let cpu = machine.cpu()?;
        machine.kill()?;
        Ok(Boot { wall, cpu })
    }

    pub(crate) fn memory(&self, ours: &Ours) -> Result<f64> {
        let disk = Disk::of(&ours.lab, &self.raw(), "peer.raw", 4 << 30)?;
        let machine = Machine::boot(&ours.lab, &disk, &setup(1024))?;
        machine.wait_served(TEXT, LIMIT)?;
        std::thread::sleep(Duration::from_secs(60));
        let said = self.ssh(&machine, MEMORY)?;
        machine.kill()?;
        let kib = |name: &str| -> Result<f64> {
            let line =
                said.lines().find_map(|l| l.strip_prefix(name)).with_context(|| format!("no {name}"))?;
            Ok(line.split_whitespace().next().context("no figure")?.parse::<f64>()?)
        };
        // The machine's memory less what the kernel gives out is what it took for itself before.
        let taken = 1024.0 * 1024.0 - kib("MemTotal:")?;
        let own = kib("KernelStack:")? + kib("PageTables:")?;
        Ok((kib("Pss:")? + kib("Slab:")? + taken + own) / 1024.0)
    }

    pub(crate) fn least_memory(&self, ours: &Ours) -> Result<f64> {
        let mut least = None;
        for memory in [512, 384, 256, 224, 192] {
            let disk = Disk::of(&ours.lab, &self.raw(), "peer.raw", 4 << 30)?;
            let machine = Machine::boot(&ours.lab, &disk, &setup(memory))?;
            let served = machine.wait_served(TEXT, LIMIT).is_ok();
            machine.kill()?;
            if !served {
                break;
            }
            least = Some(f64::from(memory));
        }
        least.context("the peer does not serve with 512 MiB")
    }

    pub(crate) fn killed(&self, ours: &Ours) -> Result<f64> {
        let disk = Disk::of(&ours.lab, &self.raw(), "peer.raw", 4 << 30)?;
        let machine = Machine::boot(&ours.lab, &disk, &setup(1024))?;
        machine.wait_served(TEXT, LIMIT)?;
        std::thread::sleep(Duration::from_secs(20));
        self.ssh(&machine, "kill -9 $(podman inspect -f '{{.State.Pid}}' systemd-hello)")?;
        let gap = gap(&machine);
        machine.kill()?;
        gap
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

/// Counts what is written.
struct Count(u64);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
