//! What is on a disk: partitions, slot state, and what each slot holds.
//!
//! Nothing is believed that can be checked: the verity root hash is computed anew, and the rules on what
//! must not be in a root look at the files that come out of the erofs.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use gpt::disk::LogicalBlockSize;
use image_layout::disk::{self, BLOCK, Role, SECTOR, boot, esp};
use image_layout::kernel::{self, Verity};
use image_layout::manifest::Manifest;
use image_layout::slots::{BLOCK_SIZE, Slot, SlotState};
use serde::Serialize;

use super::{fat, verity};
use crate::plan::forbidden::{self, Listed};
use crate::tools::Tools;

/// A disk.
#[derive(Debug, Serialize)]
pub(crate) struct Inspection {
    /// Bytes of the disk.
    pub size: u64,
    /// As in the table.
    pub partitions: Vec<Partition>,
    /// The copies of the slot state; `None` where one is not whole.
    pub state: [Option<State>; 2],
    /// Slots that hold something.
    pub slots: Vec<SlotContents>,
}

/// A partition.
#[derive(Debug, Serialize)]
pub(crate) struct Partition {
    /// From 1.
    pub number: u32,
    /// Name.
    pub name: String,
    /// Type GUID.
    pub type_guid: String,
    /// Byte at which it starts.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

/// The slot state.
#[derive(Debug, Serialize)]
pub(crate) struct State {
    /// Tried first.
    pub slot: Slot,
    /// Last healthy.
    pub good: Slot,
    /// Tries left.
    pub tries_a: u8,
    /// Tries left.
    pub tries_b: u8,
}

/// What a slot holds.
#[derive(Debug, Serialize)]
pub(crate) struct SlotContents {
    /// Which.
    pub slot: Slot,
    /// The kernel's command line.
    pub arguments: String,
    /// The root hash that the command line names.
    pub root_hash: String,
    /// Whether the root has that hash.
    pub verified: bool,
    /// Bytes of root and verity tree.
    pub root_size: u64,
    /// Of the slot.
    pub full_percent: u64,
    /// What must not be in a root and is.
    pub forbidden: Vec<String>,
    /// The manifest in the root.
    pub manifest: Manifest,
}

/// Looks at a raw disk.
pub(crate) fn disk(raw: &Path, tools: &Tools, scratch: &Path) -> Result<Inspection> {
    let mut file = File::open(raw).with_context(|| format!("failed to open `{}`", raw.display()))?;
    let size = file.seek(SeekFrom::End(0))?;
    let partitions = partitions(raw)?;
    let esp_bytes = read(&mut file, disk::start(Role::Esp), disk::partition(Role::Esp).size)?;
    let state = esp::GRUBENV_OFFSETS.map(|offset| {
        let state = SlotState::parse(&esp_bytes[offset as usize..][..BLOCK_SIZE]).ok()?;
        let SlotState { slot, good, tries_a, tries_b, .. } = state;
        Some(State { slot, good, tries_a, tries_b })
    });
    let mut slots = Vec::new();
    for slot in [Slot::A, Slot::B] {
        let boot = read(&mut file, disk::start(Role::Boot(slot)), disk::partition(Role::Boot(slot)).size)?;
        if boot[..SECTOR as usize].iter().any(|byte| *byte != 0) {
            let contents = contents(&mut file, slot, &boot, tools, scratch);
            slots.push(contents.with_context(|| format!("slot {slot} cannot be read"))?);
        }
    }
    Ok(Inspection { size, partitions, state, slots })
}

fn partitions(raw: &Path) -> Result<Vec<Partition>> {
    let config = gpt::GptConfig::new().writable(false).logical_block_size(LogicalBlockSize::Lb512);
    let table = config.open(raw).context("there is no partition table")?;
    let entry = |(number, partition): (&u32, &gpt::partition::Partition)| Partition {
        number: *number,
        name: partition.name.clone(),
        type_guid: partition.part_type_guid.guid.to_string(),
        start: partition.first_lba * SECTOR,
        size: (partition.last_lba + 1 - partition.first_lba) * SECTOR,
    };
    Ok(table.partitions().iter().filter(|(_, partition)| partition.is_used()).map(entry).collect())
}

fn read(file: &mut File, start: u64, length: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length)?];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes).context("the disk ends too early")?;
    Ok(bytes)
}

