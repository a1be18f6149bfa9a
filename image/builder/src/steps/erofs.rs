//! The root as erofs, made by `mkfs.erofs` of the tools from a tar, with its verity tree behind it.
//!
//! No `dedupe`, `fragments` or `ztailpacking`: an update fetches only the 4 KiB blocks that changed, and
//! these options would change all of them.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use image_layout::disk::{self, MIB, Role};
use image_layout::kernel::Verity;
use image_layout::slots::Slot;
use sha2::{Digest, Sha256};

use super::rootfs::tree::Tree;
use super::table::derived_uuid;
use super::verity;
use crate::fetch::digest;
use crate::tools::Tools;

const COMPRESSION: &str = "-zzstd,level=9";
const CLUSTER: &str = "-C65536";

/// A root as it lies in its slot.
#[derive(Debug)]
pub struct Root {
    /// The erofs, then the verity tree.
    pub bytes: Vec<u8>,
    /// How the kernel opens it.
    pub verity: Verity,
}

/// Writes the tree as erofs with its verity tree. `cache` keeps what was made of the same tree by the same
/// tools before.
pub fn build(tree: &Tree, epoch: u64, tools: &Tools, cache: &Path, scratch: &Path) -> Result<Root> {
    let tar = scratch.join("root.tar");
    let write = || format!("failed to write `{}`", tar.display());
    tree.write_tar(BufWriter::new(File::create(&tar).with_context(write)?), epoch).with_context(write)?;
    let content = fs::read(&tar)?;
    let hash = Sha256::digest(&content);
    let options = format!("{COMPRESSION} {CLUSTER} {epoch} {}", tools.tree().display());
    let key = verity::hex(&Sha256::new().chain_update(hash).chain_update(options).finalize());
    let mut bytes = match kept(cache, &key) {
        Some(bytes) => bytes,
        None => {
            let made = scratch.join("root.erofs");
            let mut command = tools.command("mkfs.erofs")?;
            command.args(["--quiet", "--tar=f", COMPRESSION, CLUSTER, "-T", &epoch.to_string()]);
            command.arg("-U").arg(derived_uuid(&hash, "root").to_string());
            command.arg(&made).arg(&tar);
            super::run(command, "mkfs.erofs")?;
            let bytes = fs::read(&made).with_context(|| format!("failed to read `{}`", made.display()))?;
            keep(&bytes, cache, &key)?;
            bytes
        }
    };
    bytes.resize(bytes.len().next_multiple_of(disk::BLOCK as usize), 0);
    let (verity, tree) = verity::tree(&bytes, &Sha256::digest(b"holdfast root").into());
    bytes.extend_from_slice(&tree);
    fits(bytes.len() as u64)?;
    Ok(Root { bytes, verity })
}

/// What the cache has for a key: a file `KEY-SHA256`, of that hash. One that has rotted is not used.
fn kept(cache: &Path, key: &str) -> Option<Vec<u8>> {
    let entries = fs::read_dir(cache).ok()?.flatten();
    let mut named = entries.filter_map(|entry| {
        let sha256 = entry.file_name().to_str()?.strip_prefix(key)?.strip_prefix('-')?.to_owned();
        Some((fs::read(entry.path()).ok()?, sha256))
    });
    named.find(|(bytes, sha256)| digest::sha256(bytes) == *sha256).map(|(bytes, _)| bytes)
}

/// Puts a root into the cache, which holds only the newest few.
fn keep(bytes: &[u8], cache: &Path, key: &str) -> Result<()> {
    const KEPT: usize = 4;
    fs::create_dir_all(cache)?;
    let mut old: Vec<_> = fs::read_dir(cache)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    old.sort_by_key(|path| fs::metadata(path).and_then(|m| m.modified()).ok());
    for path in old.iter().take(old.len().saturating_sub(KEPT - 1)) {
        let _ = fs::remove_file(path);
    }
    let name = cache.join(format!("{key}-{}", digest::sha256(bytes)));
    let write = || format!("failed to write `{}`", name.display());
    let mut beside = tempfile::Builder::new().prefix(".part-").tempfile_in(cache).with_context(write)?;
    beside.write_all(bytes).with_context(write)?;
    beside.persist(&name).with_context(write)?;
    Ok(())
}

/// Refuses a root that leaves updates no room.
fn fits(bytes: u64) -> Result<()> {
    let slot = disk::partition(Role::Root(Slot::A)).size;
    ensure!(
        bytes * 100 <= slot * disk::SLOT_FULL_PERCENT,
        "the root slot would be more than {} % full: root and verity tree have {} MiB of {} MiB",
        disk::SLOT_FULL_PERCENT,
        bytes.div_ceil(MIB),
        slot / MIB
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_root_slot_is_refused() {
        let limit = disk::partition(Role::Root(Slot::A)).size * disk::SLOT_FULL_PERCENT / 100;
        assert!(fits(limit).is_ok());
        let error = fits(limit + 1).unwrap_err().to_string();
        assert!(error.starts_with("the root slot would be more than 70 % full"), "{error}");
    }

    #[test]
    fn a_root_that_rotted_in_the_cache_is_not_used() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(kept(cache.path(), "a"), None);
        keep(b"root", cache.path(), "a").unwrap();
        assert_eq!(kept(cache.path(), "a").as_deref(), Some(&b"root"[..]));
        assert_eq!(kept(cache.path(), "b"), None);
        let file = fs::read_dir(cache.path()).unwrap().next().unwrap().unwrap().path();
        fs::write(&file, b"rood").unwrap();
        assert_eq!(kept(cache.path(), "a"), None);
        keep(b"root", cache.path(), "a").unwrap();
        assert_eq!(kept(cache.path(), "a").as_deref(), Some(&b"root"[..]));
        (0..9).for_each(|n| keep(b"x", cache.path(), &format!("k{n}")).unwrap());
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 4);
    }
}
