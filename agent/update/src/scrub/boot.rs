//! A boot partition compared with its own `sums`, as the boot loader does, and put right.
//!
//! There is no tree of it: which of its blocks are damaged shows against a whole one of the same build, which is
//! in the other slot or in the release.

use std::io::{self, Read, Seek, SeekFrom, Write};

use fatfs::{FileSystem, FsOptions};
use image_layout::disk::{BLOCK, boot};
use image_layout::kernel::{self, Verity};
use image_layout::release::Part;

use super::elsewhere::Release;
use super::tree::BYTES;
use crate::blocks;
use crate::error::{UpdateError, chain};
use crate::slot::Device;
use crate::verify;

/// The most bytes of `sums` and of `args`.
const SHORT: u64 = 64 << 10;

/// What a boot partition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// What is wrong with it.
    pub(crate) problem: Option<String>,
    /// How the root beside it is opened, when its arguments are whole.
    pub(crate) verity: Option<Verity>,
}

/// Reads and judges one.
pub(crate) fn read(device: &Device) -> Boot {
    device.forget();
    let judged = judge(device);
    let (problem, verity) = match judged {
        Ok((problem, verity)) => (problem, verity),
        Err(error) => (Some(format!("the boot partition cannot be read: {}", chain(&error))), None),
    };
    Boot { problem, verity }
}

/// Repairs one from the other slot's, which is known to be whole and of the same build. Gives the number of
/// blocks that differed.
pub(crate) fn copy(from: &Device, to: &Device) -> Result<u64, UpdateError> {
    let (mut right, mut block) = ([0; BYTES], [0; BYTES]);
    let mut differed = 0;
    for at in 0..from.blocks().min(to.blocks()) {
        from.read(at, &mut right)?;
        if to.read(at, &mut block).is_err() || block != right {
            to.write(at, &right)?;
            differed += 1;
        }
    }
    to.sync()?;
    Ok(differed)
}

/// Repairs one from the release. `root` has to be that release's whole root: a slot of two builds cannot start.
pub(crate) fn fetch(release: &Release<'_>, root: &Device, to: &Device) -> Result<u64, UpdateError> {
    let of_root = release.image(Part::Root)?;
    if !verify::matches(root, of_root.image().size, &of_root.image().sha256, None)? {
        let message = format!("the root is not that of release {}", release.version);
        return Err(UpdateError::damaged(message));
    }
    let published = release.image(Part::Boot)?;
    if published.map().blocks().len() as u64 > to.blocks() {
        return Err(UpdateError::damaged(format!("{} is too small for its image", to.name())));
    }
    let there = blocks::in_place(to, published.map());
    let missing: Vec<u64> = (0..).zip(there).filter(|(_, there)| !there).map(|(at, _)| at).collect();
    let differed = missing.len() as u64;
    published.fetch(missing, &mut |at, block| to.write(at, block))?;
    to.sync()?;
    let image = published.image();
    if !verify::matches(to, image.size, &image.sha256, None)? {
        return Err(UpdateError::slot(format!("{} does not hold what was written to it", to.name())));
    }
    Ok(differed)
}

fn judge(device: &Device) -> io::Result<(Option<String>, Option<Verity>)> {
    let volume = FileSystem::new(Disk { device, at: 0 }, FsOptions::new())?;
    let folder = volume.root_dir();
    let mut sums = String::new();
    folder.open_file(boot::SUMS)?.take(SHORT).read_to_string(&mut sums)?;
    let mut wrong = Vec::new();
    for name in [boot::KERNEL, boot::INITRD, boot::ARGS] {
        let expected = sums.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix("  "));
        let is = folder.open_file(name).and_then(crc);
        if !is.is_ok_and(|crc| expected == Some(&format!("{crc:08x}"))) {
            wrong.push(name);
        }
    }
    let mut verity = None;
    if !wrong.contains(&boot::ARGS) {
        let mut args = String::new();
        folder.open_file(boot::ARGS)?.take(SHORT).read_to_string(&mut args)?;
        verity = kernel::argument(&args, kernel::VERITY).and_then(Verity::parse);
    }
    let problem = format!("{} of the boot partition: not what `sums` says", wrong.join(", "));
    Ok(((!wrong.is_empty()).then_some(problem), verity))
}

fn crc(mut file: impl Read) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut bytes = vec![0; 64 << 10];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(crc.finalize()),
            read => crc.update(&bytes[..read]),
        }
    }
}

/// A partition as a file that cannot be written.
struct Disk<'a> {
    device: &'a Device,
    at: u64,
}

impl Read for Disk<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.device.read_at(self.at, bytes)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Disk<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => (self.device.blocks() * BLOCK).checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl Write for Disk<'_> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
