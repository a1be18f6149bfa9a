//! A volume as a tar stream, and back.
//!
//! Runs as a program of its own (`holdfastd volume-export` and `volume-import`) in a unit that sees little
//! but the volume. Whoever writes in the volume meanwhile, or made the stream, leads it nowhere: every
//! entry is opened from the volume's folder without following a link (`openat2(2)`). Owners are numbers,
//! those of the container. Devices are passed over. Deliberately absent: extended attributes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    chownat, fchmod, fchown, fstat, futimens, linkat, mkdirat, mknodat, openat, openat2, readlinkat,
    renameat, statat, symlinkat, unlinkat, utimensat,
};
use tar::{Archive, Builder, Entry, EntryType, Header};

/// Folders deeper than this are an error, not a full stack.
const DEEPEST: usize = 512;

/// Writes all of `folder` to `out`.
pub(crate) fn export(folder: &Path, out: impl Write) -> anyhow::Result<()> {
    let root = open_root(folder)?;
    let mut export = Export { tar: Builder::new(out), links: HashMap::new() };
    let stat = fstat(&root).context("failed to read the volume")?;
    export.header(Path::new("./"), &stat, EntryType::Directory, 0, io::empty())?;
    export.folder(root, Path::new(""), 0)?;
    export.tar.into_inner().and_then(|mut out| out.flush()).context("failed to end the stream")
}

fn open_root(folder: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty())
        .with_context(|| format!("failed to open `{}`", folder.display()))
}

struct Export<W: Write> {
    tar: Builder<W>,
    /// First name of files that have several.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Export<W> {
    fn folder(&mut self, folder: OwnedFd, path: &Path, depth: usize) -> anyhow::Result<()> {
        if depth > DEEPEST {
            bail!("`{}` is too deep", path.display());
        }
        let mut names: Vec<Vec<u8>> = Vec::new();
        for entry in Dir::read_from(&folder).context("failed to list a folder")? {
            let entry = entry.context("failed to list a folder")?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort();
        for name in names {
            let name = OsStr::from_bytes(&name);
            let path = path.join(name);
            let at = || format!("failed to read `{}`", path.display());
            match self.entry(&folder, name, &path, depth).with_context(at) {
                Err(error) if is_gone(&error) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, name: &OsStr, path: &Path, depth: usize) -> anyhow::Result<()> {
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let key = (stat.st_dev, stat.st_ino);
        if kind != FileType::Directory
            && stat.st_nlink > 1
            && let Some(first) = self.links.get(&key)
        {
            let (mut header, first) = (header(&stat, EntryType::Link, 0), first.clone());
            return Ok(self.tar.append_link(&mut header, path, first)?);
        }
        match kind {
            FileType::Directory => {
                let open = openat(folder, name, flags() | OFlags::DIRECTORY, Mode::empty())?;
                self.header(&path.join(""), &stat, EntryType::Directory, 0, io::empty())?;
                self.folder(open, path, depth + 1)?;
            }
            FileType::RegularFile => {
                let open = File::from(openat(folder, name, flags() | OFlags::NONBLOCK, Mode::empty())?);
                let stat = fstat(&open)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Ok(());
                }
                let size = stat.st_size as u64;
                // What grows or shrinks meanwhile still has the size that its header says.
                let content = open.take(size).chain(io::repeat(0)).take(size);
                self.header(path, &stat, EntryType::Regular, size, content)?;
            }
            FileType::Symlink => {
                let target = readlinkat(folder, name, Vec::new())?;
                let mut header = header(&stat, EntryType::Symlink, 0);
                self.tar.append_link(&mut header, path, OsStr::from_bytes(target.to_bytes()))?;
            }
            FileType::Fifo => self.header(path, &stat, EntryType::Fifo, 0, io::empty())?,
            _ => return Ok(()),
        }
        if stat.st_nlink > 1 && kind != FileType::Directory {
            self.links.insert(key, path.to_owned());
        }
        Ok(())
    }

    fn header(
        &mut self,
        path: &Path,
        stat: &Stat,
        kind: EntryType,
        size: u64,
        content: impl Read,
    ) -> anyhow::Result<()> {
        Ok(self.tar.append_data(&mut header(stat, kind, size), path, content)?)
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<rustix::io::Errno>() == Some(&rustix::io::Errno::NOENT)
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn header(stat: &Stat, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(stat.st_mtime.try_into().unwrap_or(0));
    header.set_size(size);
    header
}

/// Puts what `from` holds into `folder`. Files that are there are replaced, others stay: a stream may name
/// one several times.
pub(crate) fn import(folder: &Path, from: impl Read) -> anyhow::Result<()> {
    let root = open_root(folder)?;
    let mut from = Watched { from, ended: false };
    let mut archive = Archive::new(&mut from);
    let mut folders = Vec::new();
    for entry in archive.entries().context("this is no tar stream")? {
        let mut entry = entry.context("the tar stream is torn")?;
        let path = plain(&entry.path().context("an entry has no name")?)?;
        let at = format!("failed to write `{}`", path.display());
        if entry.header().entry_type() == EntryType::Directory {
            folders.push((path.clone(), meta(&entry)?));
        }
        place(&root, &path, &mut entry).context(at)?;
    }
    if from.ended {
        bail!("the tar stream is torn: the mark of its end is missing");
    }
    // Times of folders last: what is put into them changes them.
    for (path, meta) in folders.into_iter().rev() {
        let open = beneath(&root, &path, flags() | OFlags::DIRECTORY)?;
        meta.set(&open)?;
    }
    rustix::fs::syncfs(&root).context("failed to sync the volume")
}

/// Notes whether the end of a stream was met: an archive ends before that, by a mark of its own.
struct Watched<R> {
    from: R,
    ended: bool,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.ended |= count == 0 && !buffer.is_empty();
        Ok(count)
    }
}

/// A name without `.`, and not one that leads elsewhere.
fn plain(path: &Path) -> anyhow::Result<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => plain.push(name),
            _ => bail!("`{}` leads out of the volume", path.display()),
        }
    }
    if plain.components().count() > DEEPEST {
        bail!("`{}` is too deep", path.display());
    }
    Ok(plain)
}

