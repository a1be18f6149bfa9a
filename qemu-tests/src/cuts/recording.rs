//! A recording: what a box wrote while it did something, and when it acknowledged what.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine};
use image_layout::disk::{self, Role};
use image_layout::paths;
use serde_json::{Value, json};

use super::acknowledged::{Acknowledged, Record};
use super::boots::{healthy, serves};
use super::cut::Cut;
use super::log::Log;
use super::replay::Replay;
use crate::disk::Disk;
use crate::lab::Lab;
use crate::machine::{Machine, Setup};
use crate::registry::Registry;
use crate::saved::Saved;
use crate::sparse;
use crate::stop::Stop;

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
    /// The disk after it.
    pub written: Disk,
    /// All requests to the disk.
    pub log: Log,
    /// What must be known after a cut.
    pub acknowledged: Vec<Acknowledged>,
    /// What a box with such a disk is booted with.
    pub setup: Setup,
    /// The private half of its admin's key.
    pub key: PathBuf,
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

    /// When something was acknowledged, by entries of the log.
    pub fn moments(&self) -> Vec<usize> {
        self.acknowledged.iter().map(|acknowledged| acknowledged.from).filter(|from| *from > 0).collect()
    }

    /// Copies base, log, what was acknowledged, and the disk after a cut into a new folder.
    pub fn keep(&self, folder: &Path, cut: &Disk) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        for (from, name) in [(self.base.path(), "base.raw"), (&self.data, "log"), (cut.path(), "cut.raw")] {
            sparse::copy_from(&mut File::open(from)?, 0, &mut File::create(folder.join(name))?)?;
        }
        Ok(std::fs::write(folder.join("acknowledged"), format!("{:#?}\n", self.acknowledged))?)
    }

    /// Makes the disk after a cut anew from what [`Recording::keep`] left in a folder; its path.
    pub fn remake(folder: &Path, cut: &Cut) -> Result<PathBuf> {
        let data = File::open(folder.join("log"))?;
        let log = Log::read(&data)?;
        let base = Disk::at(folder.join("base.raw"));
        let disk = Replay::new(&base, &log, data, "remade")?.cut(cut, "remade.raw")?;
        Ok(disk.path().to_owned())
    }

    /// Gives up the room that its files take.
    pub fn remove(self) -> Result<()> {
        for path in [self.base.path(), self.written.path(), &self.data] {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Switches a box with such a disk on.
    pub fn boot(&self, lab: &Lab, disk: &Disk) -> Result<Machine> {
        Machine::start(lab, disk, &self.setup, self.key.clone())
    }
}

/// What recordings are made with.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// Image, tools and a place for files.
    pub lab: &'a Lab,
    /// Serves `nginx:1` and `probe:1`.
    pub registry: &'a Registry,
    /// Ends a recording before its time.
    pub stop: &'a Stop,
}

/// A box whose disk is recorded.
#[derive(Debug)]
pub struct Recorder<'a> {
    /// The box.
    pub machine: Machine,
    stop: &'a Stop,
    name: &'static str,
    base: Disk,
    written: Disk,
    acknowledged: Vec<Acknowledged>,
    setup: Setup,
    key: PathBuf,
    data: PathBuf,
}

