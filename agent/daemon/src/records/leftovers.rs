//! What interrupted writes and removals left in folders of ours: nothing goes by it.

use std::path::Path;
use std::sync::PoisonError;

use agent_system::files::{self, FileError, Leftover};

use super::Records;

impl Records {
    /// Removes the folders whose removal was cut before they were opened. It takes as long as those are large.
    pub(crate) fn remove_leftovers(&self) {
        let left = std::mem::take(&mut *self.leftovers.lock().unwrap_or_else(PoisonError::into_inner));
        left.into_iter().for_each(remove);
    }
}

/// Removes the files that interrupted writes left in a folder of ours; gives the folders, which may hold much. A folder
/// that cannot be listed may hold anything, and is an error.
pub(super) fn sweep(folder: &Path) -> Result<Vec<Leftover>, FileError> {
    let left = files::leftovers(folder)?;
    let (trees, rest): (Vec<Leftover>, Vec<Leftover>) = left.into_iter().partition(Leftover::is_tree);
    rest.into_iter().for_each(remove);
    Ok(trees)
}

/// Removes what nothing goes by. What cannot be removed costs room and nothing else.
fn remove(left: Leftover) {
    if let Err(error) = left.remove() {
        warn(error);
    }
}

pub(super) fn warn(error: FileError) {
    tracing::warn!("{:#}", anyhow::Error::from(error));
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::super::volumes::tests::record;
    use super::*;

    /// Lets nobody, root included, remove what a folder holds, or lets them again; says whether that can be done here.
    fn hold(folder: &Path, held: bool) -> bool {
        if !rustix::process::geteuid().is_root() {
            let mode = if held { 0o500 } else { 0o700 };
            return std::fs::set_permissions(folder, Permissions::from_mode(mode)).is_ok();
        }
        let open = std::fs::File::open(folder).unwrap();
        let Ok(mut flags) = rustix::fs::ioctl_getflags(&open) else { return false };
        flags.set(rustix::fs::IFlags::IMMUTABLE, held);
        rustix::fs::ioctl_setflags(&open, flags).is_ok()
    }

    #[test]
    fn what_cannot_be_removed_or_is_large_holds_no_start_up() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let records = Records::open(&state, None).unwrap();
        // As removals of a volume and of a container that were cut leave them, and a write.
        let kept = records.path("volumes/.0000000000000001.hf-new-1-0");
        let gone = records.path("containers/.probe.sh.hf-new-1-0");
        let file = records.path("instances/.a.json.hf-new-1-0");
        let volume = record(1, "a", "data");
        records.create_volume(&volume).unwrap();
        std::fs::rename(records.volume_path(&volume.id), &kept).unwrap();
        std::fs::remove_file(kept.join("volume.json.spare")).unwrap();
        std::fs::create_dir_all(gone.join("upper/rest")).unwrap();
        std::fs::write(&file, "{").unwrap();
        if !hold(&kept, true) {
            return eprintln!("skipped: nothing can be held here");
        }
        let opened = Records::open(&state, None).inspect_err(|_| assert!(hold(&kept, false))).unwrap();
        let before = [&kept, &gone, &file].map(|path| path.exists());
        let (volumes, complaints) = opened.volumes();
        opened.remove_leftovers();
        let after = [&kept, &gone, &file].map(|path| path.exists());
        assert!(hold(&kept, false));
        assert_eq!((before, after), ([true, true, false], [true, false, false]));
        assert_eq!((volumes, complaints), (vec![], vec![]), "it is taken for no volume");
        assert_eq!((opened.mended(), opened.notes()), (&[][..], &[][..]));
        Records::open(&state, None).unwrap().remove_leftovers();
        assert!(!kept.exists());
    }
}
