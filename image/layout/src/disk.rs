//! The partitions of the disk.
//!
//! GPT with 512-byte logical sectors. Types are those of the UAPI Discoverable Partitions
//! Specification.

use crate::slots::Slot;

/// Bytes in a logical sector.
pub const SECTOR: u64 = 512;
/// Bytes in a KiB-based mebibyte.
pub const MIB: u64 = 1024 * 1024;
/// Bytes in a block of erofs, dm-verity and ext4.
pub const BLOCK: u64 = 4096;
/// Every partition starts at a multiple of this many bytes.
pub const ALIGNMENT: u64 = MIB;
/// The smallest disk that an image can be written to and grown on, in bytes.
pub const MIN_DISK: u64 = 2 * 1024 * MIB;
/// The largest disk that is supported, in bytes.
pub const MAX_DISK: u64 = 2 * 1024 * 1024 * MIB;

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// GRUB's `core.img`.
    BiosBoot,
    /// GRUB for UEFI, its configuration and the slot state.
    Esp,
    /// Kernel, initrd, arguments and checksums of a slot.
    Boot(Slot),
    /// The erofs root of a slot with its verity tree behind it.
    Root(Slot),
    /// `/var`.
    Data,
}

/// A partition as the builder writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Number in the table, from 1.
    pub number: u32,
    /// Name in the table, which the kernel reports as `PARTNAME`.
    pub name: &'static str,
    /// Type GUID, lower case.
    pub type_guid: &'static str,
    /// Size in bytes; for [`Role::Data`] the size at build, before it is grown to the disk's end.
    pub size: u64,
    /// What it holds.
    pub role: Role,
}

const XBOOTLDR: &str = "bc13c2ff-59e6-4262-a352-b275fd6f7172";
const ROOT_X86_64: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";

/// The partitions in the order of the disk, each starting where the one before it ends, the first at
/// [`ALIGNMENT`].
pub const PARTITIONS: [Partition; 7] = [
    Partition {
        number: 1,
        name: "bios",
        type_guid: "21686148-6449-6e6f-744e-656564454649",
        size: MIB,
        role: Role::BiosBoot,
    },
    Partition {
        number: 2,
        name: "esp",
        type_guid: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        size: 64 * MIB,
        role: Role::Esp,
    },
    Partition { number: 3, name: "boot-a", type_guid: XBOOTLDR, size: 96 * MIB, role: Role::Boot(Slot::A) },
    Partition { number: 4, name: "boot-b", type_guid: XBOOTLDR, size: 96 * MIB, role: Role::Boot(Slot::B) },
    Partition {
        number: 5,
        name: "root-a",
        type_guid: ROOT_X86_64,
        size: 512 * MIB,
        role: Role::Root(Slot::A),
    },
    Partition {
        number: 6,
        name: "root-b",
        type_guid: ROOT_X86_64,
        size: 512 * MIB,
        role: Role::Root(Slot::B),
    },
    Partition {
        number: 7,
        name: "data",
        type_guid: "4d21b016-b534-45c2-a9fb-5c16e091fd2d",
        size: 192 * MIB,
        role: Role::Data,
    },
];

/// The partition with this role.
pub fn partition(role: Role) -> &'static Partition {
    PARTITIONS.iter().find(|p| p.role == role).expect("every role has a partition")
}

/// Where a partition starts on the disk, in bytes.
pub fn start(role: Role) -> u64 {
    let before = PARTITIONS.iter().take_while(|p| p.role != role);
    ALIGNMENT + before.map(|p| p.size).sum::<u64>()
}

/// How full a root slot may be, in percent, before the build fails: updates need the rest.
pub const SLOT_FULL_PERCENT: u64 = 70;

/// Files of the ESP, relative to its root.
pub mod esp {
    /// GRUB for UEFI.
    pub const GRUB_EFI: &str = "EFI/BOOT/BOOTX64.EFI";
    /// GRUB's configuration.
    pub const GRUB_CFG: &str = "grub/grub.cfg";
    /// The first copy of the slot state; its name is also the value of `hf.env`.
    pub const GRUBENV: &str = "grub/grubenv";
    /// The second copy.
    pub const GRUBENV2: &str = "grub/grubenv2";
    /// Volume label.
    pub const LABEL: &str = "HOLDFAST";
    /// Volume serial number.
    pub const SERIAL: u32 = 0x4846_4553;
    /// Where the data of `grubenv` and `grubenv2` starts, in bytes from the partition's start. The
    /// builder makes these two files first and fails if they land elsewhere.
    pub const GRUBENV_OFFSETS: [u64; 2] = [ENV_OFFSET, ENV2_OFFSET];
    const ENV_OFFSET: u64 = 20 * 4096;
    const ENV2_OFFSET: u64 = 21 * 4096;
}

/// Files of a boot partition, relative to its root.
pub mod boot {
    /// The kernel.
    pub const KERNEL: &str = "kernel";
    /// The initrd.
    pub const INITRD: &str = "initrd";
    /// A GRUB environment block whose variable `args` is the kernel's command line.
    pub const ARGS: &str = "args";
    /// crc32 sums of the three, as `hashsum --check` of GRUB reads them.
    pub const SUMS: &str = "sums";
    /// Volume label.
    pub const LABEL: &str = "BOOT";
    /// Volume serial number. It is the same in both slots: an update writes one image to either.
    pub const SERIAL: u32 = 0x4846_4241;
}

/// How the data file system is made, for ever: not mke2fs's choice by size.
pub mod data {
    /// Label of the ext4 file system.
    pub const LABEL: &str = "holdfast-data";
    /// Bytes per inode.
    pub const INODE_RATIO: u64 = 16384;
    /// Bytes of an inode.
    pub const INODE_SIZE: u64 = 256;
    /// MiB of journal.
    pub const JOURNAL_MIB: u64 = 64;
    /// Features beyond mke2fs's defaults for ext4.
    pub const FEATURES: &str = "64bit,metadata_csum,verity,quota,project";
    /// Blocks of [`super::BLOCK`] that the file system may grow to: 16 TiB.
    pub const MAX_BLOCKS: u64 = 4_294_967_295;

    /// The user beside whoever has CAP_SYS_RESOURCE that may use the blocks that are kept back: nobody. ext4's own
    /// choice is root, as whom much runs that has no rights.
    pub const RESERVE_USER: u32 = u32::MAX - 1;
    /// The group that may use them while too few others are left, whose members are writable layers alone.
    pub const RESERVE_GROUP: u32 = u32::MAX - 1;

    /// Blocks of so many that are kept back: 160 MiB, or an eighth. All but [`starts`] are for the box itself, which
    /// is twice what the journal may take.
    pub const fn reserve(blocks: u64) -> u64 {
        const MOST: u64 = 160 * super::MIB / super::BLOCK;
        if blocks / 8 < MOST { blocks / 8 } else { MOST }
    }

    /// Of these, blocks for what containers write that start while no others are left: 32 MiB, or a fifth.
    pub const fn starts(blocks: u64) -> u64 {
        reserve(blocks) / 5
    }
}