fn contents(file: &mut File, slot: Slot, boot: &[u8], tools: &Tools, scratch: &Path) -> Result<SlotContents> {
    let args = String::from_utf8(fat::read(boot, boot::ARGS)?)?;
    let arguments =
        args.lines().find_map(|line| line.strip_prefix("args=")).context("there are no arguments")?;
    let named = kernel::argument(arguments, kernel::VERITY).and_then(Verity::parse);
    let named = named.context("the arguments name no root hash")?;
    let root = disk::partition(Role::Root(slot));
    ensure!(
        named.data_blocks > 0 && named.data_blocks * BLOCK <= root.size,
        "the root is larger than its slot"
    );
    let data = read(file, disk::start(Role::Root(slot)), named.data_blocks * BLOCK)?;
    let (found, tree) = verity::tree(&data, &salt(&named.salt)?);
    let root_size = (data.len() + tree.len()) as u64;
    let stored = read(file, disk::start(Role::Root(slot)) + data.len() as u64, tree.len() as u64)?;

    let (image, folder) = (scratch.join(format!("root-{slot}.erofs")), scratch.join(format!("root-{slot}")));
    fs::write(&image, &data)?;
    let mut command = tools.command("fsck.erofs")?;
    command.args(["--preserve-perms", "--no-preserve-owner"]);
    command.arg(format!("--extract={}", folder.display())).arg(&image);
    super::run(command, "fsck.erofs")?;
    let manifest = fs::read_to_string(folder.join("usr/share/holdfast/manifest.json"));
    Ok(SlotContents {
        slot,
        arguments: arguments.to_owned(),
        verified: found == named && stored == tree,
        root_hash: named.root_hash,
        root_size,
        full_percent: (root_size * 100).div_ceil(root.size),
        forbidden: forbidden_in(&folder)?,
        manifest: serde_json::from_str(&manifest.context("the root has no manifest")?)?,
    })
}

fn salt(hex: &str) -> Result<[u8; 32]> {
    let mut salt = [0; 32];
    ensure!(hex.len() == 64 && hex.is_ascii(), "the salt is not 32 bytes");
    for (index, byte) in salt.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..][..2], 16).context("the salt is not hexadecimal")?;
    }
    Ok(salt)
}

