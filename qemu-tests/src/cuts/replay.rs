//! Makes disks as they are after a power cut, from a base and a log.
//!
//! Kept is a disk with all that flushes have made durable; a cut is a copy of it with what survived of the
//! writes since. Requests that were in flight together stand in the log in the order of their end, so a
//! write that ended during a flush counts as made durable by it, though a disk need not have: what waits for
//! neither relies on neither.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FallocateFlags, fallocate};

use super::cut::{Cut, Fate, SECTOR};
use super::log::{Entry, Log};
use crate::disk::Disk;

/// Bytes that are copied at once.
const CHUNK: usize = 1 << 20;

/// Goes through a log once, from the first cut to the last.
#[derive(Debug)]
pub struct Replay<'a> {
    log: &'a Log,
    data: File,
    base: Disk,
    durable: Disk,
    /// The entries before this one are done.
    done: usize,
    /// Those of them that are not on the durable disk.
    pending: Vec<Entry>,
    lie: Option<usize>,
}

impl<'a> Replay<'a> {
    /// Begins with the disk `base` as it was before the first entry of `log`, whose data lie in the file
    /// `data`. `name` is for the files that it makes beside `base`.
    pub fn new(base: &Disk, log: &'a Log, data: File, name: &str) -> Result<Replay<'a>> {
        let durable = base.copy(&format!("{name}-durable.raw"))?;
        Ok(Replay { log, data, base: base.clone(), durable, done: 0, pending: vec![], lie: None })
    }

    /// Lets the disk lie at the flush that is this entry: what only it made durable is lost in every cut.
    pub fn lie(mut self, flush: usize) -> Replay<'a> {
        self.lie = Some(flush);
        self
    }

    /// Makes the disk after a cut. Quick when it is not before the last one.
    pub fn cut(&mut self, cut: &Cut, name: &str) -> Result<Disk> {
        ensure!(cut.entry <= self.log.entries.len(), "the log has no entry {}", cut.entry);
        if cut.entry < self.done {
            self.durable = self.base.copy(&file_name(&self.durable)?)?;
            (self.done, self.pending) = (0, vec![]);
        }
        self.advance(cut.entry)?;
        let disk = self.durable.copy(name)?;
        let file = open(&disk)?;
        for (entry, fate) in self.pending.iter().zip(cut.fates(&self.pending)) {
            match fate {
                Fate::Kept => apply(&self.data, &file, entry)?,
                Fate::Lost => {}
                Fate::Torn(sectors) => {
                    for part in parts(entry, &sectors) {
                        apply(&self.data, &file, &part)?;
                    }
                }
            }
        }
        Ok(disk)
    }

    fn advance(&mut self, to: usize) -> Result<()> {
        let durable = open(&self.durable)?;
        for (n, entry) in self.log.entries.iter().enumerate().take(to).skip(self.done) {
            if entry.flush {
                let flushed = std::mem::take(&mut self.pending);
                let made = flushed.iter().filter(|entry| self.lie != Some(n) || entry.durable);
                for entry in made {
                    apply(&self.data, &durable, entry)?;
                }
            }
            if entry.length > 0 {
                self.pending.push(*entry);
            }
        }
        self.done = to;
        Ok(())
    }
}

fn open(disk: &Disk) -> Result<File> {
    File::options().write(true).open(disk.path()).context("cannot open a disk")
}

fn file_name(disk: &Disk) -> Result<String> {
    let name = disk.path().file_name().and_then(|name| name.to_str());
    Ok(name.context("the disk's path has no name")?.to_owned())
}

/// The sectors of a write that are on the disk, each as a write.
fn parts(entry: &Entry, sectors: &[bool]) -> Vec<Entry> {
    let part = |n: usize| {
        let skip = n as u64 * SECTOR;
        Entry { offset: entry.offset + skip, length: SECTOR, data: entry.data + skip, ..*entry }
    };
    (0..sectors.len()).filter(|n| sectors[*n]).map(part).collect()
}

/// Does one request, and keeps the disk sparse.
fn apply(log: &File, disk: &File, entry: &Entry) -> Result<()> {
    if entry.discard {
        return zero(disk, entry.offset, entry.length);
    }
    let mut buffer = vec![0; CHUNK.min(entry.length as usize)];
    let mut done = 0;
    while done < entry.length {
        let bytes = &mut buffer[..CHUNK.min((entry.length - done) as usize)];
        log.read_exact_at(bytes, entry.data + done).context("cannot read the log")?;
        match bytes.iter().all(|b| *b == 0) {
            true => zero(disk, entry.offset + done, bytes.len() as u64)?,
            false => disk.write_all_at(bytes, entry.offset + done).context("cannot write a disk")?,
        }
        done += bytes.len() as u64;
    }
    Ok(())
}

