//! Our side of each figure.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use qemu_tests::{Disk, Lab, Machine, Registry, Setup};

const LIMIT: Duration = Duration::from_secs(300);
const TEXT: &str = "hello";

/// The image under measurement and what it needs.
pub(crate) struct Ours {
    pub(crate) lab: Lab,
    registry: Registry,
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
        registry.push(&lab, &lab.app("nginx"), "nginx:1")?;
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

    /// Boots a new disk, or one that has served before.
    pub(crate) fn boot(&self, later: bool) -> Result<Boot> {
        let disk = Disk::new(&self.lab, "boot.raw", 4 << 30)?;
        if later {
            let machine = self.machine(&disk, 1024)?;
            machine.wait_served(TEXT, LIMIT)?;
            machine.kill()?;
        }
        let machine = self.machine(&disk, 1024)?;
        let wall = machine.wait_served(TEXT, LIMIT)?.as_secs_f64();
        let cpu = machine.cpu()?;
        machine.kill()?;
        Ok(Boot { wall, cpu })
    }

    /// MiB in use on an idle box that serves: Pss, slab, and what the kernel took for itself.
    pub(crate) fn memory(&self) -> Result<f64> {
        let disk = Disk::new(&self.lab, "memory.raw", 4 << 30)?;
        let machine = self.machine(&disk, 1024)?;
        machine.wait_served(TEXT, LIMIT)?;
        std::thread::sleep(Duration::from_secs(60));
        let status = machine.json(&["status"], &[0, 3])?;
        let memory = &status["memory"];
        let bytes = |name: &str| memory[name].as_f64().with_context(|| format!("no {name} in {memory}"));
        let used = bytes("pss")? + bytes("slab")? + bytes("kernel")?;
        machine.kill()?;
        Ok(used / 1024.0 / 1024.0)
    }

    /// The least MiB of memory with which a box serves.
    pub(crate) fn least_memory(&self) -> Result<f64> {
        let mut least = None;
        for memory in [512, 384, 256, 224, 192, 160, 144, 128] {
            let disk = Disk::new(&self.lab, "least.raw", 4 << 30)?;
            let machine =
                Machine::boot(&self.lab, &disk, &Setup { expected: vec![""], ..self.setup(memory) })?;
            let served = machine.wait_served(TEXT, LIMIT).is_ok();
            machine.kill()?;
            if !served {
                break;
            }
            least = Some(f64::from(memory));
        }
        least.context("the box does not serve with 512 MiB")
    }

    /// Seconds without a page after the container's first process is killed.
    pub(crate) fn killed(&self) -> Result<f64> {
        let disk = Disk::new(&self.lab, "killed.raw", 4 << 30)?;
        let mut machine = Machine::boot(&self.lab, &disk, &Setup { shell: true, ..self.setup(1024) })?;
        machine.wait_served(TEXT, LIMIT)?;
        machine.shell("true")?;
        let pid = machine.shell("pidof -s nginx | tr -d '\\n'")?;
        machine.shell(&format!(
            "kill -9 $(grep -l 'nginx: master' /proc/[0-9]*/cmdline | cut -d/ -f3 | head -1) {pid}"
        ))?;
        let gap = gap(&machine);
        machine.kill()?;
        gap
    }

    fn machine(&self, disk: &Disk, memory: u32) -> Result<Machine> {
        Machine::boot(&self.lab, disk, &self.setup(memory))
    }

    fn setup(&self, memory: u32) -> Setup {
        let (host, image) = (self.registry.host(), self.registry.reference("nginx:1"));
        let user_data = format!(
            "format = 1\n[[box.registry]]\nhost = \"{host}\"\nplain_http = true\n[[recipe]]\nname = \"hello\"\n\
             [recipe.containers.web]\nimage = \"{image}\"\nports = [\"80:8080\"]\n\
             files = {{ \"/usr/share/nginx/html/index.html\" = {{ content = \"{TEXT}\\n\" }} }}\n"
        );
        Setup { memory, ..Setup::with(user_data) }
    }
}

/// Seconds from now until the box serves again, having been seen not to.
pub(crate) fn gap(machine: &Machine) -> Result<f64> {
    let start = Instant::now();
    let mut down = None;
    loop {
        let serves = machine.serves(TEXT);
        match down {
            None if !serves => down = Some(Instant::now()),
            Some(since) if serves => return Ok(since.elapsed().as_secs_f64()),
            None if start.elapsed() > Duration::from_secs(10) => return Ok(0.0),
            Some(_) if start.elapsed() > LIMIT => anyhow::bail!("the box does not serve again"),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