impl<'a> Recorder<'a> {
    /// Switches a box with a fresh disk on.
    pub fn boot(stage: &Stage<'a>, name: &'static str, setup: Setup) -> Result<Recorder<'a>> {
        let lab = stage.lab;
        let base = Disk::new(lab, &format!("{name}-base.raw"), DISK)?;
        let setup = Setup { shell: true, ..setup };
        Recorder::on(stage, name, base, setup, lab.key(), |disk, setup, key| {
            Machine::start(lab, disk, setup, key)
        })
    }

    /// Switches a box with this image on its disk on.
    pub fn boot_image(
        stage: &Stage<'a>,
        name: &'static str,
        image: &Path,
        setup: Setup,
    ) -> Result<Recorder<'a>> {
        let lab = stage.lab;
        let base = Disk::of(lab, image, &format!("{name}-base.raw"), DISK)?;
        let setup = Setup { shell: true, ..setup };
        Recorder::on(stage, name, base, setup, lab.key(), |disk, setup, key| {
            Machine::start(lab, disk, setup, key)
        })
    }

    /// Goes on with the saved box, which has booted with no recipe.
    pub fn resume(stage: &Stage<'a>, name: &'static str) -> Result<Recorder<'a>> {
        let lab = stage.lab;
        let (base, key) = saved(lab, name)?;
        Recorder::on(stage, name, base, Saved::setup(), key, |disk, _, key| {
            Machine::go_on(lab, disk, &[], key)
        })
    }

    /// Boots the saved box anew on a disk of `size` bytes, larger than its own.
    pub fn boot_larger(stage: &Stage<'a>, name: &'static str, size: u64) -> Result<Recorder<'a>> {
        let lab = stage.lab;
        let (base, key) = saved(lab, name)?;
        File::options().write(true).open(base.path())?.set_len(size)?;
        Recorder::on(stage, name, base, Saved::setup(), key, |disk, setup, key| {
            Machine::start(lab, disk, setup, key)
        })
    }

    fn on(
        stage: &Stage<'a>,
        name: &'static str,
        base: Disk,
        setup: Setup,
        key: PathBuf,
        start: impl FnOnce(&Disk, &Setup, PathBuf) -> Result<Machine>,
    ) -> Result<Recorder<'a>> {
        let data = stage.lab.dir().join(format!("{name}.log"));
        let written = base.copy(&format!("{name}.raw"))?.recorded(&data)?;
        let machine = start(&written, &setup, key.clone())?;
        let (stop, acknowledged) = (stage.stop, vec![]);
        Ok(Recorder { machine, stop, name, base, written, acknowledged, setup, key, data })
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

    /// After any cut this must be so.
    pub fn always(&mut self, record: Record) {
        self.acknowledged.push(Acknowledged { from: 0, until: None, record });
    }

    /// What was acknowledged of a file holds no more: it is about to be changed.
    pub fn withdraw(&mut self, path: &str) -> Result<()> {
        self.end(|record| record.path() == Some(path))
    }

    /// What was acknowledged of pages holds no more.
    pub fn withdraw_pages(&mut self) -> Result<()> {
        self.end(|record| matches!(record, Record::Page(_)))
    }

    fn end(&mut self, which: impl Fn(&Record) -> bool) -> Result<()> {
        let now = self.now()?;
        let held = self.acknowledged.iter_mut().filter(|a| a.until.is_none() && which(&a.record));
        held.for_each(|acknowledged| acknowledged.until = Some(now));
        Ok(())
    }

    /// From now on these fields of a file of the state folder must be as they are: the box has said so in
    /// some way.
    pub fn acknowledge_fields(&mut self, path: &str, pointers: &[&'static str]) -> Result<()> {
        let from = self.now()?;
        let json: Value = serde_json::from_slice(&read(&mut self.machine, path)?)
            .with_context(|| format!("`{path}` is no JSON"))?;
        for pointer in pointers {
            let value = json.pointer(pointer).with_context(|| format!("`{path}` has no `{pointer}`"))?;
            let record = Record::Field(path.to_owned(), pointer, value.clone());
            self.acknowledged.push(Acknowledged { from, until: None, record });
        }
        Ok(())
    }

    /// The same with all that these files hold.
    pub fn acknowledge_files(&mut self, paths: &[&str]) -> Result<()> {
        let from = self.now()?;
        self.files_from(from, paths)
    }

    /// These files must be as they are after any cut.
    pub fn always_as_now(&mut self, paths: &[&str]) -> Result<()> {
        self.files_from(0, paths)
    }

    fn files_from(&mut self, from: usize, paths: &[&str]) -> Result<()> {
        for path in paths {
            let content = read(&mut self.machine, path)?;
            let record = Record::Content((*path).to_owned(), content);
            self.acknowledged.push(Acknowledged { from, until: None, record });
        }
        Ok(())
    }

    /// Lets the provider offer something else from now on, also to boxes that are booted after a cut.
    pub fn offer(&mut self, setup: Setup) -> Result<()> {
        self.setup = Setup { shell: true, ..setup };
        self.machine.offer(&self.setup)?;
        self.withdraw("provider.json")
    }

    /// Waits until the box answers and says that all is well.
    pub fn wait_healthy(&self) -> Result<()> {
        healthy(&self.machine, self.stop, LIMIT)
    }

    /// Waits until the box serves a page with `text` in it.
    pub fn wait_served(&self, text: &str) -> Result<()> {
        serves(&self.machine, text, self.stop, LIMIT)
    }

    /// Waits until the box's clock was set.
    pub fn wait_synchronized(&self) -> Result<()> {
        self.stop.wait("clock that was set", LIMIT, || {
            let status = self.machine.json(&["status"], &[0, 3]).map_err(|error| format!("{error:#}"))?;
            if status["time"]["synchronized"] == true { Ok(()) } else { Err(status["time"].to_string()) }
        })
    }

    /// Waits until what the box says of updates is so.
    pub fn wait_update(&self, what: &'static str, so: impl Fn(&Value) -> bool) -> Result<()> {
        self.stop.wait(what, LIMIT, || {
            let status = self.machine.json(&["update"], &[0, 3]).map_err(|error| format!("{error:#}"))?;
            if so(&status) { Ok(()) } else { Err(status.to_string()) }
        })
    }

    /// Waits until the box says that this generation of its documents is in force.
    pub fn wait_accepted(&self, number: u64) -> Result<()> {
        self.stop.wait("accepted document", LIMIT, || {
            let status = self.machine.json(&["status"], &[0, 3]).map_err(|error| format!("{error:#}"))?;
            match status["user_data"]["generation"].as_u64() {
                Some(found) if found == number => Ok(()),
                _ => Err(status.to_string()),
            }
        })
    }

    /// Cuts the power once no request is in flight.
    pub fn finish(mut self) -> Result<Recording> {
        self.machine.qmp("stop", json!({}))?;
        self.machine.kill()?;
        let log = Log::read(File::open(&self.data)?)?;
        Ok(Recording {
            name: self.name,
            base: self.base,
            written: self.written,
            log,
            acknowledged: self.acknowledged,
            setup: self.setup,
            key: self.key,
            data: self.data,
        })
    }
}

/// A file of the state folder of a running box.
pub(super) fn read(machine: &mut Machine, path: &str) -> Result<Vec<u8>> {
    let text = machine.shell(&format!("base64 {}/{path}", paths::STATE))?;
    let plain: String = text.split_whitespace().collect();
    BASE64_STANDARD.decode(plain).with_context(|| format!("`{path}` cannot be read: {text}"))
}

/// A copy of the saved box's disk, and of its admin's key.
fn saved(lab: &Lab, name: &str) -> Result<(Disk, PathBuf)> {
    let base = Saved::of(lab)?.copy(lab, name)?;
    let key = base.path().with_extension("key");
    Ok((base, key))
}
