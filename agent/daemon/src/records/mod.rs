//! The agent's files on data: where they lie, and reading and writing them.
//!
//! Invariant: every file is written beside, synced and renamed before anything relies on it. A file that
//! cannot be read is left where it is and told of; it never stops the agent. Until its slot is good, a
//! version writes only what the one before it reads; see [`formats`] for what lies beside a file.

mod events;
mod formats;
mod generations;
mod leftovers;
mod levels;
mod volumes;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use agent_core::allocate::{self, AllocateError, Taken};
use agent_core::network::NetworkRecord;
use agent_core::notify::NotifyRecord;
use agent_core::state::{Counters, Format, FormatError, InstanceRecord, LEVEL, SecretsRecord};
use agent_core::update::{ScrubRecord, UpdateRecord};
use agent_core::{Allocation, Secret};
use agent_system::files::{self, Access, FileError, Leftover};

pub(crate) use events::Events;
use formats::{Durable, Formats};
use leftovers::sweep;

/// The longest file of ours that is read.
const LIMIT: u64 = 16 << 20;
/// Folders under the state folder.
const FOLDERS: [&str; 7] =
    ["events", "generations", "instances", "secrets", "volumes", "containers", "images"];

/// Why a record cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("`{path}`: {source}")]
    Format { path: PathBuf, source: FormatError },
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    #[error("there is no record of instance {0}")]
    NoInstance(String),
    #[error("there is no volume {0}.{1}")]
    NoVolume(String, String),
    #[error("volume {0}.{1} is being replaced")]
    VolumeBusy(String, String),
    #[error("failed to look at `{0}`")]
    Volume(PathBuf, #[source] std::io::Error),
    #[error("volume {0}.{1} exists already")]
    VolumeExists(String, String),
    #[error("a volume may be the one that is wanted, and its record cannot be read: {0}")]
    VolumeUnknown(String),
}

impl RecordError {
    /// Whether a file holds what no version wrote.
    fn is_damage(&self) -> bool {
        matches!(
            self,
            RecordError::Format { source: FormatError::Garbage { .. }, .. }
                | RecordError::File(FileError::TooLarge { .. })
        )
    }
}

/// All files under one folder.
#[derive(Debug)]
pub(crate) struct Records {
    root: PathBuf,
    formats: Formats,
    /// What was found out when they were opened.
    notes: Vec<String>,
    /// What was damaged and is not any more.
    mended: Vec<String>,
    /// The highest number that blocks of a volume are counted under.
    projects: AtomicU32,
    /// Folders whose removal was cut, until [`Records::remove_leftovers`].
    leftovers: Mutex<Vec<Leftover>>,
}

impl Records {
    /// Opens the folder and makes what is missing in it. Nothing is written before it is known in which
    /// formats; `good` says whether the slot that runs is marked good, where that can be told.
    pub(crate) fn open(root: impl Into<PathBuf>, good: Option<bool>) -> Result<Records, RecordError> {
        let formats = Formats::new(Durable, LEVEL);
        let mut records = Records {
            root: root.into(),
            formats,
            notes: vec![],
            mended: vec![],
            projects: AtomicU32::new(0),
            leftovers: Mutex::default(),
        };
        let mut left = Vec::new();
        files::create_dir_all(&records.root, Access::mode(0o755))?;
        for folder in FOLDERS {
            // Of images, fetches of another user reach their own folder.
            let mode = if folder == "images" { 0o711 } else { 0o700 };
            let path = records.root.join(folder);
            files::create_dir(&path, Access::mode(mode))?;
            give_back(&path, mode);
            left.extend(sweep(&path)?);
        }
        left.extend(sweep(&records.root)?);
        records.give_back();
        records.mended = records.mend();
        records.notes = records.adopt();
        let updates = records.updates().map(Option::unwrap_or_default);
        records.notes.extend(records.settle(updates.as_ref().ok(), good));
        left.extend(records.sweep_volumes());
        records.leftovers = Mutex::new(left);
        Ok(records)
    }

    /// What was found out when they were opened, for their owner.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What was damaged when they were opened and is not any more, for their owner.
    pub(crate) fn mended(&self) -> &[String] {
        &self.mended
    }