/// What must not be in a root and is in this folder.
pub(crate) fn forbidden_in(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    walk(folder, folder, &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to read `{}`", folder.display()))? {
        let entry = entry?;
        let (path, metadata) = (entry.path(), entry.metadata()?);
        let kind = metadata.file_type();
        let content = if kind.is_file() { fs::read(&path)? } else { Vec::new() };
        let name = path.strip_prefix(root)?.to_string_lossy();
        let listed = Listed { path: &name, mode: metadata.permissions().mode(), content: &content };
        found.extend(forbidden::find([listed]));
        if kind.is_dir() {
            walk(root, &path, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::super::disk::Contents;
    use super::super::grub::Grub;
    use super::super::partitions::{self, BootFiles};
    use super::super::rootfs::tree::Tree;
    use super::super::{disk as written_disk, erofs};
    use super::*;
    use crate::context::{Context, GlobalOptions};

    #[test]
    fn a_planted_setuid_file_is_found_among_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("usr/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("nft"), b"\x7fELF").unwrap();
        fs::set_permissions(bin.join("nft"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(forbidden_in(folder.path()).unwrap(), Vec::<String>::new());
        fs::set_permissions(bin.join("nft"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::write(bin.join("start"), b"#!/bin/sh\n").unwrap();
        fs::set_permissions(bin.join("start"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("nft", bin.join("sh")).unwrap();
        let expect = [
            "usr/bin/nft: setuid or setgid",
            "usr/bin/sh: a shell, interpreter or package manager",
            "usr/bin/start: a script",
        ];
        assert_eq!(forbidden_in(folder.path()).unwrap(), expect);
    }

    /// Bytes that do not compress.
    fn noise() -> Vec<u8> {
        (0..1024u32).flat_map(|n| Sha256::digest(n.to_le_bytes())).collect()
    }

    /// What is found on a disk whose root is this tree, changed by `change` after it was sealed.
    fn inspected(tree: &Tree, tools: &Tools, change: fn(&mut [u8])) -> SlotContents {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        let mut root = erofs::build(tree, 1_700_000_000, tools, &folder.join("roots"), folder).unwrap();
        change(&mut root.bytes);
        let boot_img = [vec![0; 510], vec![0x55, 0xaa]].concat();
        let grub = Grub { boot_img, core_img: vec![1; 30_000], efi: vec![1], config: vec![1] };
        let arguments = format!("quiet {}={}", kernel::VERITY, root.verity);
        let files = BootFiles { kernel: vec![1], initrd: vec![1], arguments };
        let (esp, boot) = (partitions::esp(&grub).unwrap(), partitions::boot(&files).unwrap());
        let (data, raw) = (folder.join("data"), folder.join("disk.raw"));
        fs::write(&data, "").unwrap();
        let contents = Contents { grub: &grub, esp: &esp, boot: &boot, root: &root.bytes, data: &data };
        written_disk::write(&raw, &contents, b"seed").unwrap();
        disk(&raw, tools, folder).unwrap().slots.remove(0)
    }

    #[test]
    fn what_is_planted_in_an_erofs_is_found_there() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let relock = std::env::var_os("HOLDFAST_RELOCK").is_some();
        let options =
            GlobalOptions { root: Some(repository), cache: None, mirror: None, relock, verbose: false };
        let tools = Context::open(&options).unwrap().tools().unwrap();
        let manifest = r#"{"format":1,"version":"1","epoch":0,"root_hash":"","root_size":0,"packages":[],"images":[],"outputs":[]}"#;
        let mut tree = Tree::merged();
        tree.file("usr/share/holdfast/manifest.json", 0o644, manifest, "");
        tree.file("usr/bin/nft", 0o755, "\x7fELF", "");
        tree.file("usr/share/noise", 0o644, noise(), "");
        let clean = inspected(&tree, &tools, |_| ());
        assert_eq!((clean.verified, clean.forbidden), (true, vec![]));

        tree.file("usr/bin/dash", 0o755, "\x7fELF", "");
        tree.symlink("usr/bin/sh", "dash", "");
        tree.file("usr/libexec/python3.13", 0o755, "\x7fELF", "");
        tree.file("usr/bin/su", 0o4755, "\x7fELF", "");
        tree.file("usr/bin/wall", 0o2755, "\x7fELF", "");
        tree.file("usr/lib/start", 0o755, "#!/bin/sh\n", "");
        tree.file("etc/own.pem", 0o600, "-----BEGIN PRIVATE KEY-----\n", "");
        let expect = [
            "etc/own.pem: a private key",
            "usr/bin/dash: a shell, interpreter or package manager",
            "usr/bin/sh: a shell, interpreter or package manager",
            "usr/bin/su: setuid or setgid",
            "usr/bin/wall: setuid or setgid",
            "usr/lib/start: a script",
            "usr/libexec/python3.13: a shell, interpreter or package manager",
        ];
        assert_eq!(inspected(&tree, &tools, |_| ()).forbidden, expect);

        let of_a_file = |bytes: &mut [u8]| {
            let noise = noise();
            let at = bytes.windows(64).position(|part| part == &noise[8192..8256]).unwrap();
            bytes[at] ^= 1;
        };
        assert!(!inspected(&tree, &tools, of_a_file).verified);
        let of_the_verity_tree = |bytes: &mut [u8]| *bytes.last_mut().unwrap() ^= 1;
        assert!(!inspected(&tree, &tools, of_the_verity_tree).verified);
    }

    #[test]
    fn salts_are_read() {
        assert_eq!(salt(&verity::hex(&[7; 32])).unwrap(), [7; 32]);
        assert!(salt("07").is_err());
    }
}
