//! Binary packages: what is in them, and unpacking them into a folder.
//!
//! The control part is not looked at, and no maintainer script is ever run. Paths come as they are in
//! a merged `/usr`: `/lib/x` of an old package is `usr/lib/x`. Owners are reported and, as an ordinary
//! user unpacks, not applied.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::fetch::digest::Hashing;

/// Why a package cannot be read or unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DebError {
    /// The package cannot be read.
    #[error("failed to read the package `{path}`")]
    Read {
        /// The `.deb`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no package of a kind that is known.
    #[error("`{path}` is not a package: {reason}")]
    Format {
        /// The `.deb`.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An entry cannot be written.
    #[error("failed to unpack `{entry}`")]
    Write {
        /// The path.
        entry: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file of so many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link, target as written.
    Symlink(String),
    /// Another name of a file, by its path in the package, merged as well.
    Hardlink(String),
}

/// An entry of a package's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `usr/bin/kmod`: no leading `./`, never absolute, never with `..`.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Of last change, seconds.
    pub mtime: u64,
}

/// Calls `each` with every entry of a package and its content, in the package's order.
pub(crate) fn entries<E: From<DebError>>(
    deb: &Path,
    mut each: impl FnMut(&Entry, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let read = |source| DebError::Read { path: deb.to_owned(), source };
    let file = File::open(deb).map_err(read)?;
    let mut archive = ar::Archive::new(BufReader::new(file));
    while let Some(member) = archive.next_entry() {
        let member = member.map_err(read)?;
        let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
        let Some(compression) = name.trim_end_matches('/').strip_prefix("data.tar") else { continue };
        let data: Box<dyn Read + '_> = match compression {
            "" => Box::new(member),
            ".xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(member)),
            ".zst" => Box::new(zstd::Decoder::new(member).map_err(read)?),
            ".gz" => Box::new(flate2::read::MultiGzDecoder::new(member)),
            other => return Err(format(deb, &format!("unknown compression `{other}`")).into()),
        };
        let mut tar = tar::Archive::new(data);
        for item in tar.entries().map_err(read)? {
            let mut item = item.map_err(read)?;
            if let Some(entry) = entry(deb, &item)? {
                each(&entry, &mut item)?;
            }
        }
        return Ok(());
    }
    Err(format(deb, "it has no data").into())
}

fn format(deb: &Path, reason: &str) -> DebError {
    DebError::Format { path: deb.to_owned(), reason: reason.to_owned() }
}

/// The root itself has no entry: `None`.
fn entry(deb: &Path, item: &tar::Entry<'_, impl Read>) -> Result<Option<Entry>, DebError> {
    let read = |source| DebError::Read { path: deb.to_owned(), source };
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| format(deb, "a path in it is not UTF-8"))
    };
    let path = relative(deb, &text(&item.path_bytes())?)?;
    if path.is_empty() {
        return Ok(None);
    }
    let header = item.header();
    let target = || match item.link_name_bytes() {
        Some(target) => text(&target),
        None => Err(format(deb, &format!("the link `{path}` has no target"))),
    };
    let kind = match header.entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous => Kind::File(item.size()),
        tar::EntryType::Directory => Kind::Directory,
        tar::EntryType::Symlink => Kind::Symlink(target()?),
        tar::EntryType::Link => Kind::Hardlink(relative(deb, &target()?)?),
        other => return Err(format(deb, &format!("`{path}` is of kind {other:?}"))),
    };
    Ok(Some(Entry {
        kind,
        mode: header.mode().map_err(read)? & 0o7777,
        uid: header.uid().map_err(read)?,
        gid: header.gid().map_err(read)?,
        mtime: header.mtime().map_err(read)?,
        path,
    }))
}

fn relative(deb: &Path, path: &str) -> Result<String, DebError> {
    let mut parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") || path.contains('\0') {
        return Err(format(deb, &format!("`{path}` leads out of it")));
    }
    if parts.len() > 1 && matches!(parts[0], "bin" | "sbin" | "lib" | "lib32" | "lib64" | "libx32") {
        parts.insert(0, "usr");
    }
    Ok(parts.join("/"))
}

/// The top-level links of a merged `/usr`: name and target.
pub(crate) const MERGED: [(&str, &str); 4] =
    [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/sbin")];

/// Unpacks packages into a folder, which becomes a tree with a merged `/usr`. Files are the caller's,
/// without setuid bits, and directories can always be written. An absolute link is made relative, so
/// that it stays inside. The result is the SHA-256 of each file by its path.
pub(crate) fn unpack<'a>(
    debs: impl IntoIterator<Item = &'a Path>,
    into: &Path,
) -> Result<BTreeMap<String, String>, DebError> {
    for (name, target) in MERGED {
        let write = |source| DebError::Write { entry: into.join(name), source };
        fs::create_dir_all(into.join(target)).map_err(write)?;
        std::os::unix::fs::symlink(target, into.join(name)).map_err(write)?;
    }
    let mut sums = BTreeMap::new();
    for deb in debs {
        entries(deb, |entry, content| {
            let write = |source| DebError::Write { entry: into.join(&entry.path), source };
            let sum = unpack_entry(into, entry, content).map_err(write)?;
            let sum = match (&entry.kind, sum) {
                (Kind::Hardlink(target), _) => sums.get(target).cloned(),
                (_, sum) => sum,
            };
            match sum {
                Some(sum) => sums.insert(entry.path.clone(), sum),
                None => sums.remove(&entry.path),
            };
            Ok::<(), DebError>(())
        })?;
    }
    Ok(sums)
}

/// Gives the SHA-256 of a file.
fn unpack_entry(into: &Path, entry: &Entry, content: &mut dyn Read) -> io::Result<Option<String>> {
    let path = into.join(&entry.path);
    if MERGED.iter().any(|(name, _)| *name == entry.path) {
        return Ok(None);
    }
    inside(into, &entry.path)?;
    match &entry.kind {
        Kind::Directory => {
            if !path.is_dir() {
                fs::create_dir(&path)?;
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode & 0o777 | 0o700))?;
        }
        Kind::File(_) => {
            remove(&path)?;
            let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            let mut file = Hashing::new(file);
            io::copy(content, &mut file)?;
            let (file, sum) = file.finish();
            file.set_permissions(fs::Permissions::from_mode(entry.mode & 0o777 | 0o400))?;
            return Ok(Some(sum));
        }
        Kind::Symlink(target) => {
            remove(&path)?;
            std::os::unix::fs::symlink(stay_inside(&entry.path, target), &path)?;
        }
        Kind::Hardlink(target) => {
            remove(&path)?;
            inside(into, target)?;
            fs::hard_link(into.join(target), &path)?;
        }
    }
    Ok(None)
}

/// Refuses a path whose parent is a link of another package that leads out of the tree, and makes the
/// parent where a package lacks it.
fn inside(into: &Path, path: &str) -> io::Result<()> {
    let Some((parent, _)) = path.rsplit_once('/') else { return Ok(()) };
    fs::create_dir_all(into.join(parent))?;
    let real = into.join(parent).canonicalize()?;
    if real.starts_with(into.canonicalize()?) {
        Ok(())
    } else {
        Err(io::Error::other("a link leads out of the tree"))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An absolute target as seen from the link's folder.
fn stay_inside(path: &str, target: &str) -> String {
    match target.strip_prefix('/') {
        None => target.to_owned(),
        Some(rest) => format!("{}{rest}", "../".repeat(path.matches('/').count())),
    }
}
