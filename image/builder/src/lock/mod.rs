//! The lock file: which Debian packages, by version and SHA-256, make up the root, the tools and the
//! apps, and which signed releases said so.
//!
//! [`Lockfile`] is data; [`resolve`] makes one from signed releases. A lock file never names a mirror.

pub(crate) mod control;
pub(crate) mod index;
pub(crate) mod keyring;
pub(crate) mod release;
pub(crate) mod resolve;
pub(crate) mod solve;
pub(crate) mod version;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The version of lock files that this builder reads and writes.
pub(crate) const FORMAT: u32 = 1;

/// The set of the root's packages.
pub(crate) const IMAGE: &str = "image";
/// The set of the programs that build, run and test images.
pub(crate) const TOOLS: &str = "tools";
/// The set of an app's packages, in the app's own lock file.
pub(crate) const APP: &str = "app";

/// Why no lock file could be made or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// There is no lock file yet.
    #[error("`{0}` does not exist")]
    Missing(PathBuf),
    /// A file cannot be read or written.
    #[error("failed to access `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The lock file lacks a set.
    #[error("the lock file has no packages for `{0}`")]
    NoSet(String),
    /// A key file cannot be used.
    #[error("failed to read the key `{path}`")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: keyring::KeyringError,
    },
    /// A release is not signed by a pinned key, or was changed.
    #[error("the release of `{suite}` cannot be trusted")]
    Signature {
        /// The suite.
        suite: String,
        /// Why.
        source: keyring::KeyringError,
    },
    /// A signed release does not say what it should.
    #[error("the release of `{suite}` cannot be used")]
    Release {
        /// The suite.
        suite: String,
        /// Why.
        source: release::ReleaseError,
    },
    /// An index cannot be read.
    #[error("the package index of `{suite}` cannot be used")]
    Index {
        /// The suite.
        suite: String,
        /// Why.
        source: index::IndexError,
    },
    /// No choice of packages satisfies everything.
    #[error("the packages of `{set}` cannot be installed together:\n{reason}")]
    Unsolvable {
        /// The set.
        set: String,
        /// The solver's explanation.
        reason: String,
    },
    /// A package named in the configuration does not exist.
    #[error("`{set}` wants `{package}`, which no suite has")]
    UnknownPackage {
        /// The set.
        set: String,
        /// The name.
        package: String,
    },
}

impl LockError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            LockError::Missing(_) | LockError::NoSet(_) => "run `holdfast-image lock`".to_owned(),
            LockError::Signature { .. } => {
                "try another mirror with --mirror; the keys of image/keys are those of Debian's \
                 debian-archive-keyring"
                    .to_owned()
            }
            LockError::Release { source, .. } => return source.hint(),
            LockError::Unsolvable { .. } => {
                "a dependency that our own code replaces belongs into `provided`, with its reason".to_owned()
            }
            _ => return None,
        })
    }
}

/// A lock file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lockfile {
    /// Of this document.
    pub format: u32,
    /// The releases from which the packages were resolved.
    pub suites: Vec<LockedSuite>,
    /// Packages by set, each sorted by name.
    pub sets: BTreeMap<String, Vec<LockedPackage>>,
}

/// A release as it was when the lock file was made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedSuite {
    /// `trixie-security`.
    pub name: String,
    /// The folder of the mirror: `debian-security`.
    pub archive: String,
    /// `Date` of the release, RFC 3339, UTC.
    pub date: String,
    /// SHA-256 of the signed text, which is the file `Release`.
    pub release: String,
}

/// A package, pinned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedPackage {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// `amd64` or `all`.
    pub arch: String,
    /// The suite it comes from.
    pub suite: String,
    /// Of the `.deb`, within the suite's archive.
    pub path: String,
    /// Of the `.deb`, bytes.
    pub size: u64,
    /// Of the `.deb`, hex.
    pub sha256: String,
}

impl Lockfile {
    /// Reads a lock file.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Lockfile> {
        if !path.exists() {
            return Err(LockError::Missing(path.to_owned()).into());
        }
        Ok(crate::config::load(path)?)
    }

    /// The packages of a set.
    pub(crate) fn set(&self, name: &str) -> Result<&[LockedPackage], LockError> {
        self.sets.get(name).map(Vec::as_slice).ok_or_else(|| LockError::NoSet(name.to_owned()))
    }

    /// The archive folder of a suite.
    pub(crate) fn archive_of(&self, suite: &str) -> Option<&str> {
        self.suites.iter().find(|s| s.name == suite).map(|s| s.archive.as_str())
    }

    /// `SOURCE_DATE_EPOCH`: the newest release's date, in seconds.
    pub(crate) fn epoch(&self) -> u64 {
        let seconds = |date: &str| date.parse::<jiff::Timestamp>().ok().map(|t| t.as_second());
        let newest = self.suites.iter().filter_map(|suite| seconds(&suite.date)).max();
        newest.and_then(|s| u64::try_from(s).ok()).unwrap_or(0)
    }

    /// The text of the file: one line per package, so that a change reads well in a diff.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::from("# Written by `holdfast-image lock`; not edited by hand.\n");
        let _ = writeln!(text, "format = {}", self.format);
        for suite in &self.suites {
            let _ = write!(
                text,
                "\n[[suites]]\nname = {}\narchive = {}\ndate = {}\nrelease = {}\n",
                quoted(&suite.name),
                quoted(&suite.archive),
                quoted(&suite.date),
                quoted(&suite.release)
            );
        }
        text.push_str("\n[sets]\n");
        for (name, packages) in &self.sets {
            let _ = writeln!(text, "{} = [", quoted(name));
            for p in packages {
                let _ = writeln!(
                    text,
                    "  {{ name = {}, version = {}, arch = {}, suite = {}, path = {}, size = {}, sha256 = {} }},",
                    quoted(&p.name),
                    quoted(&p.version),
                    quoted(&p.arch),
                    quoted(&p.suite),
                    quoted(&p.path),
                    p.size,
                    quoted(&p.sha256)
                );
            }
            text.push_str("]\n");
        }
        text
    }

    /// Writes the file beside its name and renames it.
    pub(crate) fn write(&self, path: &Path) -> Result<(), LockError> {
        let fail = |source| LockError::File { path: path.to_owned(), source };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(fail)?;
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(fail)?;
        std::io::Write::write_all(&mut file, self.to_text().as_bytes()).map_err(fail)?;
        file.persist(path).map_err(|error| fail(error.error))?;
        Ok(())
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
