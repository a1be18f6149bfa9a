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
nix::ioctl_write_ptr!(
    /// Seals a file with fs-verity.
    fs_enable_verity, b'f', 133, FsverityEnable
);
// The number is that of the structure without its flexible end.
nix::ioctl_readwrite_bad!(
    /// Measures a sealed file.
    fs_measure_verity, 0xc004_6686u32, FsverityDigest
);

/// `struct fsverity_enable_arg` of `linux/fsverity.h`.
#[repr(C)]
pub struct FsverityEnable {
    pub version: u32,
    pub hash_algorithm: u32,
    pub block_size: u32,
    pub salt_size: u32,
    pub salt: u64,
    pub signature_size: u32,
    pub reserved: u32,
    pub signature: u64,
    pub reserved_more: [u64; 11],
}

/// `struct fsverity_digest` with room for SHA-256.
#[repr(C)]
pub struct FsverityDigest {
    pub algorithm: u16,
    pub size: u16,
    pub digest: [u8; 32],
}

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

nix::ioctl_read!(
    /// Reads a file's attributes, its project among them.
    fs_get_attributes, b'X', 31, FileAttributes
);
nix::ioctl_write_ptr!(
    /// Sets a file's attributes.
    fs_set_attributes, b'X', 32, FileAttributes
);

/// `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
pub struct FileAttributes {
    pub flags: u32,
    pub extent_size: u32,
    pub extents: u32,
    pub project: u32,
    pub cow_extent_size: u32,
    pub padding: [u8; 8],
}
