//! Metadata that was accepted, kept from run to run so that nothing older is accepted later.
//!
//! TUF makes each file trusted by itself, in order, also when a later one is refused (specification 1.0.31,
//! sections 5.3.8, 5.4.5, 5.5.7); so it is kept here, written whole, the root first: keys that were revoked
//! stay so. Targets need not be kept, since the snapshot names their version. A kept file that cannot be
//! read is as good as none: trust goes back to the image's root, and never to nothing.

use std::path::{Path, PathBuf};

use agent_system::files::{self, Access};
use tough::schema::{Root, Signed};

use crate::error::UpdateError;

/// The most bytes of a file.
const LIMIT: u64 = 4 << 20;
/// The root, which is written first.
const ROOT: &str = "root.json";
/// What guards against older metadata.
const SEEN: [&str; 2] = ["snapshot.json", "timestamp.json"];

/// Where trusted metadata is, and a copy of it that a run may change.
pub(crate) struct Trusted {
    kept: PathBuf,
    work: PathBuf,
}

impl Trusted {
    /// Makes the copy, in a new folder.
    pub(crate) fn open(folder: &Path) -> Result<Trusted, UpdateError> {
        let trusted = Trusted { kept: folder.join("trusted"), work: folder.join("metadata") };
        files::create_dir_all(&trusted.kept, Access::mode(0o700))?;
        files::sweep(&trusted.kept)?;
        files::remove_tree(&trusted.work)?;
        files::create_dir(&trusted.work, Access::mode(0o700))?;
        for name in SEEN {
            if let Ok(bytes) = files::read_limited(trusted.kept.join(name), LIMIT) {
                files::write_atomic(trusted.work.join(name), bytes, 0o600)?;
            }
        }
        Ok(trusted)
    }

    /// The copy.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// The root to start from: the image's, unless a newer one was accepted.
    pub(crate) fn root(&self, of_image: &str) -> Vec<u8> {
        let of_image = of_image.as_bytes().to_owned();
        match files::read_limited(self.kept.join(ROOT), LIMIT) {
            Ok(kept) if version(&kept) > version(&of_image) => kept,
            _ => of_image,
        }
    }

    /// Keeps what has become trusted, whether or not all of it has.
    pub(crate) fn keep(&self) -> Result<(), UpdateError> {
        let Some(root) = files::read_optional(self.work.join(ROOT), LIMIT)? else { return Ok(()) };
        files::write_atomic(self.kept.join(ROOT), root, 0o600)?;
        for name in SEEN {
            let path = self.kept.join(name);
            if let Some(bytes) = files::read_optional(self.work.join(name), LIMIT)? {
                files::write_atomic(path, bytes, 0o600)?;
            } else {
                // A new root took back the key that it was signed with.
                files::remove(path)?;
            }
        }
        Ok(())
    }
}

/// The version of a root that is signed by its own keys.
fn version(root: &[u8]) -> Option<u64> {
    let root: Signed<Root> = serde_json::from_slice(root).ok()?;
    root.signed.verify_role(&root).ok()?;
    Some(root.signed.version.get())
}
