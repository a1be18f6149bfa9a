//! A recording: what a box wrote while it did something, and when it acknowledged what.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use image_layout::disk::{self, Role};
use image_layout::paths;
use serde_json::Value;

use super::acknowledged::{Acknowledged, Record};
use super::log::Log;
use super::replay::Replay;
use crate::disk::Disk;
use crate::lab::Lab;
use crate::machine::{Machine, Setup};
use crate::saved::Saved;

/// How long a box may take until it answers: emulated processors are slow.
const LIMIT: Duration = Duration::from_secs(420);
/// Bytes of an ordinary disk.
const DISK: u64 = 4 << 30;

/// What a box wrote, and what it acknowledged.
#[derive(Debug)]
pub struct Recording {
    /// Its name in the table of recordings.
    pub name: &'static str,
    /// The disk before it.
    pub base: Disk,
    /// All requests to the disk.
    pub log: Log,
    /// What must be known after a cut.
    pub acknowledged: Vec<Acknowledged>,
    /// What a box with such a disk is booted with.
    pub setup: Setup,
    /// The private half of its admin's key.
    pub key: PathBuf,
    /// What its page says after any cut, if it had one before.
    pub serves: Option<String>,
    data: PathBuf,
}

impl Recording {
    /// Starts to make disks as after a cut; `name` is for the files of this replay.
    pub fn replay(&self, name: &str) -> Result<Replay<'_>> {
        Replay::new(&self.base, &self.log, File::open(&self.data)?, &format!("{}-{name}", self.name))
    }

    /// Whether anything was written to a partition.
    pub fn touches(&self, role: Role) -> bool {
        let (start, end) = (disk::start(role), disk::start(role) + disk::partition(role).size);
        self.log.entries.iter().any(|e| e.length > 0 && e.offset < end && e.offset + e.length > start)
    }

    /// Switches a box with such a disk on.
    pub fn boot(&self, lab: &Lab, disk: &Disk) -> Result<Machine> {
        Machine::start(lab, disk, &self.setup, self.key.clone())
    }
}

/// A box whose disk is recorded.
#[derive(Debug)]
pub struct Recorder {
    /// The box.
    pub machine: Machine,
    name: &'static str,
    base: Disk,
    acknowledged: Vec<Acknowledged>,
    setup: Setup,
    key: PathBuf,
    data: PathBuf,
}

impl Recorder {
    /// Switches a box with a fresh disk on.
    pub fn boot(lab: &Lab, name: &'static str, setup: Setup) -> Result<Recorder> {
        let base = Disk::new(lab, &format!("{name}-base.raw"), DISK)?;
        let setup = Setup { shell: true, ..setup };
        Recorder::on(lab, name, base, setup, lab.key(), |disk, setup, key| {
            Machine::start(lab, disk, setup, key)
        })
    }

    /// Goes on with the saved box, which has booted with no recipe.
    pub fn resume(lab: &Lab, name: &'static str) -> Result<Recorder> {
        let saved = Saved::of(lab)?;
        let base = saved.copy(lab, name)?;
        let key = base.path().with_extension("key");
        Recorder::on(lab, name, base, Saved::setup(), key, |disk, _, key| Machine::go_on(lab, disk, &[], key))
    }

    /// Boots on `base`, which an earlier recording left, perhaps lengthened.
    pub(crate) fn on(
        lab: &Lab,
        name: &'static str,
        base: Disk,
        setup: Setup,
        key: PathBuf,
        start: impl FnOnce(&Disk, &Setup, PathBuf) -> Result<Machine>,
    ) -> Result<Recorder> {
        let data = lab.dir().join(format!("{name}.log"));
        let disk = base.copy(&format!("{name}.raw"))?.recorded(&data)?;
        let machine = start(&disk, &setup, key.clone())?;
        Ok(Recorder { machine, name, base, acknowledged: vec![], setup, key, data })
    }

    /// So many requests are in the log now.
    pub fn now(&self) -> Result<usize> {
        Ok(Log::count(File::open(&self.data)?)?)
    }

    /// From now on this must be known after a cut.
    pub fn acknowledge(&mut self, record: Record) -> Result<()> {
        let from = self.now()?;
        self.acknowledged.push(Acknowledged { from, until: None, record });
        Ok(())
    }

    /// What was acknowledged of a file holds no more: it is about to be changed.
    pub fn withdraw(&mut self, path: &str) -> Result<()> {
        let now = self.now()?;
        let held = self.acknowledged.iter_mut().filter(|a| a.until.is_none() && a.record.path() == path);
        held.for_each(|acknowledged| acknowledged.until = Some(now));
        Ok(())
    }

    /// From now on these fields of a file of the state folder must be as they are.
    pub fn acknowledge_fields(&mut self, path: &str, pointers: &[&'static str]) -> Result<()> {
        let from = self.now()?;
        let text = self.machine.shell(&format!("cat {}/{path}", paths::STATE))?;
        let json: Value = serde_json::from_str(&text).with_context(|| format!("`{path}` is no JSON"))?;
        for pointer in pointers {
            let value = json.pointer(pointer).with_context(|| format!("`{path}` has no `{pointer}`"))?;
            let record = Record::Field(path.to_owned(), pointer, value.clone());
            self.acknowledged.push(Acknowledged { from, until: None, record });
        }
        Ok(())
    }

    /// Waits until the box answers over ssh.
    pub fn wait_answer(&self) -> Result<()> {
        self.machine.wait_ssh(LIMIT)
    }

    /// Cuts the power. `serves` is what its page says after a cut at any moment of the recording.
    pub fn finish(self, serves: Option<&str>) -> Result<Recording> {
        self.machine.kill()?;
        let log = Log::read(File::open(&self.data)?)?;
        Ok(Recording {
            name: self.name,
            base: self.base,
            log,
            acknowledged: self.acknowledged,
            setup: self.setup,
            key: self.key,
            serves: serves.map(str::to_owned),
            data: self.data,
        })
    }
}
