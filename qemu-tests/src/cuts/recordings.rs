//! What is recorded.
//!
//! A box that is cut at any moment of a recording is booted with what its provider offers at the end of it.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use image_layout::Slot;

use super::acknowledged::Record;
use super::recording::{Recorder, Recording, Stage};
use crate::documents::{apply, page, probe, settings};
use crate::machine::Setup;
use crate::publisher::{FIRST, Publisher, SECOND};
use crate::shell::time_server;

/// Something that a box does while it is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// For messages and results.
    pub name: &'static str,
    record: fn(&Stage<'_>, &'static str) -> Result<Recording>,
}

impl Subject {
    /// Makes the recording.
    pub fn record(&self, stage: &Stage<'_>) -> Result<Recording> {
        (self.record)(stage, self.name).with_context(|| format!("cannot record {}", self.name))
    }
}

/// All there are.
pub const RECORDINGS: [Subject; 8] =
    [FIRST_BOOT, APPLY, PULL, VOLUME, SECRETS, IDENTITY, LARGER_DISK, UPDATE];

/// A fresh disk is grown, the box gets its identity, its document is accepted and its image pulled.
pub const FIRST_BOOT: Subject = Subject { name: "first-boot", record: first_boot };
/// Documents are applied: one, one with another page, and one without it.
pub const APPLY: Subject = Subject { name: "apply", record: applied };
/// Images are pulled, pruned and pulled again.
pub const PULL: Subject = Subject { name: "pull", record: pulled };
/// An application writes files to its volume and syncs each.
pub const VOLUME: Subject = Subject { name: "volume", record: volume };
/// Secrets are generated; then their instance is removed, which they outlive.
pub const SECRETS: Subject = Subject { name: "secrets", record: secrets };
/// The provider gives the box another name and another document.
pub const IDENTITY: Subject = Subject { name: "identity", record: identity };
/// A box that has run is booted on a larger disk.
pub const LARGER_DISK: Subject = Subject { name: "larger-disk", record: larger_disk };
/// A release is staged, switched to, and marked as good.
pub const UPDATE: Subject = Subject { name: "update", record: updated };

/// How long a recording goes on after the last acknowledgement, so that there are cuts behind it.
const AFTER: Duration = Duration::from_secs(6);
/// Files of a box's own that are made once.
const OWN: [&str; 2] = ["identity/machine-id", "identity/ssh_host_ed25519_key"];
const INSTANCE: [&str; 4] = ["/name", "/in_force", "/allocation", "/pins"];
const GENERATION: [&str; 2] = ["/number", "/document"];

fn first_boot(stage: &Stage<'_>, name: &'static str) -> Result<Recording> {
    let text = "the first page";
    let mut recorder = Recorder::boot(stage, name, Setup::with(page(stage.registry, text)))?;
    recorder.always(Record::Page(text.into()));
    accepted(&mut recorder, 1)?;
    recorder.acknowledge_files(&OWN)?;
    recorder.wait_served(text)?;
    recorder.wait_healthy()?;
    recorder.acknowledge_fields("instances/site.json", &INSTANCE)?;
    recorder.acknowledge_fields("images/names.json", &["/names"])?;
    finish(recorder)
}

fn applied(stage: &Stage<'_>, name: &'static str) -> Result<Recording> {
    let mut recorder = Recorder::resume(stage, name)?;
    for (number, text) in [(2, "one page"), (3, "another page")] {
        recorder.withdraw_pages()?;
        apply_all(&mut recorder, &page(stage.registry, text), number)?;
        recorder.wait_served(text)?;
        recorder.acknowledge(Record::Page(text.into()))?;
        if number == 2 {
            recorder.acknowledge_fields("instances/site.json", &["/allocation"])?;
        }
    }
    // Nothing is left of an instance without volumes and secrets.
    recorder.withdraw_pages()?;
    recorder.withdraw("instances/site.json")?;
    apply_all(&mut recorder, &settings(stage.registry), 4)?;
    finish(recorder)
}

fn pulled(stage: &Stage<'_>, name: &'static str) -> Result<Recording> {
    let mut recorder = Recorder::resume(stage, name)?;
    let both = page(stage.registry, "pulled") + &probe(stage.registry, "");
    apply_all(&mut recorder, &both, 2)?;
    recorder.acknowledge_fields("images/names.json", &["/names"])?;
    recorder.acknowledge_fields("instances/probe.json", &INSTANCE)?;
    recorder.withdraw("images/names.json")?;
    recorder.withdraw("instances/probe.json")?;
    apply_all(&mut recorder, &page(stage.registry, "pulled"), 3)?;
    recorder.machine.json(&["images", "prune"], &[0])?;
    recorder.acknowledge_fields("images/names.json", &["/names"])?;
    recorder.withdraw("images/names.json")?;
    apply_all(&mut recorder, &both, 4)?;
    recorder.acknowledge_fields("images/names.json", &["/names"])?;
    recorder.acknowledge_fields("instances/probe.json", &INSTANCE)?;
    finish(recorder)
}