/// Opens a path of the volume, following no link.
fn beneath(root: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Owner, mode and time of an entry.
struct Meta {
    uid: u32,
    gid: u32,
    mode: RawMode,
    time: i64,
}

fn meta<R: Read>(entry: &Entry<'_, R>) -> anyhow::Result<Meta> {
    let header = entry.header();
    Ok(Meta {
        uid: header.uid()?.try_into().context("an owner is no user id")?,
        gid: header.gid()?.try_into().context("an owner is no group id")?,
        mode: header.mode()? & 0o7777,
        time: header.mtime()?.try_into().unwrap_or(0),
    })
}

impl Meta {
    fn set(&self, file: impl AsFd) -> anyhow::Result<()> {
        fchown(&file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        // After the owner: a change of owner clears setuid.
        fchmod(&file, Mode::from_raw_mode(self.mode))?;
        Ok(futimens(&file, &self.times())?)
    }

    fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.time, tv_nsec: 0 };
        Timestamps { last_access: time, last_modification: time }
    }
}

fn place<R: Read>(root: &OwnedFd, path: &Path, entry: &mut Entry<'_, R>) -> anyhow::Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let parent = parents(root, path.parent().unwrap_or(Path::new("")))?;
    let meta = meta(entry)?;
    match entry.header().entry_type() {
        EntryType::Directory => match mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) if is_folder(&parent, name)? => {}
            Err(error) => return Err(error.into()),
        },
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let beside = format!(".import-{}", std::process::id());
            let made = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let _ = unlinkat(&parent, &beside, AtFlags::empty());
            let mut file = File::from(openat(&parent, &beside, made, Mode::from_raw_mode(0o600))?);
            io::copy(entry, &mut file)?;
            meta.set(&file)?;
            renameat(&parent, &beside, &parent, name)?;
        }
        EntryType::Symlink => {
            let target = entry.link_name()?.context("a link without its target")?;
            clear(&parent, name)?;
            symlinkat(&*target, &parent, name)?;
            own(&parent, name, &meta)?;
        }
        EntryType::Link => {
            let target = plain(&entry.link_name()?.context("a link without its target")?)?;
            let from = parents(root, target.parent().unwrap_or(Path::new("")))?;
            let first = target.file_name().context("a link without its target")?;
            clear(&parent, name)?;
            linkat(&from, first, &parent, name, AtFlags::empty())?;
        }
        EntryType::Fifo => {
            clear(&parent, name)?;
            mknodat(&parent, name, FileType::Fifo, Mode::from_raw_mode(meta.mode), 0)?;
            own(&parent, name, &meta)?;
        }
        EntryType::Block | EntryType::Char | EntryType::XGlobalHeader => {}
        other => bail!("entries of type {other:?} are not known"),
    }
    Ok(())
}

