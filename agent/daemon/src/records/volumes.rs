//! Volumes: a folder with an id, which holds `volume.json` and the folder that this names.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use agent_core::state::{VolumeId, VolumeRecord};
use agent_system::files::{self, Access, Leftover};
use agent_system::quota;

use super::formats::kept;
use super::leftovers::{sweep, warn};
use super::{RecordError, Records};

impl Records {
    /// All volumes, and what is wrong with those that cannot be read.
    pub(crate) fn volumes(&self) -> (Vec<VolumeRecord>, Vec<String>) {
        let mut found = Vec::new();
        let mut complaints = Vec::new();
        let Ok(entries) = std::fs::read_dir(self.path("volumes")) else { return (found, complaints) };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            if entry.file_name().to_str().and_then(VolumeId::parse).is_none() {
                continue;
            }
            match self.formats.read::<VolumeRecord>(&path.join("volume.json")) {
                Ok(Some(record)) => found.push(record),
                Ok(None) => complaints.push(format!("`{}` has no record", path.display())),
                Err(error) => complaints.push(error.to_string()),
            }
        }
        found.sort_by(|a, b| (&a.instance, &a.name).cmp(&(&b.instance, &b.name)));
        (found, complaints)
    }

    /// The volume of that name.
    pub(crate) fn volume(&self, instance: &str, name: &str) -> Result<VolumeRecord, RecordError> {
        let (volumes, _) = self.volumes();
        let found = volumes.into_iter().find(|v| v.instance == instance && v.name == name);
        found.ok_or_else(|| RecordError::NoVolume(instance.to_owned(), name.to_owned()))
    }

    /// A volume's folder.
    pub(crate) fn volume_path(&self, id: &VolumeId) -> PathBuf {
        self.path("volumes").join(id.as_str())
    }

    /// What containers see of a volume.
    pub(crate) fn volume_data(&self, record: &VolumeRecord) -> PathBuf {
        self.volume_path(&record.id).join(record.folder())
    }

    /// Makes a volume. Its folder gets its name last, so that there is either all of it or none. Refused
    /// while there is one whose record cannot be read: an empty one must not take its place.
    pub(crate) fn create_volume(&self, record: &VolumeRecord) -> Result<(), RecordError> {
        let (volumes, complaints) = self.volumes();
        if volumes.iter().any(|v| v.instance == record.instance && v.name == record.name) {
            return Err(RecordError::VolumeExists(record.instance.clone(), record.name.clone()));
        }
        if let Some(complaint) = complaints.into_iter().next() {
            return Err(RecordError::VolumeUnknown(complaint));
        }
        let staged = self.path("volumes").join(format!(".new-{}", record.id));
        files::remove_tree(&staged)?;
        files::create_dir(&staged, Access::mode(0o711))?;
        files::create_dir(staged.join(record.folder()), Access::mode(0o755))?;
        self.formats.write(&staged.join("volume.json"), record)?;
        Ok(files::install(&staged, self.volume_path(&record.id))?)
    }

    /// Replaces a volume's record.
    pub(crate) fn put_volume(&self, record: &VolumeRecord) -> Result<(), RecordError> {
        self.formats.write(&self.volume_path(&record.id).join("volume.json"), record)
    }

    /// Makes an empty folder beside what a volume holds, to take its place by [`Records::replace_volume`];
    /// the record that it will have. Refused while there is such a folder.
    pub(crate) fn stage_volume(&self, record: &VolumeRecord) -> Result<VolumeRecord, RecordError> {
        let now = std::fs::metadata(self.volume_data(record))
            .map_err(|source| RecordError::Volume(self.volume_data(record), source))?;
        let project = self.free_project();
        let next = VolumeRecord { replaced: record.replaced + 1, project, ..record.clone() };
        let access = Access::owned(now.mode() & 0o7777, now.uid(), now.gid());
        match files::create_dir(self.volume_data(&next), access)? {
            true => Ok(next),
            false => Err(RecordError::VolumeBusy(record.instance.clone(), record.name.clone())),
        }
    }

    /// Puts what was staged in the place of what the volume holds; all of it or, if this is cut, nothing.
    pub(crate) fn replace_volume(&self, staged: &VolumeRecord) -> Result<VolumeRecord, RecordError> {
        let now = self.volume(&staged.instance, &staged.name)?;
        if now.id != staged.id || now.replaced + 1 != staged.replaced {
            return Err(RecordError::VolumeBusy(staged.instance.clone(), staged.name.clone()));
        }
        let next = VolumeRecord { replaced: staged.replaced, project: staged.project, ..now };
        self.put_volume(&next)?;
        Ok(next)
    }

    /// Puts away what was staged and did not become the volume's and what was the volume's before; gives it with
    /// what is left of a removal that was cut. What a copy of its record names may be the other version's and
    /// stays. Something that cannot be removed costs room and nothing else.
    pub(super) fn sweep_volumes(&self) -> Vec<Leftover> {
        let mut left = Vec::new();
        for record in self.volumes().0 {
            let folder = self.volume_path(&record.id);
            let Some(kept) = kept::<VolumeRecord>(&folder.join("volume.json")) else { continue };
            let used = |name: &str| name == record.folder() || kept.iter().any(|kept| kept.folder() == name);
            let old = std::fs::read_dir(&folder).into_iter().flatten().flatten().filter(|entry| {
                let name = entry.file_name();
                name.to_str().is_some_and(|name| name.starts_with("data") && !used(name))
            });
            match sweep(&folder) {
                Ok(trees) => left.extend(trees),
                Err(error) => warn(error),
            }
            for entry in old {
                match files::put_away(entry.path()) {
                    Ok(away) => left.extend(away),
                    Err(error) => warn(error),
                }
            }
        }
        left
    }

    /// Removes a volume, and the instance's secrets with its last volume. Gives what it held: that is still to be
    /// removed, which takes as long as it is large; if it is not, the next start does.
    pub(crate) fn remove_volume(&self, record: &VolumeRecord) -> Result<Option<Leftover>, RecordError> {
        let in_force = self.instance(&record.instance)?.is_some_and(|r| r.in_force);
        let away = files::put_away(self.volume_path(&record.id))?;
        let (left, _) = self.volumes();
        if !in_force && !left.iter().any(|v| v.instance == record.instance) {
            self.remove_secrets(&record.instance)?;
        }
        Ok(away)
    }

    /// A number to count a new volume's blocks under, which no other has, nor what is left of one.
    pub(crate) fn free_project(&self) -> u32 {
        let (volumes, _) = self.volumes();
        let recorded = volumes.iter().map(|v| v.project).max().unwrap_or(0).max(1000);
        // One that was given away may not be on record yet.
        self.projects.fetch_max(recorded, Ordering::Relaxed);
        let counted = quota::inodes(&self.root).into_iter().flatten().filter(|counted| counted.used > 0);
        let counted: BTreeSet<u32> = counted.map(|counted| counted.project).collect();
        loop {
            let project = self.projects.fetch_add(1, Ordering::Relaxed) + 1;
            if !counted.contains(&project) {
                return project;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::formats::damage;
    use super::*;
    use recipes::Secret;

    pub(in super::super) fn record(random: u64, instance: &str, name: &str) -> VolumeRecord {
        VolumeRecord {
            id: VolumeId::from_random(random),
            instance: instance.into(),
            name: name.into(),
            size: None,
            project: 0,
            created_at: 1,
            replaced: 0,
        }
    }

    #[test]
    fn a_volume_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path(), None).unwrap();
        let before = record(1, "a", "one");
        records.create_volume(&before).unwrap();
        std::fs::write(records.volume_data(&before).join("old"), "").unwrap();
        std::fs::set_permissions(records.volume_data(&before), PermissionsExt::from_mode(0o1770)).unwrap();
        let names = || {
            let all = std::fs::read_dir(records.volume_path(&before.id)).unwrap();
            let names = all.map(|e| e.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name != "volume.json.spare").collect::<BTreeSet<_>>()
        };

        // Cut before it was put in place: nothing has changed, and nothing is left of it.
        let staged = records.stage_volume(&before).unwrap();
        std::fs::write(records.volume_data(&staged).join("half"), "").unwrap();
        assert!(matches!(records.stage_volume(&before), Err(RecordError::VolumeBusy(..))));
        let opened = Records::open(folder.path(), None).unwrap();
        // Before what was staged is removed, which may take long, there can be another.
        assert!(!records.volume_data(&staged).exists());
        opened.remove_leftovers();
        assert_eq!(names(), ["data", "volume.json"].map(str::to_owned).into());
        assert!(records.volume_data(&records.volume("a", "one").unwrap()).join("old").exists());

        // Put in place, and cut before the old was removed.
        let staged = records.stage_volume(&before).unwrap();
        std::fs::write(records.volume_data(&staged).join("new"), "").unwrap();
        let other = records.free_project();
        let after = records.replace_volume(&staged).unwrap();
        assert!(after.project != before.project && after.project != other, "{after:?}");
        // And as a removal that was cut leaves it.
        let away = records.volume_path(&before.id).join(".data.hf-new-1-0");
        std::fs::create_dir_all(away.join("rest")).unwrap();
        Records::open(folder.path(), None).unwrap().remove_leftovers();
        assert_eq!(names(), ["data-1", "volume.json"].map(str::to_owned).into());
        assert_eq!(records.volume("a", "one").unwrap(), after);
        let now = records.volume_data(&after);
        assert!(now.join("new").exists() && !now.join("old").exists());
        assert_eq!(std::fs::metadata(&now).unwrap().mode() & 0o7777, 0o1770);

        // What was staged for a volume that is another one by now.
        assert!(records.replace_volume(&staged).is_err());
    }

    #[test]
    fn no_empty_volume_takes_the_place_of_one_whose_record_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path(), None).unwrap();
        let one = record(1, "a", "one");
        records.create_volume(&one).unwrap();
        let path = records.volume_path(&one.id).join("volume.json");
        for bad in [&b""[..], b"{", &[0xff; 99]] {
            damage(&path, bad);
            assert!(records.create_volume(&record(2, "a", "one")).is_err(), "{bad:?}");
        }
        assert_eq!(records.volumes().0, []);
    }

    #[test]
    fn the_last_volume_takes_the_secrets_along() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path(), None).unwrap();
        records.allocate("a", &[], vec![], 0).unwrap();
        let (one, two) = (record(1, "a", "one"), record(2, "a", "two"));
        records.create_volume(&one).unwrap();
        records.create_volume(&two).unwrap();
        assert!(records.create_volume(&record(3, "a", "two")).is_err());
        records.add_secret("a", "key", Secret::new("k")).unwrap();
        records.retire_instance("a").unwrap();
        let left = records.remove_volume(&one).unwrap().unwrap();
        assert_eq!(records.volumes(), (vec![two.clone()], vec![]), "before what it held is removed");
        left.remove().unwrap();
        assert_eq!(std::fs::read_dir(records.path("volumes")).unwrap().count(), 1);
        assert_eq!(records.secrets("a").unwrap().values.len(), 1);
        records.remove_volume(&two).unwrap();
        assert_eq!(records.secrets("a").unwrap().values.len(), 0);
        assert_eq!(records.instance("a").unwrap(), None);
        assert_eq!(records.volumes().0, []);
    }
}
