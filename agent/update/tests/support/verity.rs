//! Slots with a real root and tree, made in another way than the code under test does: level by level, from
//! hashes in a list.

use std::io::{Cursor, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use image_layout::disk::boot;
use image_layout::kernel::Verity;
use sha2::{Digest, Sha256};

use super::images::BLOCK;

/// A slot's images.
#[derive(Clone)]
pub struct Slot {
    pub boot: Vec<u8>,
    /// Data and tree.
    pub root: Vec<u8>,
    pub verity: Verity,
    /// Places of the first block of each level of the tree, from the one above the data upwards.
    pub levels: Vec<usize>,
}

impl Slot {
    /// One whose root holds `data`.
    pub fn new(data: &[u8], salt: u8, kernel: &[u8]) -> Slot {
        let salt = [salt; 32];
        let hash = |block: &[u8]| {
            let mut all = salt.to_vec();
            all.extend_from_slice(block);
            Sha256::digest(&all).to_vec()
        };
        let mut tree: Vec<Vec<u8>> = Vec::new();
        let mut hashes: Vec<Vec<u8>> = data.chunks(BLOCK).map(hash).collect();
        while hashes.len() > 1 {
            let blocks: Vec<Vec<u8>> = hashes
                .chunks(BLOCK / 32)
                .map(|some| {
                    let mut block = some.concat();
                    block.resize(BLOCK, 0);
                    block
                })
                .collect();
            hashes = blocks.iter().map(|block| hash(block)).collect();
            tree.push(blocks.concat());
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let verity =
            Verity { data_blocks: (data.len() / BLOCK) as u64, root_hash: hex(&hashes[0]), salt: hex(&salt) };
        let mut root = data.to_vec();
        let mut levels = Vec::new();
        for level in tree.iter().rev() {
            levels.insert(0, root.len() / BLOCK);
            root.extend_from_slice(level);
        }
        Slot { boot: boot(kernel, &verity), root, verity, levels }
    }
}

/// A boot partition as the builder makes one.
fn boot(kernel: &[u8], verity: &Verity) -> Vec<u8> {
    let mut args = format!("# GRUB Environment Block\nargs=quiet hf.verity={verity}\n").into_bytes();
    args.resize(1024, b'#');
    let initrd = super::images::image(5001..5030);
    let mut files = vec![(boot::KERNEL, kernel.to_vec()), (boot::INITRD, initrd), (boot::ARGS, args)];
    let sums = files.iter().map(|(name, bytes)| format!("{:08x}  {name}\n", crc32fast::hash(bytes)));
    files.push((boot::SUMS, sums.collect::<String>().into_bytes()));
    let mut disk = Cursor::new(vec![0; super::machine::BOOT as usize]);
    fatfs::format_volume(&mut disk, FormatVolumeOptions::new()).unwrap();
    {
        let volume = FileSystem::new(&mut disk, FsOptions::new()).unwrap();
        for (name, bytes) in &files {
            volume.root_dir().create_file(name).unwrap().write_all(bytes).unwrap();
        }
        volume.unmount().unwrap();
    }
    disk.into_inner()
}