/// Opens a folder of the volume, made with its parents where it is missing.
fn parents(root: &OwnedFd, path: &Path) -> anyhow::Result<OwnedFd> {
    match beneath(root, path, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(open) => Ok(open),
        Err(rustix::io::Errno::NOENT) => {
            let above = parents(root, path.parent().unwrap_or(Path::new("")))?;
            if let Some(name) = path.file_name() {
                mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
            }
            Ok(beneath(root, path, OFlags::PATH | OFlags::DIRECTORY)?)
        }
        Err(error) => Err(error.into()),
    }
}

fn is_folder(parent: &OwnedFd, name: &OsStr) -> anyhow::Result<bool> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Removes what is there, unless it is a folder.
fn clear(parent: &OwnedFd, name: &OsStr) -> anyhow::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn own(parent: &OwnedFd, name: &OsStr, meta: &Meta) -> anyhow::Result<()> {
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(parent, name, &meta.times(), AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/file"), "content").unwrap();
        std::fs::set_permissions(at("a/b/file"), PermissionsExt::from_mode(0o640)).unwrap();
        std::fs::hard_link(at("a/b/file"), at("z-link")).unwrap();
        symlink("/etc/passwd", at("a/out")).unwrap();
        std::fs::write(at(&"n".repeat(200)), "long").unwrap();
        dir
    }

    fn exported(dir: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        export(dir, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_went_out_comes_in_again() {
        let (from, to) = (tree(), tempfile::tempdir().unwrap());
        let bytes = exported(from.path());
        import(to.path(), bytes.as_slice()).unwrap();
        let file = to.path().join("a/b/file");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "content");
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(
            std::fs::metadata(&file).unwrap().ino(),
            std::fs::metadata(to.path().join("z-link")).unwrap().ino()
        );
        assert_eq!(std::fs::read_link(to.path().join("a/out")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(exported(to.path()), bytes, "a second time the same");
        import(to.path(), bytes.as_slice()).unwrap();
        assert_eq!(exported(to.path()), bytes, "over what is there");
    }

    /// A stream of one entry whose name the crate would refuse to write.
    fn hostile(name: &str, kind: EntryType, link: &str) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(rustix::process::getuid().as_raw().into());
        header.set_gid(rustix::process::getgid().as_raw().into());
        header.set_mtime(0);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        [header.as_bytes().as_slice(), &[0; 1024]].concat()
    }

    #[test]
    fn nothing_leads_out_of_the_volume() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let to = tempfile::tempdir().unwrap();
        symlink(outside.path(), to.path().join("door")).unwrap();
        for (name, kind, link) in [
            ("../x", EntryType::Regular, ""),
            ("/tmp/x", EntryType::Regular, ""),
            ("a/../../x", EntryType::Regular, ""),
            ("door/x", EntryType::Regular, ""),
            ("door", EntryType::Directory, ""),
            ("hard", EntryType::Link, "door/secret"),
            ("hard", EntryType::Link, "../secret"),
        ] {
            let result = import(to.path(), hostile(name, kind, link).as_slice());
            assert!(result.is_err(), "{name} -> {link}");
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        import(to.path(), hostile("door", EntryType::Regular, "").as_slice()).unwrap();
        assert!(std::fs::symlink_metadata(to.path().join("door")).unwrap().is_file());
    }

    #[test]
    fn torn_streams_are_errors() {
        let bytes = exported(tree().path());
        let to = tempfile::tempdir().unwrap();
        // Within an entry, between two, before the mark of the end, and before anything.
        for length in [1300, 512, bytes.len() - 1024, 0] {
            assert!(import(to.path(), &bytes[..length]).is_err(), "{length}");
        }
        assert!(import(to.path(), [7; 2048].as_slice()).is_err());
    }
}
