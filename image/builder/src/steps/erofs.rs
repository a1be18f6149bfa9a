//! The root as erofs, made by `mkfs.erofs` of the tools from a tar, with its verity tree behind it.
//!
//! No `dedupe`, `fragments` or `ztailpacking`: an update fetches only the 4 KiB blocks that changed, and
//! these options would change all of them.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use image_layout::disk::{self, MIB, Role};
use image_layout::kernel::Verity;
use image_layout::slots::Slot;
use sha2::{Digest, Sha256};

use super::rootfs::tree::Tree;
use super::table::derived_uuid;
use super::verity;
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
    let digest = Sha256::digest(&content);
    let options = format!("{COMPRESSION} {CLUSTER} {epoch} {}", tools.tree().display());
    let key = verity::hex(&Sha256::new().chain_update(digest).chain_update(options).finalize());
    let kept = cache.join(format!("{key}.erofs"));
    if !kept.exists() {
        let made = scratch.join("root.erofs");
        let mut command = tools.command("mkfs.erofs")?;
        command.args(["--quiet", "--tar=f", COMPRESSION, CLUSTER, "-T", &epoch.to_string()]);
        command.arg("-U").arg(derived_uuid(&digest, "root").to_string());
        command.arg(&made).arg(&tar);
        super::run(command, "mkfs.erofs")?;
        keep(&made, cache, &kept)?;
    }
    let mut bytes = fs::read(&kept).with_context(|| format!("failed to read `{}`", kept.display()))?;
    bytes.resize(bytes.len().next_multiple_of(disk::BLOCK as usize), 0);
    let (verity, tree) = verity::tree(&bytes, &Sha256::digest(b"holdfast root").into());
    bytes.extend_from_slice(&tree);
    fits(bytes.len() as u64)?;
    Ok(Root { bytes, verity })
}

/// Puts a file into the cache, which holds only the newest few.
fn keep(made: &Path, cache: &Path, name: &Path) -> Result<()> {
    const KEPT: usize = 4;
    fs::create_dir_all(cache)?;
    let mut old: Vec<_> = fs::read_dir(cache)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    old.sort_by_key(|path| fs::metadata(path).and_then(|m| m.modified()).ok());
    for path in old.iter().take(old.len().saturating_sub(KEPT - 1)) {
        let _ = fs::remove_file(path);
    }
    let beside = name.with_extension("part");
    fs::copy(made, &beside)
        .and_then(|_| fs::rename(&beside, name))
        .with_context(|| format!("failed to write `{}`", name.display()))
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
}
