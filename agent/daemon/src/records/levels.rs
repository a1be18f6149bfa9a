//! All files with formats: taken on from another version, and brought to the level that is written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use agent_core::network::NetworkRecord;
use agent_core::notify::NotifyRecord;
use agent_core::state::{
    Counters, Format, Generation, InstanceRecord, Provider, SecretsRecord, VolumeId, VolumeRecord,
};
use agent_core::update::{ScrubRecord, UpdateRecord, writing_level};

use super::formats::{Formats, original, with_copies};
use super::{RecordError, Records};

/// The files of one type.
struct Kind {
    files: fn(&Records) -> BTreeSet<PathBuf>,
    adopt: fn(&Formats, &Path) -> Result<Option<String>, RecordError>,
    migrate: fn(&Formats, &Path) -> Result<(), RecordError>,
    mend: fn(&Formats, &Path) -> Result<Option<String>, RecordError>,
}

const fn kind<T: Format>(files: fn(&Records) -> BTreeSet<PathBuf>) -> Kind {
    Kind { files, adopt: Formats::adopt::<T>, migrate: Formats::migrate::<T>, mend: Formats::mend::<T> }
}

/// All of them. What can be had again lies outside: images, and leases of the network.
const KINDS: [Kind; 10] = [
    kind::<UpdateRecord>(|records| records.one("update.json")),
    kind::<NotifyRecord>(|records| records.one("notify.json")),
    kind::<NetworkRecord>(|records| records.one("network.json")),
    kind::<ScrubRecord>(|records| records.one("scrub.json")),
    kind::<Counters>(|records| records.one("counters.json")),
    kind::<Provider>(|records| records.one("provider.json")),
    kind::<Generation>(|records| records.all("generations")),
    kind::<InstanceRecord>(|records| records.all("instances")),
    kind::<SecretsRecord>(|records| records.all("secrets")),
    kind::<VolumeRecord>(|records| {
        let volumes = std::fs::read_dir(records.path("volumes")).into_iter().flatten().flatten();
        // What is being removed is none.
        let volumes = volumes.filter(|entry| entry.file_name().to_str().and_then(VolumeId::parse).is_some());
        volumes.map(|volume| volume.path().join("volume.json")).collect()
    }),
];

impl Records {
    /// Puts in force what was kept for this version of files that a newer one wrote; says so.
    pub(super) fn adopt(&self) -> Vec<String> {
        let adopt = |kind: &Kind, path: &Path| (kind.adopt)(&self.formats, path);
        let done = self.each(adopt);
        done.into_iter().filter_map(|done| done.unwrap_or_else(|error| Some(error.to_string()))).collect()
    }

    /// Puts second copies in the place of files that are damaged; says so.
    pub(super) fn mend(&self) -> Vec<String> {
        let done = self.each(|kind, path| (kind.mend)(&self.formats, path));
        done.into_iter().filter_map(|done| done.unwrap_or_else(|error| Some(error.to_string()))).collect()
    }

    /// Sets the level that is written by what is on record of updates, none when that cannot be read, and
    /// brings all files to the newest when that is it; says what could not be brought there, which is tried
    /// again at the next start.
    pub(crate) fn settle(&self, record: Option<&UpdateRecord>, good: Option<bool>) -> Vec<String> {
        let other = record.and_then(|record| record.previous.as_ref());
        self.formats.set_other(other.map(|previous| previous.level));
        self.formats.set_level(writing_level(record, good, self.formats.newest()));
        if !self.formats.is_newest() {
            return Vec::new();
        }
        let done = self.each(|kind, path| (kind.migrate)(&self.formats, path));
        let failed = done.into_iter().filter_map(Result::err);
        // A file that cannot be read is told of where it is needed.
        let told = failed.filter(|error| matches!(error, RecordError::File(_)));
        told.map(|error| format!("a file keeps its older format: {error}")).collect()
    }

    /// Gives all files the rights that they were written with.
    pub(super) fn give_back(&self) {
        self.each(|_, path| with_copies(path).iter().for_each(|path| super::give_back(path, 0o600)));
    }

    fn each<T>(&self, act: impl Fn(&Kind, &Path) -> T) -> Vec<T> {
        let act = &act;
        let files =
            KINDS.iter().flat_map(|kind| (kind.files)(self).into_iter().map(move |path| (kind, path)));
        files.map(|(kind, path)| act(kind, &path)).collect()
    }

    fn one(&self, name: &str) -> BTreeSet<PathBuf> {
        BTreeSet::from([self.path(name)])
    }

    /// The finished files of a folder, and those of which there are only copies.
    fn all(&self, folder: &str) -> BTreeSet<PathBuf> {
        let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let files = entries.map(|entry| original(entry.path()));
        files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_core::update::{Baseline, Trial, TrialProgress};

    fn fixture(name: &str) -> tempfile::TempDir {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/fixtures/state").join(name);
        let folder = tempfile::tempdir().unwrap();
        copy(&from, folder.path());
        folder
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            let to = to.join(entry.file_name());
            match entry.path().is_dir() {
                true => copy(&entry.path(), &to),
                false => drop(std::fs::copy(entry.path(), to).unwrap()),
            }
        }
    }