fn volume(stage: &Stage<'_>, name: &'static str) -> Result<Recording> {
    const FILES: usize = 24;
    let mut recorder = Recorder::resume(stage, name)?;
    let with_volume = "volumes = { data = \"/data\" }\n[recipe.volumes.data]\nsize = \"64M\"\n";
    apply_all(&mut recorder, &(settings(stage.registry) + &probe(stage.registry, with_volume)), 2)?;
    let found = recorder.machine.shell("cd /var/lib/holdfast/volumes && echo *")?;
    let folder = format!("volumes/{}", found.trim());
    recorder.acknowledge_fields(&format!("{folder}/volume.json"), &["/id", "/instance", "/name"])?;
    // A new file each time, and one that is replaced as files are.
    let write = "cd /data; yes $n | dd of=f$n bs=1k count=$n conv=fsync 2>/dev/null; \
                 echo $n | dd of=new conv=fsync 2>/dev/null; mv new latest; sync -d latest; sync .; echo $n";
    let line = format!("n=0; while [ $n -lt {FILES} ]; do n=$((n+1)); {write}; done");
    let mut child = recorder.machine.cli_start(&["exec", "probe.sh", "--", "/bin/sh", "-c", &line], false)?;
    let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let mut number = 0;
    for line in lines {
        number += 1;
        let line = line?;
        ensure!(line.trim() == number.to_string(), "file {number} was not written: {line}");
        let content: Vec<u8> = format!("{number}\n").bytes().cycle().take(1024 * number).collect();
        recorder.acknowledge(Record::Content(format!("{folder}/data/f{number}"), content))?;
        recorder.acknowledge(Record::AtLeast(format!("{folder}/data/latest"), number as u64))?;
    }
    let ended = child.wait()?;
    ensure!(ended.success() && number == FILES, "{number} files were written: {ended}");
    finish(recorder)
}

fn secrets(stage: &Stage<'_>, name: &'static str) -> Result<Recording> {
    let mut recorder = Recorder::resume(stage, name)?;
    let made = "secrets = [\"one\", \"two\"]\n\
                [recipe.params.one]\ntype = \"secret\"\ngenerate = \"hex:32\"\n\
                [recipe.params.two]\ntype = \"secret\"\ngenerate = \"hex:32\"\n";
    apply_all(&mut recorder, &(settings(stage.registry) + &probe(stage.registry, made)), 2)?;
    recorder.acknowledge_fields("secrets/probe.json", &["/values/one", "/values/two"])?;
    recorder.acknowledge_fields("instances/probe.json", &["/name", "/allocation"])?;
    apply_all(&mut recorder, &settings(stage.registry), 3)?;
    finish(recorder)
}

fn identity(stage: &Stage<'_>, name: &'static str) -> Result<Recording> {
    let text = "the page of another";
    let mut recorder = Recorder::resume(stage, name)?;
    let instance_id = "i-2".to_owned();
    recorder.offer(Setup { instance_id, ..Setup::with(page(stage.registry, text)) })?;
    recorder.always(Record::Page(text.into()));
    recorder.machine.shell("systemctl restart holdfastd")?;
    recorder.wait_served(text)?;
    accepted(&mut recorder, 2)?;
    recorder.acknowledge_files(&OWN)?;
    finish(recorder)
}

fn larger_disk(stage: &Stage<'_>, name: &'static str) -> Result<Recording> {
    let mut recorder = Recorder::boot_larger(stage, name, 9 << 30)?;
    recorder.wait_healthy()?;
    recorder.always_as_now(&OWN)?;
    accepted(&mut recorder, 1)?;
    finish(recorder)
}

fn updated(stage: &Stage<'_>, name: &'static str) -> Result<Recording> {
    let text = "the page of both versions";
    let publisher = Publisher::new(stage.lab)?;
    publisher.add(&publisher.image(SECOND))?;
    let document = page(stage.registry, text).replace("[box]\n", "[box]\nntp = [\"127.0.0.1\"]\n");
    let source = format!("[box.update]\nurl = \"{}\"\npolicy = \"manual\"\n", publisher.url());
    let setup = Setup { time_server: Some(time_server()?), ..Setup::with(document + &source) };
    let mut recorder = Recorder::boot_image(stage, name, &publisher.raw(FIRST), setup)?;
    recorder.always(Record::Page(text.into()));
    recorder.wait_served(text)?;
    accepted(&mut recorder, 1)?;
    recorder.wait_synchronized()?;
    recorder.machine.json(&["update", "stage"], &[0])?;
    recorder.acknowledge_fields("update.json", &["/staged/version"])?;
    recorder.acknowledge(Record::Starts(Slot::B))?;
    recorder.withdraw("update.json")?;
    recorder.machine.json(&["update", "apply"], &[0])?;
    recorder.wait_update("version that stays", |status| status["last"]["kept"] == true)?;
    recorder.acknowledge_fields("update.json", &["/last/version", "/last/ending", "/previous/version"])?;
    recorder.acknowledge(Record::Good(Slot::B))?;
    finish(recorder)
}

/// Applies a document and waits until all of it is done; then it is acknowledged as this generation.
fn apply_all(recorder: &mut Recorder<'_>, document: &str, number: u64) -> Result<()> {
    let done = apply(&recorder.machine, document, &["--remove"])?;
    ensure!(done.status.success(), "apply: {}", String::from_utf8_lossy(&done.stderr));
    accepted(recorder, number)
}

/// Waits until the box says that this generation is in force.
fn accepted(recorder: &mut Recorder<'_>, number: u64) -> Result<()> {
    recorder.wait_accepted(number)?;
    recorder.acknowledge_fields("provider.json", &["/instance_id", "/taken"])?;
    recorder.acknowledge_fields(&format!("generations/{number}.json"), &GENERATION)
}

fn finish(recorder: Recorder<'_>) -> Result<Recording> {
    std::thread::sleep(AFTER);
    recorder.finish()
}
