//! Our side of each figure.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::{Compression, write::GzEncoder};
use qemu_tests::{Disk, Lab, Machine, Registry, Setup};

pub(crate) const LIMIT: Duration = Duration::from_secs(300);
/// What the page says.
pub(crate) const TEXT: &str = "hello";

/// The image under measurement and what it needs.
pub(crate) struct Ours {
    pub(crate) lab: Lab,
    pub(crate) registry: Registry,
}

/// What a boot cost until the page was served.
pub(crate) struct Boot {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

impl Ours {
    pub(crate) fn new() -> Result<Ours> {
        let lab = Lab::new()?;
        let registry = Registry::start(&lab)?;
        for app in ["nginx", "probe"] {
            registry.push(&lab, &lab.app(app), &format!("{app}:1"))?;
        }
        Ok(Ours { lab, registry })
    }

    /// Seconds of a build of the raw image with packages and binaries at hand.
    pub(crate) fn build_warm(&self) -> Result<f64> {
        let output = self.lab.dir().join("build");
        let start = Instant::now();
        let mut build = Command::new(self.lab.builder());
        let status = build.args(["build", "--format", "raw", "--output"]).arg(&output).status()?;
        ensure!(status.success(), "the image does not build");
        Ok(start.elapsed().as_secs_f64())
    }

    /// MB of `raw.gz`.
    pub(crate) fn size_compressed(&self) -> Result<f64> {
        let path = self.lab.image().with_extension("raw.gz");
        let size = std::fs::metadata(&path).with_context(|| format!("no {}", path.display()))?.len();
        Ok(size as f64 / 1e6)
    }

    /// Boots a new disk, and once more after the power was cut: the first boot and a later one.
    pub(crate) fn boots(&self) -> Result<[Boot; 2]> {
        let disk = self.disk("boot.raw")?;
        let boot = || -> Result<Boot> {
            let machine = self.machine(&disk, 1024)?;
            let wall = machine.wait_served(TEXT, LIMIT)?.as_secs_f64();
            let cpu = machine.cpu()?;
            machine.kill()?;
            Ok(Boot { wall, cpu })
        };
        Ok([boot()?, boot()?])
    }

    /// A box that serves the page, on a new disk; a shell takes memory.
    pub(crate) fn served(&self, disk: &str, shell: bool) -> Result<Machine> {
        let disk = self.disk(disk)?;
        let machine = Machine::boot(&self.lab, &disk, &Setup { shell, ..self.setup(1024) })?;
        machine.wait_served(TEXT, LIMIT)?;
        Ok(machine)
    }

    /// MiB in use on a box: Pss, slab, and what the kernel took for itself.
    pub(crate) fn memory(&self, machine: &Machine) -> Result<f64> {
        let status = machine.json(&["status"], &[0, 3])?;
        let memory = &status["memory"];
        let bytes = |name: &str| memory[name].as_f64().with_context(|| format!("no {name} in {memory}"));
        Ok((bytes("pss")? + bytes("slab")? + bytes("kernel")?) / 1024.0 / 1024.0)
    }

    /// The least MiB of memory with which a box serves.
    pub(crate) fn least_memory(&self) -> Result<f64> {
        least(&[128, 144, 160, 192, 224, 256, 384], |memory| {
            let disk = self.disk("least.raw")?;
            let setup = Setup { expected: vec![""], ..self.setup(memory) };
            served_and_stays(&Machine::boot(&self.lab, &disk, &setup)?)
        })
    }

    /// Seconds without a page after the container's first process is killed.
    pub(crate) fn killed(&self, machine: &mut Machine) -> Result<f64> {
        let containers = machine.json(&["ps"], &[0, 3])?;
        let pid = containers[0]["pid"].as_u64().with_context(|| format!("no pid in {containers}"))?;
        machine.shell(&format!("(sleep {BEFORE_KILL}; kill -9 {pid}) >/dev/null 2>&1 &"))?;
        gap(machine)
    }

    /// Seconds from the kill of the agent until another one answers.
    pub(crate) fn agent_killed(&self, machine: &mut Machine) -> Result<f64> {
        seconds(&machine.shell(AGENT_KILLED)?)
    }

