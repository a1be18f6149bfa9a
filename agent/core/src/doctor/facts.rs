//! What findings are made of: what the agent has desired, observed and remembered, and what it looked at beside.

use std::collections::BTreeMap;

use crate::action::Plan;
use crate::desired::Desired;
use crate::memory::Memory;
use crate::network::NetworkStatus;
use crate::notify::{NotifyRecord, Now, Sights};
use crate::observed::Observed;
use crate::space;
use crate::update::{ScrubRecord, UpdateRecord};

/// All of it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What time it is.
    pub now: Now,
    /// The box as it should be.
    pub desired: &'a Desired,
    /// The box as it is.
    pub observed: &'a Observed,
    /// What is remembered between rounds.
    pub memory: &'a Memory,
    /// What is to be done.
    pub plan: &'a Plan,
    /// The box's own network.
    pub network: &'a NetworkStatus,
    /// What is worth a message to the box's owner.
    pub sights: &'a Sights,
    /// What is remembered of updates.
    pub updates: &'a UpdateRecord,
    /// What is remembered of damage to the slots.
    pub scrubs: &'a ScrubRecord,
    /// What the box's owner was told; none when nobody is told.
    pub notices: Option<&'a NotifyRecord>,
    /// What was looked at beside.
    pub seen: &'a Seen,
}

/// What is looked at for findings alone, or is known to the agent in another form.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Documents that are not in force.
    pub documents: Documents,
    /// Why images could not be had, by reference.
    pub unfetched: BTreeMap<String, Unfetched>,
    /// Whether a name server answered; none when there was none to ask.
    pub resolved: Option<bool>,
    /// The clock.
    pub clock: Clock,
    /// The data file system.
    pub data: Data,
    /// What takes the room on it.
    pub room: Room,
    /// Memory and units.
    pub machine: Machine,
    /// The slots, where their state can be read.
    pub slots: Option<Slots>,
    /// Whether the version that runs has to prove itself.
    pub on_trial: bool,
    /// Whether the box looks for updates by itself.
    pub looks_for_updates: bool,
    /// Records that cannot be read.
    pub complaints: Vec<String>,
    /// Records that were set aside or begun anew since the start.
    pub set_aside: Vec<String>,
}

/// Documents.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// Where the newest came from; none when none was offered.
    pub channel: Option<String>,
    /// The generation in force; 0 for none.
    pub generation: u64,
    /// Why the newest was not accepted.
    pub errors: Vec<Refused>,
    /// Why generations newer than the one in force are not used.
    pub unusable: Vec<String>,
}

/// An error of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `FILE:LINE:COLUMN`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// Why an image could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfetched {
    /// What kind of trouble it is.
    pub why: Why,
    /// What happened.
    pub message: String,
    /// What may help.
    pub hint: Option<String>,
}

/// What kind of trouble keeps an image away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The registry's name means nothing to the name servers.
    Name,
    /// The registry does not answer.
    Unreachable,
    /// Its certificate is not accepted.
    Certificate,
    /// It wants other credentials.
    Credentials,
    /// It has no such image.
    Missing,
    /// There is no room for it.
    NoRoom,
    /// The image is not one that the box can use.
    Unfit,
}

/// The clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Whether a time server has set it.
    pub synchronized: bool,
    /// When the image was made, seconds since 1970.
    pub built: u64,
}

/// The data file system.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// Why it is not in use; none when it is.
    pub unavailable: Option<String>,
    /// It is not in use because the disk did not give all of it: the box restarts when the disk does.
    pub disk_fails: bool,
    /// How it failed while it was in use; none when it did not.
    pub failed: Option<String>,
    /// It had errors at this start, which were repaired.
    pub repaired: bool,
    /// Nothing can be written to it.
    pub read_only: bool,
    /// Errors that the kernel has met in it since it was last checked.
    pub errors: u64,
}

/// Room on data, in bytes.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// That it is full, as it was told; none while it is not.
    pub full: Option<String>,
    /// Bytes in all.
    pub size: u64,
    /// What containers can still have.
    pub available: u64,
    /// Files that there can be.
    pub files: u64,
    /// Files that there can be beside those that there are, with those that only the box itself can make.
    pub files_free: u64,
    /// Images.
    pub images: u64,
    /// Images that nothing uses.
    pub images_unused: u64,
    /// The journal.
    pub journal: u64,
    /// Volumes.
    pub volumes: Vec<VolumeUse>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUse {
    /// The instance.
    pub instance: String,
    /// Its name.
    pub name: String,
    /// Bytes in use, where they are counted.
    pub used: Option<u64>,
    /// Bytes that it may have.
    pub size: Option<u64>,
    /// Whether a recipe in force mentions it.
    pub in_use: bool,
}

/// Memory and units.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes that could be given to new work.
    pub available: u64,
    /// Hundredths of the last minute in which something waited for memory.
    pub stalled: u32,
    /// Bytes that containers use, by name.
    pub containers: BTreeMap<String, u64>,
    /// Processes that were killed for want of memory in the last day.
    pub kills: Vec<Kill>,
    /// The box's own units that failed or were started again.
    pub units: Vec<Unit>,
}

/// A process that was killed for want of memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kill {
    /// Its name.
    pub process: String,
    /// The unit that it was part of.
    pub unit: String,
    /// Whether all of the box's memory was used up, and not only the unit's own.
    pub of_box: bool,
}

/// A unit of the box's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Whether it failed.
    pub failed: bool,
    /// How often systemd has started it again.
    pub restarts: u32,
}

/// The slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    /// The one that runs.
    pub running: String,
    /// The one that last proved healthy.
    pub good: String,
}

impl Kill {
    /// Reads a line of the kernel, `oom-kill:constraint=…`; none when it is another one.
    pub fn parse(line: &str) -> Option<Kill> {
        let (_, fields) = line.split_once("oom-kill:")?;
        let field =
            |name: &str| fields.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        let group = field("task_memcg")?;
        let unit = group.split('/').find(|part| part.ends_with(".service"));
        Some(Kill {
            process: field("task")?.to_owned(),
            unit: unit.unwrap_or(group).to_owned(),
            of_box: field("constraint")? != "CONSTRAINT_MEMCG",
        })
    }
}

impl Room {
    /// Its files alone.
    pub(super) fn of_files(&self) -> space::Room {
        space::Room { inodes: self.files, free_inodes: self.files_free, ..space::Room::default() }
    }

    /// Whether it is short of bytes, or was when it was told to be full.
    pub(super) fn few_bytes(&self) -> bool {
        let bytes = space::Room { size: self.size, available: self.available, ..space::Room::default() };
        bytes.problem(self.full.is_some()).is_some()
    }

    /// Whether it is short of files, and by that full.
    pub(super) fn few_files(&self) -> bool {
        self.of_files().problem(self.full.is_some() && !self.few_bytes()).is_some()
    }
}

impl VolumeUse {
    /// `INSTANCE.VOLUME`.
    pub(super) fn title(&self) -> String {
        format!("{}.{}", self.instance, self.name)
    }
}
