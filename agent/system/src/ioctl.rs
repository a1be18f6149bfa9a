//! The `ioctl` calls that no crate wraps, with the kernel's structures.

nix::ioctl_write_ptr!(
    /// Grows an ext4 to this many blocks.
    ext4_resize_fs, b'f', 16, u64
);
nix::ioctl_none_bad!(
    /// Reads the partition table anew.
    blkrrpart, 0x125f
);
nix::ioctl_write_ptr_bad!(
    /// Changes one partition as the kernel knows it.
    blkpg, 0x1269, BlkpgArgument
);

/// `struct blkpg_ioctl_arg` of `linux/blkpg.h`.
#[repr(C)]
pub struct BlkpgArgument {
    pub op: i32,
    pub flags: i32,
    pub length: i32,
    pub data: *const BlkpgPartition,
}

/// `struct blkpg_partition`.
#[repr(C)]
pub struct BlkpgPartition {
    pub start: i64,
    pub length: i64,
    pub number: i32,
    pub names: [u8; 128],
}
