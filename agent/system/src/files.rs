//! Files that survive a power cut: written beside, synced, renamed, directory synced.
//!
//! Invariant: a reader of a path written here sees the old content or the new, whole, whenever the power
//! goes; when a function has returned `Ok`, the new content is on the disk. Reads have a limit, so that no
//! file can take the memory of a daemon.
//!
//! Absent on purpose: locks. Two writers of one path do not corrupt it, the last rename wins.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

/// Marks the unfinished files of [`write_atomic`] and what [`put_away`] renamed; [`sweep`] removes them.
const UNFINISHED: &str = ".hf-new";

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum FileError {
    /// It cannot be opened.
    #[error("failed to open `{path}`")]
    Open { path: PathBuf, source: io::Error },
    /// It cannot be read.
    #[error("failed to read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    /// It holds more than the reader accepts.
    #[error("`{path}` is larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: u64 },
    /// It is a folder, a pipe or another thing that is no file.
    #[error("`{path}` is no file")]
    NoFile { path: PathBuf },
    /// It is not UTF-8.
    #[error("`{path}` is not UTF-8")]
    NotText { path: PathBuf, source: std::string::FromUtf8Error },
    /// It cannot be written.
    #[error("failed to write `{path}`")]
    Write { path: PathBuf, source: io::Error },
    /// The finished file cannot be put in place.
    #[error("failed to put `{path}` in place")]
    Rename { path: PathBuf, source: io::Error },
    /// It cannot be removed.
    #[error("failed to remove `{path}`")]
    Remove { path: PathBuf, source: io::Error },
    /// The directory cannot be made.
    #[error("failed to make the directory `{path}`")]
    MakeDirectory { path: PathBuf, source: io::Error },
    /// The directory's entries cannot be made durable or be listed.
    #[error("failed to sync the directory `{path}`")]
    SyncDirectory { path: PathBuf, source: io::Error },
    /// The path has no parent or no file name.
    #[error("`{path}` names no file")]
    NoName { path: PathBuf },
}

impl FileError {
    /// Whether the file or directory does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            FileError::Open { source, .. } | FileError::Read { source, .. } => {
                source.kind() == ErrorKind::NotFound
            }
            _ => false,
        }
    }
}

/// Who may do what with a file: mode bits, and the owner where it is not the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits, set whatever the umask is.
    pub mode: u32,
    /// User and group id; `None` leaves them as the caller's.
    pub owner: Option<(u32, u32)>,
}

impl Access {
    /// The caller's own file.
    pub fn mode(mode: u32) -> Access {
        Access { mode, owner: None }
    }

    /// A file of `uid` and `gid`.
    pub fn owned(mode: u32, uid: u32, gid: u32) -> Access {
        Access { mode, owner: Some((uid, gid)) }
    }
}

/// Replaces `path` by a file of the caller that holds `bytes`, with permission bits `mode`.
pub fn write_atomic(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>, mode: u32) -> Result<(), FileError> {
    write_atomic_as(path, bytes, Access::mode(mode))
}

/// As [`write_atomic`], with an owner.
pub fn write_atomic_as(
    path: impl AsRef<Path>,
    bytes: impl AsRef<[u8]>,
    access: Access,
) -> Result<(), FileError> {
    let path = path.as_ref();
    let parent = parent(path)?;
    let beside = beside(path)?;
    let written = write_new(&beside, bytes.as_ref(), access)
        .map_err(|source| FileError::Write { path: path.to_owned(), source })
        .and_then(|()| {
            fs::rename(&beside, path).map_err(|source| FileError::Rename { path: path.to_owned(), source })
        });
    if let Err(error) = written {
        // The unfinished file is of no use to anyone; that it may already be gone is no news.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    sync_dir(parent)
}

/// As [`write_atomic`], but only when content or mode differ; says whether it wrote.
pub fn write_if_changed(
    path: impl AsRef<Path>,
    bytes: impl AsRef<[u8]>,
    mode: u32,
) -> Result<bool, FileError> {
    let (path, bytes) = (path.as_ref(), bytes.as_ref());
    if let Ok(meta) = fs::symlink_metadata(path)
        && meta.is_file()
        && meta.permissions().mode() & 0o7777 == mode
        && meta.len() == bytes.len() as u64
        && read_limited(path, bytes.len() as u64).is_ok_and(|now| now == bytes)
    {
        return Ok(false);
    }
    write_atomic(path, bytes, mode)?;
    Ok(true)
}

/// Reads a file of at most `limit` bytes.
pub fn read_limited(path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>, FileError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|source| FileError::Open { path: path.to_owned(), source })?;
    read_at_most(file, path, limit)
}

