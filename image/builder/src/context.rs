//! What every command shares: the repository, the cache, the mirror, and how locked packages become
//! local files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::config::{self, Config};
use crate::error::HintExt;
use crate::fetch::{Cache, FetchError, LocalPackage, Mirror};
use crate::lock::{Lockfile, TOOLS};
use crate::progress::Progress;
use crate::tools::Tools;

/// Options of every command.
#[derive(Args, Debug)]
pub(crate) struct GlobalOptions {
    /// The repository: the folder that holds `image/holdfast.toml` [default: here or above].
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Where downloaded files are kept [default: $XDG_CACHE_HOME/holdfast or ~/.cache/holdfast].
    #[arg(long, global = true, value_name = "DIR", env = "HOLDFAST_CACHE")]
    pub cache: Option<PathBuf>,
    /// A folder or URL that holds `debian` and `debian-security` [default: the host's apt sources].
    #[arg(long, global = true, value_name = "DIR|URL", env = "HOLDFAST_MIRROR")]
    pub mirror: Option<String>,
    /// When a locked package is gone from the mirror, lock anew into `target/relock`, say so, and go on:
    /// for test builds only.
    #[arg(long, global = true, env = "HOLDFAST_RELOCK", value_parser = clap::builder::FalseyValueParser::new())]
    pub relock: bool,
    /// Tell how long each step took.
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

/// What every command shares.
#[derive(Debug)]
pub(crate) struct Context {
    root: Option<PathBuf>,
    /// Downloaded files.
    pub cache: Cache,
    /// Where they come from.
    pub mirror: Mirror,
    /// Whether a test build may lock anew.
    pub relock: bool,
    /// What the user sees.
    pub progress: Progress,
}

/// Locked packages that are local and verified, by set.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The lock file they come from, which is another one than the repository's after locking anew.
    pub lockfile: Lockfile,
    sets: BTreeMap<String, Vec<LocalPackage>>,
}

impl Fetched {
    /// The packages of a set, which was asked for.
    pub(crate) fn packages(&self, set: &str) -> &[LocalPackage] {
        self.sets.get(set).map_or(&[], Vec::as_slice)
    }
}

impl Context {
    /// Opens what the options name; nothing is created.
    pub(crate) fn open(options: &GlobalOptions) -> Result<Context> {
        let cache = match &options.cache {
            Some(cache) => cache.clone(),
            None => {
                default_cache().context("neither XDG_CACHE_HOME nor HOME is set").hint("use --cache DIR")?
            }
        };
        Ok(Context {
            root: options.root.clone().or_else(find_root),
            cache: Cache::new(std::path::absolute(cache)?),
            mirror: Mirror::new(options.mirror.as_deref().filter(|mirror| !mirror.is_empty())),
            relock: options.relock,
            progress: Progress::new(options.verbose),
        })
    }

    /// The repository's folder.
    pub(crate) fn root(&self) -> Result<&Path> {
        let root = self.root.as_deref().context("no `image/holdfast.toml` here or above");
        root.hint("run it in the repository, or use --root DIR")
    }

    /// A file of `image/`.
    pub(crate) fn image_file(&self, name: &str) -> Result<PathBuf> {
        Ok(self.root()?.join("image").join(name))
    }

    /// `image/holdfast.toml`.
    pub(crate) fn config(&self) -> Result<Config> {
        Ok(config::load(&self.image_file("holdfast.toml")?)?)
    }

    /// The repository's lock file.
    pub(crate) fn lockfile(&self) -> Result<Lockfile> {
        Lockfile::load(&self.image_file("holdfast.lock")?)
    }

    /// Makes the packages of some sets of `image/holdfast.lock` local and verifies them.
    pub(crate) fn fetch(&self, sets: &[&str]) -> Result<Fetched> {
        let path = self.image_file("holdfast.lock")?;
        self.fetch_lock(&path, sets, || crate::commands::lock::image(self, &self.lockfile()?))
    }

    /// The locked tools: fetched and unpacked unless they were before.
    pub(crate) fn tools(&self) -> Result<Tools> {
        if let Some(tools) = Tools::existing(&self.cache, self.lockfile()?.set(TOOLS)?) {
            return Ok(tools);
        }
        let path = self.image_file("holdfast.lock")?;
        let other = self.relock_path(&path)?;
        if is_newer(&other, &path) {
            let lockfile = Lockfile::load(&other)?;
            if let Some(tools) = Tools::existing(&self.cache, lockfile.set(TOOLS)?) {
                self.progress.note(format!("note: these are the tools of `{}`", other.display()));
                return Ok(tools);
            }
        }
        let fetched = self.fetch(&[TOOLS])?;
        Ok(Tools::open(&self.cache, fetched.packages(TOOLS), &self.progress)?)
    }

    /// Like [`Context::fetch`] with any lock file; `relock` makes a newer one from it where that is allowed.
    pub(crate) fn fetch_lock(
        &self,
        path: &Path,
        sets: &[&str],
        relock: impl FnOnce() -> Result<Lockfile>,
    ) -> Result<Fetched> {
        let lockfile = Lockfile::load(path)?;
        let gone = match self.fetch_sets(&lockfile, sets) {
            Err(error) if self.relock && is_gone(&error) => error,
            Ok(sets) => return Ok(Fetched { lockfile, sets }),
            Err(error) => return Err(error),
        };
        self.progress.note(format!("note: {gone}"));
        let other = self.relock_path(path)?;
        if let Some(fetched) = self.earlier_relock(path, &other, sets) {
            self.progress.note(format!("note: locked anew earlier: this build uses `{}`", other.display()));
            return Ok(fetched);
        }
        let lockfile = relock()?;
        lockfile.write(&other)?;
        self.progress.note(format!("note: locked anew: this build uses `{}`", other.display()));
        let sets = self.fetch_sets(&lockfile, sets)?;
        Ok(Fetched { lockfile, sets })
    }

    /// Where a test build locks anew.
    fn relock_path(&self, path: &Path) -> Result<PathBuf> {
        Ok(self.root()?.join("target/relock").join(path.file_name().unwrap_or(path.as_os_str())))
    }

    /// What an earlier test build locked, if it is newer than the lock file and still to be had.
    fn earlier_relock(&self, base: &Path, other: &Path, sets: &[&str]) -> Option<Fetched> {
        if !is_newer(other, base) {
            return None;
        }
        let lockfile = Lockfile::load(other).ok()?;
        let sets = self.fetch_sets(&lockfile, sets).ok()?;
        Some(Fetched { lockfile, sets })
    }

    fn fetch_sets(&self, lockfile: &Lockfile, sets: &[&str]) -> Result<BTreeMap<String, Vec<LocalPackage>>> {
        let mut all = Vec::new();
        for set in sets {
            all.extend_from_slice(lockfile.set(set)?);
        }
        all.sort();
        all.dedup();
        let name = format!("verify {} packages", all.len());
        let local = self
            .progress
            .step(&name, || self.cache.packages(lockfile, &all, &self.mirror, &self.progress))?;
        let mut result = BTreeMap::new();
        for set in sets {
            let wanted = lockfile.set(set)?;
            let of_set = local.iter().filter(|l| wanted.contains(&l.package)).cloned().collect();
            result.insert((*set).to_owned(), of_set);
        }
        Ok(result)
    }
}

fn is_newer(file: &Path, other: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    time(file).is_some_and(|file| time(other).is_some_and(|other| file > other))
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(FetchError::PackageGone { .. })))
}

fn default_cache() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("holdfast"))
}

fn find_root() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    here.ancestors().find(|folder| folder.join("image/holdfast.toml").is_file()).map(Path::to_owned)
}