    /// What is remembered of updates.
    pub(crate) fn updates(&self) -> Result<Option<UpdateRecord>, RecordError> {
        self.formats.read(&self.path("update.json"))
    }

    /// Keeps what is remembered of updates.
    pub(crate) fn put_updates(&self, record: &UpdateRecord) -> Result<(), RecordError> {
        self.formats.set_other(record.previous.as_ref().map(|previous| previous.level));
        self.formats.write(&self.path("update.json"), record)
    }

    /// What the box's owner was told and is to be told.
    pub(crate) fn notices(&self) -> Result<Option<NotifyRecord>, RecordError> {
        self.formats.read(&self.path("notify.json"))
    }

    /// Keeps what the box's owner was told and is to be told.
    pub(crate) fn put_notices(&self, record: &NotifyRecord) -> Result<(), RecordError> {
        self.formats.write(&self.path("notify.json"), record)
    }

    /// Nobody is told of anything any more: nothing is kept, and no request with an address either.
    pub(crate) fn remove_notices(&self) -> Result<(), RecordError> {
        files::remove(self.path("notify.json"))?;
        Ok(files::remove_tree(self.path("notify")).map(drop)?)
    }

    /// What the owner chose for the network beside the document.
    pub(crate) fn network(&self) -> Result<Option<NetworkRecord>, RecordError> {
        self.formats.read(&self.path("network.json"))
    }

    /// Keeps what the owner chose for the network.
    pub(crate) fn put_network(&self, record: &NetworkRecord) -> Result<(), RecordError> {
        self.formats.write(&self.path("network.json"), record)
    }

    /// What is remembered of damage to the slots.
    pub(crate) fn scrubs(&self) -> Result<Option<ScrubRecord>, RecordError> {
        self.formats.read(&self.path("scrub.json"))
    }

    /// Keeps what is remembered of damage to the slots.
    pub(crate) fn put_scrubs(&self, record: &ScrubRecord) -> Result<(), RecordError> {
        self.formats.write(&self.path("scrub.json"), record)
    }

    /// A path under the folder.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Every instance on record, and what is wrong with those that cannot be read.
    pub(crate) fn instances(&self) -> (BTreeMap<String, InstanceRecord>, Vec<String>) {
        let mut found = BTreeMap::new();
        let mut complaints = Vec::new();
        for path in entries(&self.path("instances")) {
            match self.formats.read::<InstanceRecord>(&path) {
                Ok(Some(record)) => drop(found.insert(record.name.clone(), record)),
                Ok(None) => {}
                Err(error) => complaints.push(error.to_string()),
            }
        }
        (found, complaints)
    }

    /// An instance's record.
    pub(crate) fn instance(&self, name: &str) -> Result<Option<InstanceRecord>, RecordError> {
        self.formats.read(&self.instance_path(name))
    }

    fn instance_path(&self, name: &str) -> PathBuf {
        self.path("instances").join(format!("{name}.json"))
    }

    /// Replaces an instance's record.
    pub(crate) fn put_instance(&self, record: &InstanceRecord) -> Result<(), RecordError> {
        self.formats.write(&self.instance_path(&record.name), record)
    }

    /// Changes an instance's record; it must exist.
    pub(crate) fn change_instance(
        &self,
        name: &str,
        change: impl FnOnce(&mut InstanceRecord),
    ) -> Result<bool, RecordError> {
        let record = self.instance(name)?.ok_or_else(|| RecordError::NoInstance(name.to_owned()))?;
        let mut changed = record.clone();
        change(&mut changed);
        let differs = changed != record;
        if differs {
            self.put_instance(&changed)?;
        }
        Ok(differs)
    }

