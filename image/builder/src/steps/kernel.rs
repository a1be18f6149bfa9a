//! The kernel's part of an image: which modules the root and the initrd have, their index, the initrd.

use std::path::Path;

use anyhow::{Context as _, Result};
use image_layout::disk::BLOCK;
use image_layout::initrd;

use super::cpio::Archive;
use super::rootfs::modules::Modules;
use super::rootfs::tree::{Kind, Tree};
use crate::plan::contents::Kernel;
use crate::tools::Tools;

/// Where the packages have what the initrd and the boot partition get.
const E2FSCK: &str = "usr/sbin/e2fsck.static";
const KERNELS: &str = "boot/vmlinuz-";
const MODULES: &str = "usr/lib/modules/";
/// What `systemd-modules-load` loads: all that there is, since nothing is loaded after it.
const LOADED: &str = "usr/lib/modules-load.d/holdfast.conf";

/// What is taken out of the tree: it is no part of the root.
#[derive(Debug)]
pub struct Parts {
    /// The kernel.
    pub kernel: Vec<u8>,
    /// The initrd, compressed.
    pub initrd: Vec<u8>,
}

/// Takes the kernel out of the tree, leaves it the modules that are wanted, their index and the list by which
/// they are loaded, and makes the initrd of `init`, the static e2fsck and its own modules.
pub fn split(tree: &mut Tree, config: &Kernel, init: &[u8], tools: &Tools, scratch: &Path) -> Result<Parts> {
    let (path, release) = tree
        .iter()
        .find_map(|(path, _)| Some((path.to_owned(), path.strip_prefix(KERNELS)?.to_owned())))
        .context("no kernel is kept")?;
    let kernel = tree.content(&path).context("the kernel is not a file")?.to_vec();
    let e2fsck = tree.content(E2FSCK).with_context(|| format!("`{E2FSCK}` is not kept"))?.to_vec();
    tree.remove("boot");
    tree.remove(E2FSCK);

    let folder = format!("{MODULES}{release}");
    let modules = modules_of(tree, &folder);
    let in_root = modules.closure(config.modules.iter().map(String::as_str))?;
    let initrd = initrd(&modules, config, init, &e2fsck)?;
    index(tree, &folder, &modules, &in_root, tools, scratch)?;
    tree.file(LOADED, 0o644, in_root.join("\n") + "\n", "holdfast");
    Ok(Parts { kernel, initrd })
}

/// `softdog soft_margin=60` is the module `softdog`.
fn name(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or(line)
}

fn modules_of(tree: &Tree, folder: &str) -> Modules {
    let mut modules = Modules::default();
    for (path, node) in tree.iter() {
        let (Some(inside), Kind::File(content)) = (path.strip_prefix(folder), &node.kind) else { continue };
        let inside = inside.trim_start_matches('/');
        if inside == "modules.builtin" {
            modules.add_builtin(&String::from_utf8_lossy(content));
        } else {
            modules.add(inside, content.clone());
        }
    }
    modules
}

/// Leaves the tree the chosen modules and lets `depmod` index just those.
fn index(
    tree: &mut Tree,
    folder: &str,
    modules: &Modules,
    chosen: &[String],
    tools: &Tools,
    scratch: &Path,
) -> Result<()> {
    let base = scratch.join("modules");
    let on_disk = base.join(folder.replacen("usr/lib", "lib", 1));
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        let content = tree.content(&format!("{folder}/{name}"));
        files.push((name.to_owned(), content.with_context(|| format!("`{name}` is not kept"))?.to_vec()));
    }
    let origin =
        tree.get(&format!("{folder}/modules.order")).map(|node| node.origin.clone()).unwrap_or_default();
    for name in chosen {
        let (path, content) = modules.file(name)?;
        files.push((path.to_owned(), content));
    }
    tree.remove(folder);
    for (path, content) in files {
        let file = on_disk.join(&path);
        std::fs::create_dir_all(file.parent().unwrap_or(&on_disk))?;
        std::fs::write(&file, &content)?;
        tree.file(&format!("{folder}/{path}"), 0o644, content, &origin);
    }
    let mut command = tools.command("depmod")?;
    let release = folder.rsplit('/').next().unwrap_or(folder);
    command.arg("-b").arg(&base).arg(release);
    super::run(command, "depmod")?;
    let mut made: Vec<_> = std::fs::read_dir(&on_disk)?.collect::<Result<_, _>>()?;
    made.sort_by_key(std::fs::DirEntry::file_name);
    for entry in made {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The text forms are for people; libkmod reads the binary ones, and these two as text.
        let read = name.ends_with(".bin") || name == "modules.softdep" || name == "modules.devname";
        if read && entry.file_type()?.is_file() {
            tree.file(&format!("{folder}/{name}"), 0o644, std::fs::read(entry.path())?, "depmod");
        }
    }
    for text in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        tree.remove(&format!("{folder}/{text}"));
    }
    Ok(())
}

/// The initrd, which the kernel unpacks one archive after the other: first `/sbin/e2fsck` and the modules,
/// which come from packages, then `/init` and `/modules.list` with one line `PATH [PARAMETERS]` per module in
/// the order of loading. The second starts at a whole block, so that another `/init` leaves the blocks before
/// it as they are.
fn initrd(modules: &Modules, config: &Kernel, init: &[u8], e2fsck: &[u8]) -> Result<Vec<u8>> {
    let mut packaged = Archive::default();
    for folder in ["dev", "proc", "sys", "run", "sbin", "sysroot", initrd::MODULES] {
        packaged.directory(folder);
    }
    packaged.character_device("dev/console", 0o600, 5, 1);
    packaged.character_device("dev/null", 0o666, 1, 3);
    packaged.file(initrd::E2FSCK, 0o755, e2fsck);
    let mut list = String::new();
    for name in modules.closure(config.initrd_modules.iter().map(|line| name(line)))? {
        let (path, content) = modules.file(&name)?;
        let file = format!("{}/{}", initrd::MODULES, path.rsplit('/').next().unwrap_or(path));
        packaged.file(&file, 0o644, &content);
        let line = config.initrd_modules.iter().find(|line| self::name(line).replace('-', "_") == name);
        let parameters = line.and_then(|line| line.split_once(' ')).map_or("", |(_, parameters)| parameters);
        list.push_str(format!("{file} {parameters}").trim_end());
        list.push('\n');
    }
    let mut own = Archive::default();
    own.file(initrd::INIT, 0o755, init);
    own.file(initrd::MODULES_LIST, 0o644, list.as_bytes());
    segments([packaged, own]).context("failed to compress the initrd")
}

/// Archives, each compressed by itself. Between them are zeroes up to a whole block, which the kernel skips.
fn segments(archives: [Archive; 2]) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for archive in archives {
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        bytes.extend(zstd::encode_all(archive.finish().as_slice(), 19)?);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_init_leaves_the_blocks_before_it() {
        let made = |init: &[u8]| {
            let (mut packaged, mut own) = (Archive::default(), Archive::default());
            let noise: Vec<u8> =
                (0..20_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
            packaged.file("modules/a.ko", 0o644, &noise);
            own.file("init", 0o755, init);
            segments([packaged, own]).unwrap()
        };
        let (old, new) = (made(b"old"), made(b"a new one"));
        let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let start = same / BLOCK as usize * BLOCK as usize;
        assert!(start > 4096);
        for bytes in [&old, &new] {
            assert_eq!(bytes[start - 1], 0, "zeroes fill the block before it");
            let own = zstd::decode_all(&bytes[start..]).unwrap();
            assert!(own.windows(4).any(|name| name == b"init"));
        }
    }
}
