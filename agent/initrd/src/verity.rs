//! Opening a root through dm-verity, by the device mapper's ioctl interface (`linux/dm-ioctl.h`).
//!
//! Invariant: a block of the root that does not match the root hash is never returned; the kernel
//! restarts the box instead. There is no superblock: parameters come from the kernel's command line, and
//! the tree lies behind the data on the same device.

use image_layout::disk::{BLOCK, SECTOR};
use image_layout::kernel::Verity;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const CONTROL: &str = "/dev/mapper/control";
const NAME: &str = "root";
/// Bytes given to each call: its header, one target and its parameters.
const BUFFER: usize = 4096;
/// `sizeof(struct dm_ioctl)` and `sizeof(struct dm_target_spec)`.
const HEADER: usize = 312;
const TARGET: usize = 40;
const READ_ONLY: u32 = 1;

nix::ioctl_readwrite!(
    /// Makes a device.
    dm_create, 0xfd, 3, Header
);
nix::ioctl_readwrite!(
    /// Resumes a device, which puts its loaded table to use.
    dm_resume, 0xfd, 6, Header
);
nix::ioctl_readwrite!(
    /// Loads a table.
    dm_load, 0xfd, 9, Header
);

/// What the calls take: `struct dm_ioctl`, whose first fields say how long the whole argument is.
#[repr(C, align(8))]
pub(crate) struct Header([u8; HEADER]);

/// Why the root cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum VerityError {
    /// There is no device mapper.
    #[error("failed to open `{CONTROL}`")]
    Control { source: io::Error },
    /// A step failed.
    #[error("failed to {step} the verity device on `{device}`")]
    Step { step: &'static str, device: PathBuf, source: io::Error },
}

/// Opens the root on `device` and returns the node to mount.
pub(crate) fn open(device: &Path, verity: &Verity) -> Result<PathBuf, VerityError> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open(CONTROL)
        .map_err(|source| VerityError::Control { source })?;
    let failed =
        |step| move |source: io::Error| VerityError::Step { step, device: device.to_owned(), source };
    let mut argument = Argument::new(0);
    argument.call(&control, Call::Create).map_err(failed("make"))?;
    let minor = argument.minor();
    Argument::new(READ_ONLY)
        .with_target(verity.data_blocks * (BLOCK / SECTOR), &table(device, verity))
        .and_then(|mut argument| argument.call(&control, Call::Load))
        .map_err(failed("load"))?;
    Argument::new(0).call(&control, Call::Resume).map_err(failed("start"))?;
    Ok(PathBuf::from(format!("/dev/dm-{minor}")))
}

/// The target's parameters, by `Documentation/admin-guide/device-mapper/verity.rst`.
fn table(device: &Path, verity: &Verity) -> String {
    let Verity { data_blocks: blocks, root_hash, salt } = verity;
    let device = device.display();
    format!(
        "1 {device} {device} {BLOCK} {BLOCK} {blocks} {blocks} sha256 {root_hash} {salt} 1 restart_on_corruption"
    )
}

enum Call {
    Create,
    Load,
    Resume,
}

/// A call's argument: 8-byte aligned, header first.
#[repr(C, align(8))]
struct Argument([u8; BUFFER]);

impl Argument {
    fn new(flags: u32) -> Argument {
        let mut argument = Argument([0; BUFFER]);
        argument.put(0, &4u32.to_le_bytes());
        argument.put(12, &(BUFFER as u32).to_le_bytes());
        argument.put(16, &(HEADER as u32).to_le_bytes());
        argument.put(28, &flags.to_le_bytes());
        argument.put(48, NAME.as_bytes());
        argument
    }

    /// Adds one verity target of `sectors`.
    fn with_target(mut self, sectors: u64, parameters: &str) -> io::Result<Argument> {
        // A zero byte ends the parameters.
        if HEADER + TARGET + parameters.len() >= BUFFER {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.put(20, &1u32.to_le_bytes());
        self.put(HEADER + 8, &sectors.to_le_bytes());
        self.put(HEADER + 24, b"verity");
        self.put(HEADER + TARGET, parameters.as_bytes());
        Ok(self)
    }

    fn call(&mut self, control: &File, call: Call) -> io::Result<()> {
        let (descriptor, header) = (control.as_raw_fd(), (&raw mut self.0).cast::<Header>());
        // SAFETY: the descriptor is open; the buffer has the alignment of the header and is as long as its
        // `data_size` says, so that the kernel reads and writes only within it.
        let done = unsafe {
            match call {
                Call::Create => dm_create(descriptor, header),
                Call::Load => dm_load(descriptor, header),
                Call::Resume => dm_resume(descriptor, header),
            }
        };
        done.map(drop).map_err(io::Error::from)
    }

    /// The minor number in the answer: `huge_encode_dev`, low byte and bits from 20 on.
    fn minor(&self) -> u64 {
        let device = u64::from_le_bytes(self.0[40..48].try_into().expect("eight bytes"));
        device & 0xff | device >> 12 & 0xfff00
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verity() -> Verity {
        Verity { data_blocks: 1000, root_hash: "ab".repeat(32), salt: "cd".repeat(32) }
    }

    #[test]
    fn the_table_has_the_tree_behind_the_data_and_restarts_on_corruption() {
        let expect = format!(
            "1 /dev/vda5 /dev/vda5 4096 4096 1000 1000 sha256 {} {} 1 restart_on_corruption",
            "ab".repeat(32),
            "cd".repeat(32)
        );
        assert_eq!(table(Path::new("/dev/vda5"), &verity()), expect);
    }

    #[test]
    fn arguments_stay_within_their_buffer() {
        assert_eq!(size_of::<Header>(), HEADER);
        assert!(Argument::new(0).with_target(8, &"x".repeat(BUFFER)).is_err());
        let argument = Argument::new(1).with_target(8, "p q").unwrap();
        assert_eq!(&argument.0[HEADER + TARGET..][..4], b"p q\0");
        assert_eq!(argument.0[28], 1);
    }

    #[test]
    fn minors_are_read_from_the_kernels_encoding() {
        let mut argument = Argument::new(0);
        argument.put(40, &0x0010_fe03u64.to_le_bytes());
        assert_eq!(argument.minor(), 0x103);
    }
}
