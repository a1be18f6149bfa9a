//! The content-addressed cache: `sha256/AB/ABCDEF…` under its folder.
//!
//! A file is downloaded beside its name, checked, and only then renamed, so what has a final name was
//! whole once. It is hashed again before each use; a file that has rotted is fetched anew.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::ProgressBar;

use crate::fetch::digest::{Hashing, sha256_of};
use crate::fetch::mirror::attempts;
use crate::fetch::{FetchError, Mirror};
use crate::lock::{LockedPackage, Lockfile};
use crate::progress::Progress;

/// How many files are fetched or checked at the same time.
const WORKERS: usize = 6;

/// A folder of files by hash.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

/// A locked package whose file was verified when this was made.
#[derive(Clone, Debug)]
pub(crate) struct LocalPackage {
    /// What it is.
    pub package: LockedPackage,
    /// Its `.deb`.
    pub path: PathBuf,
}

struct Wanted {
    sha256: String,
    size: u64,
    urls: Vec<String>,
}

impl Cache {
    /// The cache in a folder, which need not exist yet.
    pub(crate) fn new(folder: PathBuf) -> Cache {
        Cache { folder }
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, sha256: &str) -> PathBuf {
        self.folder.join("sha256").join(&sha256[..2]).join(sha256)
    }

    /// An index that a release names by hash, whole in memory.
    pub(crate) fn index(
        &self,
        mirror: &Mirror,
        archive: &str,
        folder: &str,
        path: &str,
        sha256: &str,
        size: u64,
    ) -> Result<Vec<u8>, FetchError> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let by_hash = mirror.url(archive, &format!("{folder}/{parent}/by-hash/SHA256/{sha256}"))?;
        let plain = mirror.url(archive, &format!("{folder}/{path}"))?;
        let wanted = Wanted { sha256: sha256.to_owned(), size, urls: vec![by_hash, plain] };
        let path = self.obtain(mirror, &wanted, &ProgressBar::hidden())?;
        let fail = |source| FetchError::Cache { path: path.clone(), source };
        let bytes = std::fs::read(&path).map_err(fail)?;
        let found = super::digest::sha256(&bytes);
        if found != wanted.sha256 {
            return Err(mismatch(&path.display().to_string(), &wanted.sha256, &found));
        }
        Ok(bytes)
    }

    /// Makes packages local, several at a time, and verifies each, cached or not. Needs no network when
    /// all are cached. The order is that of the input.
    pub(crate) fn packages(
        &self,
        lockfile: &Lockfile,
        packages: &[LockedPackage],
        mirror: &Mirror,
        progress: &Progress,
    ) -> Result<Vec<LocalPackage>, FetchError> {
        let cached = parallel(packages, |package| Ok(self.verified(&package.sha256, package.size)))?;
        let missing: Vec<&LockedPackage> = packages
            .iter()
            .zip(&cached)
            .filter(|(_, cached)| !**cached)
            .map(|(package, _)| package)
            .collect();
        for package in missing.iter().filter(|package| self.path(&package.sha256).exists()) {
            let LockedPackage { name, version, .. } = package;
            progress.note(format!("note: the cached {name} {version} is damaged and not used"));
        }
        if !missing.is_empty() {
            let total = missing.iter().map(|package| package.size).sum();
            let bar = progress.bytes(&format!("fetch {} packages", missing.len()), total);
            let result = parallel(&missing, |package| self.fetch_package(lockfile, package, mirror, &bar));
            bar.finish_and_clear();
            result?;
        }
        let local = |package: &LockedPackage| LocalPackage {
            package: package.clone(),
            path: self.path(&package.sha256),
        };
        Ok(packages.iter().map(local).collect())
    }

    fn fetch_package(
        &self,
        lockfile: &Lockfile,
        package: &LockedPackage,
        mirror: &Mirror,
        bar: &ProgressBar,
    ) -> Result<(), FetchError> {
        let archive = lockfile.archive_of(&package.suite).unwrap_or(&package.suite);
        let url = mirror.url(archive, &package.path)?;
        let wanted = Wanted { sha256: package.sha256.clone(), size: package.size, urls: vec![url] };
        self.obtain(mirror, &wanted, bar).map(drop).map_err(|error| match error {
            FetchError::Gone { url } => {
                FetchError::PackageGone { name: package.name.clone(), version: package.version.clone(), url }
            }
            error => error,
        })
    }

    /// Whether the cached file is there and right.
    fn verified(&self, sha256: &str, size: u64) -> bool {
        let Ok(file) = File::open(self.path(sha256)) else { return false };
        if file.metadata().is_ok_and(|metadata| metadata.len() != size) {
            return false;
        }
        sha256_of(file).is_ok_and(|(found, _)| found == sha256)
    }

    fn obtain(&self, mirror: &Mirror, wanted: &Wanted, bar: &ProgressBar) -> Result<PathBuf, FetchError> {
        let path = self.path(&wanted.sha256);
        if self.verified(&wanted.sha256, wanted.size) {
            return Ok(path);
        }
        let mut last = None;
        for url in &wanted.urls {
            match attempts(|| self.download(mirror, url, wanted, &path, bar)) {
                Err(error @ FetchError::Gone { .. }) => last = Some(error),
                Err(error) => return Err(error),
                Ok(()) => return Ok(path),
            }
        }
        Err(last.unwrap_or_else(|| FetchError::Gone { url: wanted.sha256.clone() }))
    }

    fn download(
        &self,
        mirror: &Mirror,
        url: &str,
        wanted: &Wanted,
        path: &Path,
        bar: &ProgressBar,
    ) -> Result<(), FetchError> {
        let cache = |source| FetchError::Cache { path: path.to_owned(), source };
        let mut reader = mirror.open(url)?;
        let folder = path.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(folder).map_err(cache)?;
        let file = tempfile::Builder::new().prefix(".part-").tempfile_in(folder).map_err(cache)?;
        let mut file = Hashing::new(file);
        let mut buffer = vec![0; 256 << 10];
        let mut size = 0;
        loop {
            let read = reader
                .read(&mut buffer)
                .map_err(|source| FetchError::Read { url: url.to_owned(), source })?;
            if read == 0 {
                break;
            }
            size += read as u64;
            if size > wanted.size {
                return Err(mismatch(url, &bytes(wanted.size), "more"));
            }
            file.write_all(&buffer[..read]).map_err(cache)?;
            bar.inc(read as u64);
        }
        if size < wanted.size {
            return Err(mismatch(url, &bytes(wanted.size), &bytes(size)));
        }
        let (file, found) = file.finish();
        if found != wanted.sha256 {
            return Err(mismatch(url, &wanted.sha256, &found));
        }
        file.as_file().sync_all().map_err(cache)?;
        file.persist(path).map_err(|error| cache(error.error))?;
        Ok(())
    }
}

fn bytes(size: u64) -> String {
    format!("{size} bytes")
}

fn mismatch(url: &str, expected: &str, found: &str) -> FetchError {
    FetchError::Mismatch { url: url.to_owned(), expected: expected.to_owned(), found: found.to_owned() }
}

/// Runs `work` on each item with a few threads; the results are in order, the first error ends all.
fn parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, FetchError> + Sync,
) -> Result<Vec<R>, FetchError> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    let failure = Mutex::new(None);
    let worker = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            match work(item) {
                Ok(result) => results.lock().expect("a worker panicked").push((at, result)),
                Err(error) => {
                    next.store(items.len(), Ordering::Relaxed);
                    failure.lock().expect("a worker panicked").get_or_insert(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..WORKERS.min(items.len()) {
            scope.spawn(worker);
        }
    });
    if let Some(error) = failure.into_inner().expect("a worker panicked") {
        return Err(error);
    }
    let mut results = results.into_inner().expect("a worker panicked");
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
