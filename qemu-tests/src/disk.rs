//! Disks of machines, and what is done to them while nothing runs.

use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use gpt::disk::LogicalBlockSize;
use image_layout::disk::{self, Role, boot};
use image_layout::{Slot, SlotState};

use crate::command::run;
use crate::lab::Lab;
use crate::seed::volume;

/// A raw copy of the image, sparse, as long as asked.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
    /// Where QEMU logs each request, if it does.
    log: Option<PathBuf>,
}

/// What becomes of the list of sums when a file of a boot partition is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// It is of the new file, as a build would have made it.
    Adjusted,
    /// It is still of the old file: the new one is damaged.
    Kept,
}

/// A partition of a disk as a range of bytes that can be read and changed.
#[derive(Debug)]
pub struct Image {
    file: File,
    start: u64,
    size: u64,
}

impl Disk {
    /// Copies the image under test to `name` in the lab and makes it `size` bytes long.
    pub fn new(lab: &Lab, name: &str, size: u64) -> Result<Disk> {
        Disk::of(lab, &lab.image(), name, size)
    }

    /// The same with another raw image.
    pub fn of(lab: &Lab, image: &Path, name: &str, size: u64) -> Result<Disk> {
        let path = lab.dir().join(name);
        run(Command::new("cp").arg("--sparse=always").arg(image).arg(&path))?;
        let file = File::options().write(true).open(&path)?;
        ensure!(file.metadata()?.len() <= size, "the image is longer than {size} bytes");
        file.set_len(size)?;
        Ok(Disk::at(path))
    }

    /// A file that is a disk already.
    pub(crate) fn at(path: PathBuf) -> Disk {
        Disk { path, log: None }
    }

    /// The same disk, whose every request a machine logs in the file `log`, made anew.
    pub(crate) fn recorded(self, log: &Path) -> Result<Disk> {
        File::create(log)?;
        Ok(Disk { log: Some(log.to_owned()), ..self })
    }

    /// Where requests are logged.
    pub(crate) fn log(&self) -> Option<&Path> {
        self.log.as_deref()
    }