/// As [`read_limited`], of a file that another user has put there, or something else in its place.
pub fn read_foreign(path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>, FileError> {
    let path = path.as_ref();
    read_at_most(open_foreign(path)?, path, limit)
}

/// Opens a file for reading that another user has put there: no link is followed, no pipe is waited for.
pub fn open_foreign(path: impl AsRef<Path>) -> Result<File, FileError> {
    let path = path.as_ref();
    let failed = |source| FileError::Open { path: path.to_owned(), source };
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    match file.metadata().map_err(failed)?.is_file() {
        true => Ok(file),
        false => Err(FileError::NoFile { path: path.to_owned() }),
    }
}

fn read_at_most(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// As [`read_limited`]; `None` when there is no such file.
pub fn read_optional(path: impl AsRef<Path>, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    match read_limited(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a UTF-8 file of at most `limit` bytes.
pub fn read_text(path: impl AsRef<Path>, limit: u64) -> Result<String, FileError> {
    let path = path.as_ref();
    String::from_utf8(read_limited(path, limit)?)
        .map_err(|source| FileError::NotText { path: path.to_owned(), source })
}

/// Makes a directory whose entry is durable; says whether it was missing. Mode and owner are set only on
/// a directory made here. The parent must exist.
pub fn create_dir(path: impl AsRef<Path>, access: Access) -> Result<bool, FileError> {
    let path = path.as_ref();
    let failed = |source| FileError::MakeDirectory { path: path.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(false),
        Err(source) => return Err(failed(source)),
    }
    if let Some((uid, gid)) = access.owner {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(failed)?;
    }
    fs::set_permissions(path, Permissions::from_mode(access.mode)).map_err(failed)?;
    sync_dir(parent(path)?)?;
    Ok(true)
}

/// As [`create_dir`], with the parents that are missing; those get the same mode and owner.
pub fn create_dir_all(path: impl AsRef<Path>, access: Access) -> Result<bool, FileError> {
    let path = path.as_ref();
    if path.is_dir() {
        return Ok(false);
    }
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
    {
        create_dir_all(parent, access)?;
    }
    create_dir(path, access)
}

/// Puts the finished file or directory `staged` in the place of `target`, durably. A directory can only
/// take the place of nothing or of an empty directory. Its content must be synced already.
pub fn install(staged: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<(), FileError> {
    let (staged, target) = (staged.as_ref(), target.as_ref());
    fs::rename(staged, target).map_err(|source| FileError::Rename { path: target.to_owned(), source })?;
    sync_dir(parent(target)?)
}

/// Removes a file durably; says whether there was one.
pub fn remove(path: impl AsRef<Path>) -> Result<bool, FileError> {
    let path = path.as_ref();
    match fs::remove_file(path) {
        Ok(()) => sync_dir(parent(path)?).map(|()| true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(FileError::Remove { path: path.to_owned(), source }),
    }
}

/// What an interrupted write or removal left, or a directory that was put away: nothing goes by its name.
#[derive(Debug)]
pub struct Leftover {
    path: PathBuf,
    tree: bool,
}

impl Leftover {
    /// Whether it is a directory, which takes as long to remove as it is large.
    pub fn is_tree(&self) -> bool {
        self.tree
    }

    /// Removes it with all it holds.
    pub fn remove(self) -> Result<(), FileError> {
        let gone = match self.tree {
            true => fs::remove_dir_all(&self.path),
            false => fs::remove_file(&self.path),
        };
        match gone {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(FileError::Remove { path: self.path, source })
            }
            _ => Ok(()),
        }
    }
}

/// Takes a directory's name from it, durably, so that a power cut shows it whole or not at all; `None` when
/// there is none. What it gives is to be removed; [`sweep`] finishes what was cut.
pub fn put_away(path: impl AsRef<Path>) -> Result<Option<Leftover>, FileError> {
    let path = path.as_ref();
    loop {
        let away = beside(path)?;
        match fs::rename(path, &away).map_err(|error| (error.kind(), error)) {
            Ok(()) => {
                sync_dir(parent(path)?)?;
                return Ok(Some(Leftover { path: away, tree: true }));
            }
            Err((ErrorKind::NotFound, _)) => return Ok(None),
            // Left by a process of the same number.
            Err((ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists, _)) => {}
            Err((_, source)) => return Err(FileError::Remove { path: path.to_owned(), source }),
        }
    }
}

/// Removes a directory with all it holds, durably; says whether there was one. As [`put_away`], to its end.
pub fn remove_tree(path: impl AsRef<Path>) -> Result<bool, FileError> {
    match put_away(path)? {
        Some(away) => away.remove().map(|()| true),
        None => Ok(false),
    }
}

/// What interrupted writes and removals left in `directory`. Nothing may be writing there.
pub fn leftovers(directory: impl AsRef<Path>) -> Result<Vec<Leftover>, FileError> {
    let unfinished = |name: &OsStr| {
        name.as_encoded_bytes().windows(UNFINISHED.len()).any(|part| part == UNFINISHED.as_bytes())
    };
    entries(directory.as_ref(), unfinished)
}

/// Removes what interrupted writes and removals left in `directory`; says how much there was. Nothing may
/// be writing there. The error is of the first that cannot be removed; all others are.
pub fn sweep(directory: impl AsRef<Path>) -> Result<usize, FileError> {
    remove_all(leftovers(directory)?)
}

/// Removes all that `directory` holds, and not the directory; says how much there was. It takes no room.
pub fn clear(directory: impl AsRef<Path>) -> Result<usize, FileError> {
    remove_all(entries(directory.as_ref(), |_| true)?)
}

fn entries(directory: &Path, which: impl Fn(&OsStr) -> bool) -> Result<Vec<Leftover>, FileError> {
    let failed = |source| FileError::SyncDirectory { path: directory.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if which(&entry.file_name()) {
            let tree = entry.file_type().map_err(failed)?.is_dir();
            found.push(Leftover { path: entry.path(), tree });
        }
    }
    Ok(found)
}

fn remove_all(left: Vec<Leftover>) -> Result<usize, FileError> {
    let count = left.len();
    let failed: Vec<FileError> = left.into_iter().filter_map(|left| left.remove().err()).collect();
    failed.into_iter().next().map_or(Ok(count), Err)
}

/// Makes the entries of a directory durable.
pub fn sync_dir(path: impl AsRef<Path>) -> Result<(), FileError> {
    let path = path.as_ref();
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| FileError::SyncDirectory { path: path.to_owned(), source })
}

fn write_new(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    // Nobody but the owner sees it before it has its final rights.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    if let Some((uid, gid)) = access.owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    file.set_permissions(Permissions::from_mode(access.mode))?;
    file.sync_all()
}

fn parent(path: &Path) -> Result<&Path, FileError> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(FileError::NoName { path: path.to_owned() }),
    }
}

/// A name in the same directory that no other writer uses.
fn beside(path: &Path) -> Result<PathBuf, FileError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| FileError::NoName { path: path.to_owned() })?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!("{UNFINISHED}-{}-{count}", std::process::id()));
    Ok(path.with_file_name(unfinished))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_content_and_mode_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        write_atomic(&path, "old", 0o644).unwrap();
        write_atomic(&path, "new", 0o600).unwrap();
        assert_eq!(read_text(&path, 3).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(dir.path()), ["state"]);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("full");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("keep"), "x").unwrap();
        let error = write_atomic(&path, "new", 0o644).unwrap_err();
        assert_eq!(error.to_string(), format!("failed to put `{}` in place", path.display()));
        assert_eq!(names(dir.path()), ["full"]);
        assert_eq!(names(&path), ["keep"]);
    }

    #[test]
    fn writes_only_what_differs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(write_if_changed(&path, "a", 0o644).unwrap());
        assert!(!write_if_changed(&path, "a", 0o644).unwrap());
        assert!(write_if_changed(&path, "a", 0o600).unwrap());
        assert!(write_if_changed(&path, "b", 0o600).unwrap());
        assert!(!write_if_changed(&path, "b", 0o600).unwrap());
    }

    #[test]
    fn reads_up_to_the_limit_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_limited(&path, 5).unwrap(), b"12345");
        assert!(matches!(read_limited(&path, 4), Err(FileError::TooLarge { limit: 4, .. })));
        assert_eq!(read_optional(dir.path().join("none"), 4).unwrap(), None);
        assert!(read_limited("/dev/zero", 100).is_err());
    }

    #[test]
    fn of_what_others_put_there_only_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "12345").unwrap();
        fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RUSR).unwrap();
        assert_eq!(read_foreign(path("file"), 5).unwrap(), b"12345");
        assert!(matches!(read_foreign(path("file"), 4), Err(FileError::TooLarge { .. })));
        assert!(matches!(read_foreign(path("link"), 5), Err(FileError::Open { .. })));
        assert!(read_foreign(path("none"), 5).unwrap_err().is_not_found());
        for name in ["folder", "pipe"] {
            assert!(matches!(read_foreign(path(name), 5), Err(FileError::NoFile { .. })), "{name}");
        }
    }

    #[test]
    fn directories_are_made_once_and_with_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert!(create_dir_all(&path, Access::mode(0o711)).unwrap());
        assert!(!create_dir_all(&path, Access::mode(0o700)).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o711);
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create_dir(dir.path().join("file"), Access::mode(0o700)).is_err());
    }

    #[test]
    fn removal_says_whether_there_was_anything() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        create_dir_all(tree.join("sub"), Access::mode(0o700)).unwrap();
        assert!(remove_tree(&tree).unwrap());
        assert!(!remove_tree(&tree).unwrap());
        write_atomic(&tree, "", 0o600).unwrap();
        assert!(remove(&tree).unwrap());
        assert!(!remove(&tree).unwrap());
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn sweep_takes_leftovers_only() {
        let dir = tempfile::tempdir().unwrap();
        write_atomic(dir.path().join("keep"), "", 0o600).unwrap();
        fs::write(beside(&dir.path().join("cut")).unwrap(), "half").unwrap();
        fs::create_dir_all(beside(&dir.path().join("tree")).unwrap().join("sub")).unwrap();
        assert_eq!(sweep(dir.path()).unwrap(), 2);
        assert_eq!(names(dir.path()), ["keep"]);
    }

    #[test]
    fn sweep_goes_on_behind_what_cannot_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let trees = ["a", "b", "c"].map(|name| beside(&dir.path().join(name)).unwrap());
        for tree in &trees {
            fs::create_dir_all(tree).unwrap();
            fs::write(tree.join("file"), "").unwrap();
        }
        let found = leftovers(dir.path()).unwrap();
        assert_eq!(found.len(), 3);
        // What was a directory when it was listed, and is none, cannot be removed as one, by root neither.
        fs::remove_dir_all(&trees[1]).unwrap();
        fs::write(&trees[1], "").unwrap();
        let swept = remove_all(found);
        let left = names(dir.path());
        assert!(matches!(swept, Err(FileError::Remove { path, .. }) if path == trees[1]));
        assert_eq!(left, [trees[1].file_name().unwrap().to_str().unwrap()]);
        assert_eq!(sweep(dir.path()).unwrap(), 1);
    }

    #[test]
    fn what_is_put_away_stands_aside_of_what_an_earlier_process_left() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("sub")).unwrap();
        let next = beside(&tree).unwrap().into_os_string().into_string().unwrap();
        let (start, count) = next.rsplit_once('-').unwrap();
        let count: u64 = count.parse().unwrap();
        for count in count + 1..count + 50 {
            fs::create_dir_all(format!("{start}-{count}/left")).unwrap();
        }
        let away = put_away(&tree).unwrap().unwrap();
        assert!(away.is_tree() && !tree.exists());
        assert!(put_away(&tree).unwrap().is_none());
        assert_eq!(names(dir.path()).len(), 50);
        away.remove().unwrap();
        assert_eq!(leftovers(dir.path()).unwrap().len(), 49);
    }
}