    /// All that is on record, as text, and how many files it is of.
    fn all(records: &Records) -> (String, usize) {
        let (instances, wrong) = records.instances();
        assert_eq!(wrong, [""; 0]);
        let (secrets, wrong) = records.all_secrets();
        assert_eq!(wrong, [""; 0]);
        let secrets: Vec<_> =
            secrets.iter().flat_map(|(i, all)| all.iter().map(move |(n, v)| (i, n, v.expose()))).collect();
        let (volumes, wrong) = records.volumes();
        assert_eq!(wrong, [""; 0]);
        let (generation, wrong) = records.newest_generation(|_| Ok(()));
        assert_eq!(wrong, [""; 0]);
        let document = generation.as_ref().unwrap().document.expose();
        let updates = records.updates().unwrap().unwrap();
        let counters = records.formats.read::<Counters>(&records.path("counters.json")).unwrap().unwrap();
        let provider = records.provider().unwrap().unwrap();
        let text = format!(
            "{instances:#?} {secrets:?} {volumes:#?} {generation:?} {document} {updates:#?} {counters:?} {provider:?}"
        );
        // What a box was not asked for, as messages to its owner, has no file.
        let there = records.each(|_, path| path.exists());
        (text, there.into_iter().filter(|exists| *exists).count())
    }

    #[test]
    fn what_a_newer_version_wrote_is_gone_on_with_by_what_it_kept() {
        let (this, next) = (fixture("format-1"), fixture("format-next"));
        let expect = all(&Records::open(this.path(), Some(true)).unwrap());
        let newer = std::fs::read(next.path().join("secrets/probe.json")).unwrap();
        let records = Records::open(next.path(), Some(true)).unwrap();
        assert_eq!(all(&records), expect);
        assert_eq!(records.notes().len(), expect.1, "{:?}", records.notes());
        assert!(records.notes().iter().all(|note| note.contains("in format 2")));
        assert_eq!(std::fs::read(next.path().join("secrets/probe.json.format-2")).unwrap(), newer);
        // It is said once, and what comes after is kept.
        assert!(records.add_secret("probe", "other", recipes::Secret::new("x")).unwrap());
        let records = Records::open(next.path(), Some(true)).unwrap();
        assert_eq!(records.notes(), [""; 0]);
        assert_eq!(records.secrets("probe").unwrap().values.len(), 2);
        let allocated = records.allocate("new", &[], vec![], 1).unwrap();
        assert!(allocated && records.instance("new").unwrap().unwrap().allocation.index == 3);
    }

    #[test]
    fn folders_that_a_copy_names_are_not_swept() {
        let folder = fixture("format-1");
        let volume = folder.path().join("volumes/00000000000000a2");
        for name in ["data", "data-1", "data-2"] {
            std::fs::create_dir(volume.join(name)).unwrap();
        }
        let other = std::fs::read_to_string(volume.join("volume.json")).unwrap();
        // As it is after going back: what the newer version wrote lies aside.
        std::fs::write(volume.join("volume.json.format-1"), &other).unwrap();
        let other = other.replace("\"replaced\": 2", "\"replaced\": 1");
        std::fs::write(volume.join("volume.json.format-7"), &other).unwrap();
        let records = Records::open(folder.path(), Some(true)).unwrap();
        let there = ["data", "data-1", "data-2"].map(|name| volume.join(name).exists());
        assert_eq!((there, records.notes()), ([false, true, true], &[][..]));
        std::fs::write(volume.join("volume.json.format-7"), r#"{"format": 7}"#).unwrap();
        std::fs::create_dir(volume.join("data")).unwrap();
        Records::open(folder.path(), Some(true)).unwrap();
        assert!(volume.join("data").exists(), "nobody knows what the newer version used");
    }

    #[test]
    fn the_level_is_known_before_anything_is_written() {
        let folder = fixture("format-1");
        let newest = |good| Records::open(folder.path(), good).unwrap().formats.is_newest();
        assert!(newest(Some(true)) && newest(None));
        let records = Records::open(folder.path(), Some(true)).unwrap();
        let trial = Trial {
            version: "9".parse().unwrap(),
            from: "8".parse().unwrap(),
            level: 0,
            slot: image_layout::Slot::B,
            at: 0,
            boot: String::new(),
            window: 0,
            baseline: Baseline::default(),
            progress: TrialProgress::default(),
        };
        // There is one level yet: one below stands for that of the version before.
        let mut record = records.updates().unwrap().unwrap();
        record.trial = Some(trial);
        records.put_updates(&record).unwrap();
        assert!(!newest(Some(false)));
        record.proved(1);
        assert_eq!(records.settle(Some(&record), Some(true)), [""; 0]);
        assert!(records.formats.is_newest());
    }
}