    /// Reads `length` bytes at `offset` of the whole disk.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        File::open(&self.path)?.read_exact_at(&mut bytes, offset).context("cannot read the disk")?;
        Ok(bytes)
    }

    /// A small FAT volume with these files in its root, instead of the image.
    pub fn with_files(lab: &Lab, name: &str, files: &[(&str, Vec<u8>)]) -> Result<Disk> {
        Disk::labelled(lab, name, *b"files      ", files)
    }

    /// A config drive with these files, by path.
    pub fn config_drive(lab: &Lab, name: &str, files: &[(&str, Vec<u8>)]) -> Result<Disk> {
        Disk::labelled(lab, name, *b"config-2   ", files)
    }

    fn labelled(lab: &Lab, name: &str, label: [u8; 11], files: &[(&str, Vec<u8>)]) -> Result<Disk> {
        let path = lab.dir().join(name);
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (*name, &content[..])).collect();
        volume(&path, label, &files)?;
        Ok(Disk::at(path))
    }

    /// Another disk with the same bytes.
    pub fn copy(&self, name: &str) -> Result<Disk> {
        let path = self.path.with_file_name(name);
        run(Command::new("cp").arg("--sparse=always").arg(&self.path).arg(&path))?;
        Ok(Disk::at(path))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The partition with this role, at the place that a freshly built image has it.
    pub fn partition(&self, role: Role) -> Result<Image> {
        let file = File::options().read(true).write(true).open(&self.path)?;
        Ok(Image { file, start: disk::start(role), size: disk::partition(role).size })
    }

    /// Makes a partition end so many bytes behind its start; the next stays where it is.
    pub fn resize_partition(&self, role: Role, size: u64) -> Result<()> {
        let config = gpt::GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
        let mut table = config.open(&self.path).context("there is no partition table")?;
        let mut partitions = table.partitions().clone();
        let number = disk::partition(role).number;
        let entry = partitions.get_mut(&number).context("there is no such partition")?;
        entry.last_lba = entry.first_lba + size / 512 - 1;
        table.update_partitions(partitions)?;
        table.write()?;
        Ok(())
    }

    /// Changes a file of a slot's boot partition.
    pub fn change_boot(
        &self,
        slot: Slot,
        name: &str,
        sums: Sums,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Result<()> {
        let partition = self.partition(Role::Boot(slot))?;
        let mut bytes = Cursor::new(partition.read(0, partition.size as usize)?);
        let volume = fatfs::FileSystem::new(&mut bytes, fatfs::FsOptions::new())?;
        let read = |name: &str| -> Result<Vec<u8>> {
            let mut content = vec![];
            volume.root_dir().open_file(name)?.read_to_end(&mut content)?;
            Ok(content)
        };
        let write = |name: &str, content: &[u8]| -> Result<()> {
            let mut file = volume.root_dir().open_file(name)?;
            file.truncate()?;
            Ok(file.write_all(content)?)
        };
        let mut content = read(name)?;
        change(&mut content);
        write(name, &content)?;
        if sums == Sums::Adjusted {
            let mut crc = flate2::Crc::new();
            crc.update(&content);
            let list = String::from_utf8(read(boot::SUMS)?)?;
            let line = |line: &str| match line.ends_with(name) {
                true => format!("{:08x}  {name}\n", crc.sum()),
                false => format!("{line}\n"),
            };
            write(boot::SUMS, list.lines().map(line).collect::<String>().as_bytes())?;
        }
        volume.unmount()?;
        partition.write(0, bytes.get_ref())
    }

    /// Appends `more` to the initrd of a slot and puts its new sum into the list, as a build would have.
    pub fn append_to_initrd(&self, slot: Slot, more: &[u8]) -> Result<()> {
        self.change_boot(slot, boot::INITRD, Sums::Adjusted, |initrd| {
            // The kernel looks for an archive at multiples of four only.
            initrd.resize(initrd.len().next_multiple_of(4), 0);
            initrd.extend(more);
        })
    }

    /// Changes the kernel arguments of a slot, as a build with others would have.
    pub fn change_arguments(&self, slot: Slot, change: impl FnOnce(&str) -> String) -> Result<()> {
        const NAME: &str = "\nargs=";
        self.change_boot(slot, boot::ARGS, Sums::Adjusted, |block| {
            let text = String::from_utf8_lossy(block).into_owned();
            let (header, rest) = text.split_once(NAME).expect("arguments are a GRUB environment block");
            let (arguments, _) = rest.split_once('\n').expect("each variable ends its line");
            let changed = format!("{header}{NAME}{}\n", change(arguments)).into_bytes();
            assert!(changed.len() <= block.len(), "the block has no room for these arguments");
            let length = block.len();
            *block = changed;
            block.resize(length, b'#');
        })
    }

    /// Copies boot and root of slot `from` to the other slot.
    pub fn copy_slot(&self, from: Slot) -> Result<()> {
        for role in [Role::Boot, Role::Root] {
            self.partition(role(from))?.copy_to(&self.partition(role(from.other()))?)?;
        }
        Ok(())
    }

    /// Where the first bytes of a file of a slot's root lie in its partition, packed or not.
    pub fn place_in_root(&self, lab: &Lab, slot: Slot, path: &str) -> Result<u64> {
        let mut dump = lab.tool("dump.erofs");
        dump.arg(format!("--offset={}", disk::start(Role::Root(slot))));
        let said = run(dump.arg(format!("--path={path}")).arg("-e").arg(self.path()))?;
        // `0:  0..  65536 |  65536 :  12288..  16384 |  4096`
        let first = said.lines().find_map(|line| line.trim_start().strip_prefix("0:"));
        let physical = first.and_then(|line| line.rsplit(':').next()?.split("..").next());
        let place = physical.and_then(|number| number.trim().parse().ok());
        place.with_context(|| format!("{path} has no extent in the root: {said}"))
    }

    /// The slot state's copies: what parses.
    pub fn slot_states(&self) -> Result<[Option<SlotState>; 2]> {
        let esp = self.partition(Role::Esp)?;
        let read = |offset| -> Result<_> { Ok(SlotState::parse(&esp.read(offset, 1024)?).ok()) };
        let [first, second] = disk::esp::GRUBENV_OFFSETS;
        Ok([read(first)?, read(second)?])
    }

    /// Writes both copies of the slot state.
    pub fn set_slot_state(&self, state: &SlotState) -> Result<()> {
        let esp = self.partition(Role::Esp)?;
        disk::esp::GRUBENV_OFFSETS.iter().try_for_each(|offset| esp.write(*offset, &state.encode()))
    }
}

impl Image {
    /// Reads `length` bytes at `offset`.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, self.start + offset).context("cannot read the disk")?;
        Ok(bytes)
    }

    /// Writes bytes at `offset`.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        ensure!(offset + bytes.len() as u64 <= self.size, "a write beyond the partition");
        self.file.write_all_at(bytes, self.start + offset).context("cannot write the disk")
    }

    /// Flips all bits of `length` bytes at `offset`.
    pub fn flip(&self, offset: u64, length: usize) -> Result<()> {
        let bytes: Vec<u8> = self.read(offset, length)?.iter().map(|b| !b).collect();
        self.write(offset, &bytes)
    }

    /// Where `needle` first stands, in bytes from the partition's start.
    pub fn find(&self, needle: &[u8]) -> Result<u64> {
        const CHUNK: usize = 1024 * 1024;
        for start in (0..self.size).step_by(CHUNK) {
            let length = (CHUNK + needle.len()).min((self.size - start) as usize);
            let bytes = self.read(start, length)?;
            if let Some(at) = bytes.windows(needle.len()).position(|w| w == needle) {
                return Ok(start + at as u64);
            }
        }
        anyhow::bail!("{:?} is not in the partition", String::from_utf8_lossy(needle))
    }

    fn copy_to(&self, other: &Image) -> Result<()> {
        ensure!(self.size == other.size, "the partitions differ in size");
        const CHUNK: u64 = 4 * 1024 * 1024;
        for offset in (0..self.size).step_by(CHUNK as usize) {
            let bytes = self.read(offset, CHUNK.min(self.size - offset) as usize)?;
            if bytes.iter().any(|b| *b != 0) {
                other.write(offset, &bytes)?;
            }
        }
        Ok(())
    }
}