fn zero(disk: &File, offset: u64, length: u64) -> Result<()> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(disk.as_fd(), flags, offset as i64, length as i64).context("cannot make a hole")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::*;
    use crate::cuts::cut::Loss;

    const SECTORS: usize = 8;

    /// A disk of ones, and a log that writes `value` over a sector for `(sector, value)`, and flushes for
    /// `None`.
    fn recorded(dir: &Path, steps: &[Option<(u64, u8)>]) -> (Disk, Log, File) {
        let base = Disk::at(dir.join("base.raw"));
        std::fs::write(base.path(), [1; SECTORS * 512]).unwrap();
        let mut data = tempfile::tempfile_in(dir).unwrap();
        let mut entries = vec![];
        for step in steps {
            let Some((sector, value)) = step else {
                entries.push(Entry { flush: true, ..Entry::default() });
                continue;
            };
            let at = entries.len() as u64 * 512;
            entries.push(Entry { offset: sector * 512, length: 512, data: at, ..Entry::default() });
            data.write_all_at(&[*value; 512], at).unwrap();
        }
        data.flush().unwrap();
        (base, Log { entries }, data)
    }

    /// The first byte of each of the first three sectors.
    fn sectors(replay: &mut Replay<'_>, entry: usize, loss: Loss) -> [u8; 3] {
        let disk = replay.cut(&Cut { entry, loss, seed: 3 }, "cut.raw").unwrap();
        let bytes = std::fs::read(disk.path()).unwrap();
        assert_eq!(bytes.len(), SECTORS * 512);
        [bytes[0], bytes[512], bytes[1024]]
    }

    const STEPS: [Option<(u64, u8)>; 6] =
        [Some((0, 5)), None, Some((1, 6)), Some((0, 7)), None, Some((2, 0))];

    #[test]
    fn flushed_writes_stay_and_others_may_go() {
        let dir = tempfile::tempdir().unwrap();
        let (base, log, data) = recorded(dir.path(), &STEPS);
        let mut replay = Replay::new(&base, &log, data, "t").unwrap();
        for (entry, all, none) in [
            (0, [1, 1, 1], [1, 1, 1]),
            (1, [1, 1, 1], [5, 1, 1]),
            (2, [5, 1, 1], [5, 1, 1]),
            (4, [5, 1, 1], [7, 6, 1]),
            (5, [7, 6, 1], [7, 6, 1]),
            (6, [7, 6, 1], [7, 6, 0]),
            // Back again.
            (3, [5, 1, 1], [5, 6, 1]),
        ] {
            assert_eq!(sectors(&mut replay, entry, Loss::All), all, "{entry}");
            assert_eq!(sectors(&mut replay, entry, Loss::None), none, "{entry}");
        }
        assert!(replay.cut(&Cut { entry: 7, loss: Loss::All, seed: 0 }, "cut.raw").is_err());
        assert_eq!(std::fs::read(base.path()).unwrap(), [1; SECTORS * 512]);
    }

    #[test]
    fn what_a_lying_flush_dropped_never_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (base, log, data) = recorded(dir.path(), &STEPS);
        let mut replay = Replay::new(&base, &log, data, "t").unwrap().lie(1);
        assert_eq!(sectors(&mut replay, 2, Loss::None), [1, 1, 1]);
        assert_eq!(sectors(&mut replay, 4, Loss::All), [1, 1, 1]);
        assert_eq!(sectors(&mut replay, 6, Loss::All), [7, 6, 1]);
    }

    #[test]
    fn a_torn_write_is_there_by_sectors_and_a_discard_zeroes() {
        let dir = tempfile::tempdir().unwrap();
        let (base, _, data) = recorded(dir.path(), &[Some((0, 5)), Some((1, 6)), Some((2, 7))]);
        let disk = open(&base).unwrap();
        let whole = Entry { offset: 512, length: 3 * 512, data: 0, ..Entry::default() };
        for part in parts(&whole, &[true, false, true]) {
            apply(&data, &disk, &part).unwrap();
        }
        apply(&data, &disk, &Entry { length: 512, discard: true, ..Entry::default() }).unwrap();
        let bytes = std::fs::read(base.path()).unwrap();
        assert_eq!([bytes[0], bytes[512], bytes[1024], bytes[1536]], [0, 5, 1, 7]);
    }
}
