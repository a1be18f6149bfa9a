//! A box that has booted, saved once for an image and gone on with by every test that is not about booting.
//!
//! Saved are its memory and devices, as QEMU's migration writes them, its disk, and the key of its admin.
//! To the box no time passes in between: its clock is late afterwards, and all that go on from it have the
//! same random numbers ahead.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::run;
use crate::disk::Disk;
use crate::lab::Lab;
use crate::machine::{Machine, Setup};

const USER_DATA: &str = "format = 1\n[box]\nhostname = \"box\"\n";
/// How long the box may take until it answers: emulated processors are slow.
const BOOT: Duration = Duration::from_secs(420);

/// The folder of a saved box.
#[derive(Debug)]
pub(crate) struct Saved(PathBuf);

impl Saved {
    /// Finds the saved box of the image under test, or makes it: one test does, others wait for it.
    pub(crate) fn of(lab: &Lab) -> Result<Saved> {
        let saved = Saved(lab.root().join("target/booted"));
        let lock = File::create(saved.0.with_extension("lock"))?;
        lock.lock().context("cannot wait for the saved box")?;
        let origin = origin(lab)?;
        if fs::read_to_string(saved.origin()).is_ok_and(|text| text == origin) {
            return Ok(saved);
        }
        let beside = Saved(saved.0.with_extension("new"));
        for old in [&saved.0, &beside.0] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        fs::create_dir(&beside.0)?;
        beside.make(lab).context("cannot save a box that has booted")?;
        fs::write(beside.origin(), origin)?;
        fs::rename(&beside.0, &saved.0)?;
        Ok(saved)
    }

    fn make(&self, lab: &Lab) -> Result<()> {
        let disk = Disk::new(lab, "booted.raw", 4 << 30)?;
        let mut machine = Machine::boot(lab, &disk, &Saved::setup())?;
        machine.wait_ssh(BOOT)?;
        machine.shell("systemctl is-system-running --wait")?;
        machine.save(&self.memory())?;
        let mut copy = Command::new("cp");
        run(copy.arg("--sparse=always").arg(disk.path()).arg(self.disk()))?;
        fs::copy(lab.key(), self.key())?;
        fs::copy(lab.key().with_extension("pub"), self.key().with_extension("pub"))?;
        Ok(())
    }

    /// A copy of the disk, `{name}-base.raw` in the lab, with the key beside it. The saved ones may be replaced
    /// while it is in use.
    pub(crate) fn copy(&self, lab: &Lab, name: &str) -> Result<Disk> {
        let size = fs::metadata(self.disk())?.len();
        let disk = Disk::of(lab, &self.disk(), &format!("{name}-base.raw"), size)?;
        let key = disk.path().with_extension("key");
        fs::copy(self.key(), &key)?;
        fs::copy(self.key().with_extension("pub"), key.with_extension("pub"))?;
        Ok(disk)
    }

    /// What the saved machine is made of, and whoever goes on with it must be.
    pub(crate) fn setup() -> Setup {
        Setup { shell: true, ..Setup::with(USER_DATA) }
    }

    /// Memory and devices.
    pub(crate) fn memory(&self) -> PathBuf {
        self.0.join("memory")
    }

    /// The disk, not to be written to.
    pub(crate) fn disk(&self) -> PathBuf {
        self.0.join("disk.raw")
    }

    /// The private half of the admin's key.
    pub(crate) fn key(&self) -> PathBuf {
        self.0.join("key")
    }

    fn origin(&self) -> PathBuf {
        self.0.join("origin")
    }
}

/// What a saved box depends on.
fn origin(lab: &Lab) -> Result<String> {
    let identity = lab.identity()?;
    let qemu = lab.tool_file("usr/bin/qemu-system-x86_64")?;
    let accel = std::env::var("HOLDFAST_ACCEL").ok();
    Ok(format!("{identity} {qemu:?} {accel:?} {:?}", Saved::setup()))
}