    /// Gives an instance its ids and addresses, or new containers of it theirs; says whether anything was
    /// missing. The counters are durable before the record is, so that a cut wastes a range at most.
    pub(crate) fn allocate(
        &self,
        name: &str,
        addressed: &[String],
        routed: Vec<(Ipv4Addr, u8)>,
        random: u64,
    ) -> Result<bool, RecordError> {
        self.set_aside_damaged::<InstanceRecord>(&self.instance_path(name))?;
        if self.instance(name)?.is_some() {
            let mut result = Ok(false);
            let changed = self.change_instance(name, |record| {
                record.in_force = true;
                result = allocate::extend(&mut record.allocation, addressed);
            })?;
            return Ok(result? || changed);
        }
        let path = self.path("counters.json");
        let (known, _) = self.instances();
        let counters = self.counters(&known)?;
        let gateways = known.values().map(|record| record.allocation.gateway4).collect();
        let (allocation, counters) =
            allocate::allocate(&counters, &Taken { gateways, routed }, addressed, random)?;
        self.formats.write(&path, &counters)?;
        self.put_instance(&new_instance(name, allocation))?;
        Ok(true)
    }

    /// Renames a record that no version can read, so that another can be made. Of an instance the ids are
    /// not used again, its images are resolved anew and its steps run again. Kept for its owner to see.
    fn set_aside_damaged<T: Format>(&self, path: &Path) -> Result<(), RecordError> {
        match self.formats.read::<T>(path) {
            Err(error) if error.is_damage() => {
                tracing::error!("`{}` is damaged and is set aside", path.display());
                Ok(files::install(path, path.with_extension("damaged"))?)
            }
            _ => Ok(()),
        }
    }

    /// The counters; where their file is lost they start above everything on record.
    fn counters(&self, known: &BTreeMap<String, InstanceRecord>) -> Result<Counters, RecordError> {
        let above = known.values().map(|record| record.allocation.index + 1).max().unwrap_or(0);
        let mut counters = match self.formats.read::<Counters>(&self.path("counters.json")) {
            Ok(found) => found.unwrap_or_default(),
            Err(error) if error.is_damage() => Counters::default(),
            Err(error) => return Err(error),
        };
        counters.next_index = counters.next_index.max(above);
        Ok(counters)
    }

    /// Takes an instance out of force; its record goes when neither volumes nor secrets are left.
    pub(crate) fn retire_instance(&self, name: &str) -> Result<(), RecordError> {
        let (volumes, _) = self.volumes();
        // Secrets that cannot be read are kept: their owner may know better.
        let secrets = self.secrets(name).map_or(true, |secrets| !secrets.values.is_empty());
        let kept = volumes.iter().any(|v| v.instance == name) || secrets;
        if !kept {
            self.formats.remove(&self.instance_path(name))?;
        } else if self.instance(name)?.is_some() {
            self.change_instance(name, |record| {
                record.in_force = false;
                record.pins.clear();
            })?;
        }
        Ok(())
    }

    /// The generated secrets of an instance.
    pub(crate) fn secrets(&self, instance: &str) -> Result<SecretsRecord, RecordError> {
        Ok(self.formats.read(&self.secrets_path(instance))?.unwrap_or_default())
    }

    fn secrets_path(&self, instance: &str) -> PathBuf {
        self.path("secrets").join(format!("{instance}.json"))
    }

    /// The generated secrets of all instances, and what is wrong with those that cannot be read.
    pub(crate) fn all_secrets(&self) -> (BTreeMap<String, BTreeMap<String, Secret>>, Vec<String>) {
        let mut found = BTreeMap::new();
        let mut complaints = Vec::new();
        for path in entries(&self.path("secrets")) {
            let Some(name) = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned) else {
                continue;
            };
            match self.formats.read::<SecretsRecord>(&path) {
                Ok(Some(record)) => drop(found.insert(name, record.values)),
                Ok(None) => {}
                Err(error) => complaints.push(error.to_string()),
            }
        }
        (found, complaints)
    }

    /// Keeps a secret, unless there is one of that name; says whether there was none. Damaged ones are set aside
    /// when the instance has no volume, whose content may be of no use without them.
    pub(crate) fn add_secret(&self, instance: &str, name: &str, value: Secret) -> Result<bool, RecordError> {
        let (volumes, complaints) = self.volumes();
        if complaints.is_empty() && !volumes.iter().any(|volume| volume.instance == instance) {
            self.set_aside_damaged::<SecretsRecord>(&self.secrets_path(instance))?;
        }
        let mut record = self.secrets(instance)?;
        if record.values.contains_key(name) {
            return Ok(false);
        }
        record.values.insert(name.to_owned(), value);
        self.formats.write(&self.secrets_path(instance), &record)?;
        Ok(true)
    }

    /// Removes an instance's secrets, and its record when it is not in force.
    pub(crate) fn remove_secrets(&self, instance: &str) -> Result<(), RecordError> {
        self.formats.remove(&self.secrets_path(instance))?;
        if self.instance(instance)?.is_some_and(|record| !record.in_force) {
            self.formats.remove(&self.instance_path(instance))?;
        }
        Ok(())
    }
}

