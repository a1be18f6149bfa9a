//! What the partitions hold: ESP, boot slot, data.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use image_layout::disk::{self, MIB, Role, boot, data, esp};
use image_layout::slots::{self, Slot, SlotState};
use uuid::Uuid;

use super::fat::{self, Volume};
use super::grub::Grub;
use crate::tools::Tools;

/// What GRUB starts of a slot.
#[derive(Debug)]
pub struct BootFiles {
    /// The kernel, as its package has it.
    pub kernel: Vec<u8>,
    /// The initrd.
    pub initrd: Vec<u8>,
    /// The kernel's command line.
    pub arguments: String,
}

/// The ESP: the two copies of the slot state first, so that they lie where
/// [`esp::GRUBENV_OFFSETS`] says for ever, which is checked.
pub fn esp(grub: &Grub) -> Result<Vec<u8>> {
    let volume = Volume { size: disk::partition(Role::Esp).size, label: esp::LABEL, serial: esp::SERIAL };
    let state = SlotState {
        slot: Slot::A,
        good: Slot::A,
        tries_a: slots::TRIES_GOOD,
        tries_b: 0,
        boot: "new".to_owned(),
    };
    let state = state.encode();
    let files: [(&str, &[u8]); 4] = [
        (esp::GRUBENV, &state),
        (esp::GRUBENV2, &state),
        (esp::GRUB_CFG, &grub.config),
        (esp::GRUB_EFI, &grub.efi),
    ];
    let image = fat::build(&volume, &files).context("failed to make the ESP")?;
    for (name, offset) in [esp::GRUBENV, esp::GRUBENV2].into_iter().zip(esp::GRUBENV_OFFSETS) {
        ensure!(
            fat::lies_at(&image, name, offset)?,
            "`{name}` does not lie at byte {offset} of the ESP, where every box writes it"
        );
    }
    Ok(image)
}

/// The boot partition, the same for either slot. What changes least comes first, so that it stays where it
/// was: an update fetches the blocks that differ.
pub fn boot(files: &BootFiles) -> Result<Vec<u8>> {
    let args = environment_block("args", &files.arguments)?;
    let sums = sums(&[(boot::KERNEL, &files.kernel), (boot::INITRD, &files.initrd), (boot::ARGS, &args)]);
    let size = disk::partition(Role::Boot(Slot::A)).size;
    let volume = Volume { size, label: boot::LABEL, serial: boot::SERIAL };
    let files: [(&str, &[u8]); 4] = [
        (boot::KERNEL, &files.kernel),
        (boot::INITRD, &files.initrd),
        (boot::ARGS, &args),
        (boot::SUMS, sums.as_bytes()),
    ];
    let needed: usize = files.iter().map(|(_, content)| content.len()).sum();
    ensure!(
        (needed as u64) * 100 <= volume.size * disk::SLOT_FULL_PERCENT,
        "the boot slot would be more than {} % full: kernel and initrd have {} MiB of {} MiB",
        disk::SLOT_FULL_PERCENT,
        needed as u64 / MIB,
        volume.size / MIB
    );
    fat::build(&volume, &files).context("failed to make the boot partition")
}

/// A GRUB environment block with one variable, as long as it needs to be in steps of 1024 bytes.
fn environment_block(name: &str, value: &str) -> Result<Vec<u8>> {
    ensure!(!value.contains(['\n', '\\']), "the kernel's arguments hold a line break or a backslash");
    let mut block = format!("{}{name}={value}\n", slots::HEADER).into_bytes();
    block.resize(block.len().next_multiple_of(slots::BLOCK_SIZE), b'#');
    Ok(block)
}

/// A list of crc32 sums as `hashsum --check` reads it.
fn sums(files: &[(&str, &[u8])]) -> String {
    files.iter().map(|(name, content)| format!("{:08x}  {name}\n", crc32fast::hash(content))).collect()
}

