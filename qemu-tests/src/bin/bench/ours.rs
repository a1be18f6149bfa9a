//! Our side of each figure.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use qemu_tests::{Disk, Lab, Machine, Registry, Setup};

pub(crate) const LIMIT: Duration = Duration::from_secs(300);
const TEXT: &str = "hello";

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
        let disk = Disk::new(&self.lab, "boot.raw", 4 << 30)?;
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
        let disk = Disk::new(&self.lab, disk, 4 << 30)?;
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
            let disk = Disk::new(&self.lab, "least.raw", 4 << 30)?;
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

    fn machine(&self, disk: &Disk, memory: u32) -> Result<Machine> {
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