/// Gives a file or folder of ours its rights back, should it have others.
fn give_back(path: &Path, mode: u32) {
    let Ok(found) = std::fs::symlink_metadata(path) else { return };
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if found.permissions().mode() & 0o7777 == mode && (found.uid(), found.gid()) == own {
        return;
    }
    let given = lchown(path, Some(own.0), Some(own.1))
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode)));
    match given {
        Ok(()) => tracing::warn!("`{}` had other rights and has its own again", path.display()),
        Err(error) => tracing::error!("`{}` keeps the rights it has: {error}", path.display()),
    }
}

fn new_instance(name: &str, allocation: Allocation) -> InstanceRecord {
    InstanceRecord {
        name: name.to_owned(),
        in_force: true,
        allocation,
        pins: BTreeMap::new(),
        steps: BTreeMap::new(),
    }
}

/// The finished JSON files of a folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(read) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = read.filter_map(Result::ok).map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::formats::damage;
    use super::volumes::tests::record;
    use super::*;

    fn open() -> (tempfile::TempDir, Records) {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path().join("state"), None).unwrap();
        (folder, records)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn ranges_are_not_reused_after_removal_or_loss_of_the_counters() {
        let (_folder, records) = open();
        assert!(records.allocate("a", &names(&["web"]), vec![], 1).unwrap());
        assert!(!records.allocate("a", &names(&["web"]), vec![], 1).unwrap());
        let first = records.instance("a").unwrap().unwrap().allocation.id_base;
        records.retire_instance("a").unwrap();
        assert_eq!(records.instance("a").unwrap(), None);
        records.allocate("b", &[], vec![], 1).unwrap();
        let second = records.instance("b").unwrap().unwrap().allocation.id_base;
        assert_ne!(first, second);
        std::fs::write(records.path("counters.json"), "\0\0\0").unwrap();
        records.allocate("c", &[], vec![], 1).unwrap();
        let third = records.instance("c").unwrap().unwrap().allocation.id_base;
        assert!(third > second);
    }

    #[test]
    fn counters_of_a_newer_version_are_not_overwritten() {
        let (_folder, records) = open();
        std::fs::write(records.path("counters.json"), r#"{"format": 2}"#).unwrap();
        assert!(records.allocate("a", &[], vec![], 1).is_err());
    }

    #[test]
    fn secrets_are_made_once_and_keep_the_instance_on_record() {
        let (_folder, records) = open();
        records.allocate("a", &[], vec![], 1).unwrap();
        assert!(records.add_secret("a", "key", Secret::new("one")).unwrap());
        assert!(!records.add_secret("a", "key", Secret::new("two")).unwrap());
        records.retire_instance("a").unwrap();
        assert!(!records.instance("a").unwrap().unwrap().in_force);
        assert_eq!(records.secrets("a").unwrap().values["key"].expose(), "one");
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(records.path("secrets/a.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        records.remove_secrets("a").unwrap();
        assert_eq!(records.instance("a").unwrap(), None);
    }

    #[test]
    fn a_damaged_record_gives_way_to_a_new_one_and_a_newer_one_does_not() {
        let (_folder, records) = open();
        records.allocate("a", &names(&["web"]), vec![], 1).unwrap();
        let first = records.instance("a").unwrap().unwrap().allocation.id_base;
        let path = records.path("instances/a.json");
        for bad in [&b""[..], b"{\"format\": 1", &[0xff; 5000]] {
            damage(&path, bad);
            assert!(records.allocate("a", &names(&["web"]), vec![], 1).unwrap());
            assert_ne!(records.instance("a").unwrap().unwrap().allocation.id_base, first);
            assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap(), bad);
        }
        let newer = r#"{"format": 2}"#;
        std::fs::write(&path, newer).unwrap();
        assert!(records.allocate("a", &names(&["web"]), vec![], 1).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
    }

    #[test]
    fn damaged_secrets_give_way_only_where_nothing_may_need_them() {
        let (_folder, records) = open();
        records.allocate("a", &[], vec![], 1).unwrap();
        records.add_secret("a", "key", Secret::new("one")).unwrap();
        let path = records.path("secrets/a.json");
        let volume = record(1, "a", "data");
        records.create_volume(&volume).unwrap();
        damage(&path, b"{");
        assert!(records.add_secret("a", "key", Secret::new("two")).is_err());
        // It is removed all the same, with all that is its own.
        records.retire_instance("a").unwrap();
        assert!(!records.instance("a").unwrap().unwrap().in_force);
        assert_eq!(std::fs::read(&path).unwrap(), b"{");
        records.remove_volume(&volume).unwrap();
        assert!(!path.exists());
        damage(&path, &[0xff; 99]);
        assert!(records.add_secret("a", "key", Secret::new("three")).unwrap());
        assert_eq!(records.secrets("a").unwrap().values["key"].expose(), "three");
        assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap(), [0xff; 99]);
    }

    #[test]
    fn a_second_copy_takes_the_place_of_a_damaged_file_and_of_no_other() {
        let (folder, records) = open();
        let open = || Records::open(folder.path().join("state"), None).unwrap();
        let secret = |records: &Records| records.secrets("a").unwrap().values["key"].expose().to_owned();
        records.add_secret("a", "key", Secret::new("one")).unwrap();
        let (path, spare) = (records.path("secrets/a.json"), records.path("secrets/a.json.spare"));
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(std::fs::read(&spare).unwrap(), whole);
        for bad in [&whole[..20], &[0; 99], &[0xff; 5000]] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(secret(&records), "one", "before the next start");
            let records = open();
            assert_eq!((records.mended().len(), secret(&records)), (1, "one".into()));
            assert_eq!(std::fs::read(&path).unwrap(), whole);
            assert_eq!(open().mended(), [""; 0], "said once");
        }
        // As an older version leaves it, which knows of none; and one that is damaged itself.
        let other = String::from_utf8(whole).unwrap().replace("one", "two");
        std::fs::write(&path, &other).unwrap();
        assert_eq!(secret(&open()), "two");
        assert_eq!(std::fs::read_to_string(&spare).unwrap(), other);
        std::fs::write(&spare, "{").unwrap();
        assert_eq!((open().mended(), std::fs::read_to_string(&spare).unwrap()), (&[][..], other));
        // What was removed does not come back.
        std::fs::remove_file(&path).unwrap();
        assert!(open().secrets("a").unwrap().values.is_empty() && !spare.exists());
        records.add_secret("a", "key", Secret::new("three")).unwrap();
        records.remove_secrets("a").unwrap();
        assert!(!spare.exists());
    }

    #[test]
    fn files_and_folders_get_their_rights_back() {
        let (folder, records) = open();
        records.add_secret("a", "key", Secret::new("one")).unwrap();
        let paths = ["secrets", "secrets/a.json", "secrets/a.json.spare"].map(|path| records.path(path));
        for path in &paths {
            std::fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }
        Records::open(folder.path().join("state"), None).unwrap();
        let modes = paths.map(|path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777);
        assert_eq!(modes, [0o700, 0o600, 0o600]);
    }

    #[test]
    fn a_torn_record_is_told_of_and_stops_nothing() {
        let (_folder, records) = open();
        records.allocate("a", &[], vec![], 1).unwrap();
        records.allocate("b", &[], vec![], 1).unwrap();
        let path = records.path("instances/b.json");
        let text = std::fs::read_to_string(&path).unwrap();
        damage(&path, &text.as_bytes()[..text.len() / 2]);
        let (found, complaints) = records.instances();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
    }
}