/// The data file system, empty but for `lost+found`, with the geometry of [`mod@data`].
pub fn data(tools: &Tools, output: &Path, uuid: Uuid, epoch: u64) -> Result<()> {
    let size = disk::partition(Role::Data).size;
    let file = std::fs::File::create(output)?;
    file.set_len(size)?;
    let mut command = tools.command("mke2fs")?;
    command.args(["-q", "-F", "-t", "ext4", "-T", "default"]);
    command.arg("-L").arg(data::LABEL);
    command.arg("-U").arg(uuid.to_string());
    command.args(["-b", &disk::BLOCK.to_string(), "-I", &data::INODE_SIZE.to_string()]);
    command.args(["-i", &data::INODE_RATIO.to_string(), "-m", "1", "-e", "remount-ro"]);
    command.args(["-O", data::FEATURES, "-J", &format!("size={}", data::JOURNAL_MIB)]);
    let extended = format!(
        "resize={},hash_seed={uuid},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,quotatype=usrquota:grpquota:prjquota",
        data::MAX_BLOCKS
    );
    command.arg("-E").arg(extended).arg(output);
    command.env("MKE2FS_CONFIG", tools.file("etc/mke2fs.conf")?);
    command.env("SOURCE_DATE_EPOCH", epoch.to_string());
    super::run(command, "mke2fs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grub() -> Grub {
        Grub { boot_img: vec![], core_img: vec![], efi: vec![1; 5000], config: b"# grub".to_vec() }
    }

    /// Fails when a change moves the slot state: boxes in the field write it by these offsets.
    #[test]
    fn slot_state_lies_where_boxes_write_it() {
        let image = esp(&grub()).unwrap();
        let [first, second] = esp::GRUBENV_OFFSETS;
        assert_ne!(first / disk::BLOCK, second / disk::BLOCK);
        for offset in [first, second] {
            let block = &image[offset as usize..][..slots::BLOCK_SIZE];
            assert_eq!(SlotState::parse(block).unwrap().tries_a, slots::TRIES_GOOD);
        }
    }

    #[test]
    fn sums_are_those_of_crc32() {
        assert_eq!(sums(&[("kernel", b"123456789")]), "cbf43926  kernel\n");
    }

    #[test]
    fn a_full_boot_slot_is_refused() {
        let files = |bytes| BootFiles { kernel: vec![1; bytes], initrd: vec![], arguments: "quiet".into() };
        let limit = (disk::partition(Role::Boot(Slot::A)).size * disk::SLOT_FULL_PERCENT / 100) as usize;
        assert!(boot(&files(limit - 4096)).is_ok());
        let error = boot(&files(limit + 1)).unwrap_err();
        assert!(error.to_string().contains("more than 70 % full"), "{error}");
    }

    /// As many bytes as asked for, no two blocks of them alike.
    fn noise(seed: u8, bytes: usize) -> Vec<u8> {
        use sha2::{Digest, Sha256};
        let mut noise: Vec<u8> =
            (0..bytes.div_ceil(32)).flat_map(|n| Sha256::digest([seed, n as u8, (n >> 8) as u8])).collect();
        noise.truncate(bytes);
        noise
    }

    #[test]
    fn a_changed_end_of_the_initrd_moves_nothing_before_it() {
        let (kernel, modules) = (noise(1, 300_000), noise(2, 50 * 4096));
        let image = |init: Vec<u8>, arguments: &str| {
            let initrd = [modules.clone(), init].concat();
            boot(&BootFiles { kernel: kernel.clone(), initrd, arguments: arguments.into() }).unwrap()
        };
        let (old, new) = (image(noise(3, 9000), "a"), image(noise(4, 20_000), "b"));
        let blocks = |image: &[u8]| image.chunks(4096).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let (old, new) = (blocks(&old), blocks(&new));
        let changed = old.iter().zip(&new).filter(|(old, new)| old != new).count();
        // The end of the initrd, arguments and sums, the root folder and both tables.
        assert!(changed <= 5 + 2 + 1 + 2, "{changed} blocks changed");
        let start = new.iter().position(|block| block[..] == kernel[..4096]).unwrap();
        assert_eq!(new[start..start + 73], old[start..start + 73]);
    }

    #[test]
    fn arguments_become_an_environment_block() {
        let block = environment_block("args", &"x".repeat(1200)).unwrap();
        assert_eq!(block.len(), 2048);
        assert!(block.starts_with(b"# GRUB Environment Block\nargs=xxx"));
        assert!(environment_block("args", "a\nb").is_err());
    }
}