    /// Waits until something holds.
    pub(crate) fn wait(&self, limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        let end = Instant::now() + limit;
        while !holds()? {
            ensure!(Instant::now() < end, "not within {limit:?}");
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    /// A new disk.
    pub(crate) fn disk(&self, name: &str) -> Result<Disk> {
        Disk::new(&self.lab, name, 4 << 30)
    }

    pub(crate) fn machine(&self, disk: &Disk, memory: u32) -> Result<Machine> {
        Machine::boot(&self.lab, disk, &self.setup(memory))
    }

    /// The settings that lead to the registry.
    pub(crate) fn settings(&self) -> String {
        let host = self.registry.host();
        format!("format = 1\n[[box.registry]]\nhost = \"{host}\"\nplain_http = true\n")
    }

    fn setup(&self, memory: u32) -> Setup {
        let (settings, image) = (self.settings(), self.registry.reference("nginx:1"));
        let user_data = format!(
            "{settings}[[recipe]]\nname = \"hello\"\n\
             [recipe.containers.web]\nimage = \"{image}\"\nports = [\"80:8080\"]\n\
             files = {{ \"/usr/share/nginx/html/index.html\" = {{ content = \"{TEXT}\\n\" }} }}\n"
        );
        Setup { memory, ..Setup::with(user_data) }
    }
}

/// MB of a raw image through gzip at the level of our `raw.gz`.
pub(crate) fn compressed(raw: &Path) -> Result<f64> {
    let mut counted = GzEncoder::new(Count(0), Compression::best());
    let mut file = File::open(raw).with_context(|| format!("no {}", raw.display()))?;
    std::io::copy(&mut file, &mut counted)?;
    Ok(counted.finish()?.0 as f64 / 1e6)
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

/// Kills the agent and prints hundredths of a second by the box's own clock until another one answers; a
/// box that is not healthy is an answer (3).
const AGENT_KILLED: &str = "now() { cut -d' ' -f1 /proc/uptime | tr -d .; }; old=$(pidof holdfastd); t=$(now); \
    kill -9 $old; while :; do sleep 0.02; new=$(pidof holdfastd) && [ $new != $old ] || continue; \
    holdfast status >/dev/null 2>&1 </dev/null; case $? in 0|3) break;; esac; done; echo $(($(now) - t))";

/// Hundredths that a box printed, as seconds.
pub(crate) fn seconds(said: &str) -> Result<f64> {
    let hundredths: f64 =
        said.trim().parse().with_context(|| format!("no hundredths of a second: {said}"))?;
    Ok(hundredths / 100.0)
}

/// Seconds from the command until the kill, so that the watch from outside begins before it.
pub(crate) const BEFORE_KILL: u32 = 3;

/// Seconds without a page, from the last one before it was missed to the first one after.
pub(crate) fn gap(machine: &Machine) -> Result<f64> {
    let start = Instant::now();
    let before = Duration::from_secs(BEFORE_KILL.into()) * 3 / 4;
    let mut last = start;
    let mut missed = false;
    loop {
        let serves = machine.serves_within(TEXT, Duration::from_millis(500));
        match (serves, missed) {
            (true, true) => return Ok(last.elapsed().as_secs_f64()),
            (true, false) => last = Instant::now(),
            // A page that a busy host makes late is not missed.
            (false, _) => missed = start.elapsed() > before,
        }
        ensure!(missed || start.elapsed() < Duration::from_secs(30), "the page was not missed");
        ensure!(start.elapsed() < LIMIT, "the box does not serve again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The least of `sizes`, ascending, that `serves`, found by halving.
pub(crate) fn least(sizes: &[u32], mut serves: impl FnMut(u32) -> Result<bool>) -> Result<f64> {
    let (mut low, mut high) = (0, sizes.len());
    while low < high {
        let middle = (low + high) / 2;
        let served = serves(sizes[middle])?;
        eprintln!("  {} MiB: {}", sizes[middle], if served { "serves" } else { "does not serve" });
        if served { high = middle } else { low = middle + 1 }
    }
    let found = sizes.get(high).with_context(|| format!("no page with {:?} MiB", sizes.last()))?;
    Ok(f64::from(*found))
}

/// Whether the page appears in twice the time that a boot takes, and is there a little later.
pub(crate) fn served_and_stays(machine: &Machine) -> Result<bool> {
    const BOOT: Duration = Duration::from_secs(120);
    if machine.wait_served(TEXT, BOOT).is_err() {
        return Ok(false);
    }
    std::thread::sleep(Duration::from_secs(10));
    Ok(machine.serves(TEXT))
}
