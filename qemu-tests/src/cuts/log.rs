//! The log of QEMU's `blklogwrites`: every write, discard and flush of a disk, in the order in which they
//! were done.
//!
//! The format is that of the kernel's dm-log-writes (`Documentation/admin-guide/device-mapper/log-writes.rst`):
//! a superblock in the first sector, then entries, each a sector of its own followed by the data written.
//! QEMU leaves the field for the data's length zero: what is no discard has as much as it covers.
//!
//! An entry that is not whole ends the log: the machine may have been killed while it was written.

use std::io::{self, Read, Seek, SeekFrom};

/// `rhswfsj`.
const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// More is no log of a test.
const MOST_ENTRIES: u64 = 4_000_000;
/// Bytes of one write; QEMU splits at less.
const MOST_DATA: u64 = 1 << 31;

/// A log as a list; the data stay in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// In the order in which they were done.
    pub entries: Vec<Entry>,
}

/// One request to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Where it begins on the disk, in bytes.
    pub offset: u64,
    /// Bytes that it covers; 0 for a flush alone.
    pub length: u64,
    /// What was written before it is durable when it is done.
    pub flush: bool,
    /// It is durable itself when it is done.
    pub durable: bool,
    /// It has no data.
    pub discard: bool,
    /// Where its data begin in the log, in bytes.
    pub data: u64,
}

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LogError {
    #[error("failed to read the log")]
    Read(#[from] io::Error),
    #[error("the log does not begin as one")]
    Magic,
    #[error("the log has sectors of {0} bytes")]
    Sector(u32),
    #[error("the log counts {0} entries, more than are read")]
    Many(u64),
    #[error("entry {0} covers what no disk has")]
    Range(usize),
}

impl Log {
    /// Reads a log to the last whole entry.
    pub fn read(mut from: impl Read + Seek) -> Result<Log, LogError> {
        let end = from.seek(SeekFrom::End(0))?;
        let (count, sector) = superblock(&mut from)?;
        let mut entries = vec![];
        let mut at = sector;
        while (entries.len() as u64) < count && at + sector <= end {
            from.seek(SeekFrom::Start(at))?;
            let [start, sectors, flags] = numbers(&mut from)?;
            let wrong = || LogError::Range(entries.len());
            let offset = start.checked_mul(sector).ok_or_else(wrong)?;
            let length = sectors.checked_mul(sector).ok_or_else(wrong)?;
            offset.checked_add(length).ok_or_else(wrong)?;
            let discard = flags & DISCARD != 0;
            let data = if discard { 0 } else { length };
            if data > MOST_DATA {
                return Err(wrong());
            }
            let flush = flags & FLUSH != 0;
            // Counted before it was written, and the machine was killed in between.
            if at + sector + data > end || (length == 0 && !flush) {
                break;
            }
            let durable = flags & FUA != 0;
            entries.push(Entry { offset, length, flush, durable, discard, data: at + sector });
            at += sector + data;
        }
        Ok(Log { entries })
    }

    /// How many entries a log counts now: those of all requests that the guest has seen done, and perhaps
    /// of some that it has not. A log that has not begun counts none.
    pub fn count(mut from: impl Read + Seek) -> Result<usize, LogError> {
        match from.seek(SeekFrom::End(0))? {
            0 => Ok(0),
            _ => Ok(superblock(&mut from)?.0 as usize),
        }
    }
}

/// Entries and bytes of a sector.
fn superblock(from: &mut (impl Read + Seek)) -> Result<(u64, u64), LogError> {
    from.seek(SeekFrom::Start(0))?;
    let [magic, version, count] = numbers(from)?;
    if magic != MAGIC || version != VERSION {
        return Err(LogError::Magic);
    }
    let mut sector = [0; 4];
    from.read_exact(&mut sector)?;
    match (u32::from_le_bytes(sector), count) {
        (_, MOST_ENTRIES..) => Err(LogError::Many(count)),
        (sector @ (512 | 1024 | 2048 | 4096), _) => Ok((count, sector.into())),
        (sector, _) => Err(LogError::Sector(sector)),
    }
}

fn numbers(from: &mut impl Read) -> io::Result<[u64; 3]> {
    let mut bytes = [0; 24];
    from.read_exact(&mut bytes)?;
    let number = |n: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[8 * n + i]));
    Ok([number(0), number(1), number(2)])
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn log(count: u64, entries: &[(u64, u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![];
        for number in [MAGIC, VERSION, count] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(512u32.to_le_bytes());
        bytes.resize(512, 0);
        for (start, sectors, flags) in entries {
            let header = bytes.len();
            for number in [start, sectors, flags, &0] {
                bytes.extend(number.to_le_bytes());
            }
            let data = if flags & DISCARD == 0 { *sectors as usize * 512 } else { 0 };
            bytes.resize(header + 512 + data, 7);
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Entry>, LogError> {
        Log::read(Cursor::new(bytes)).map(|log| log.entries)
    }

    #[test]
    fn writes_flushes_and_discards_are_told_apart() {
        let entries = read(&log(4, &[(8, 2, 0), (0, 0, 1), (16, 1, 2), (9, 100, 4)])).unwrap();
        let plain = Entry { offset: 4096, length: 1024, data: 1024, ..Entry::default() };
        let flush = Entry { flush: true, data: 2560, ..Entry::default() };
        let durable = Entry { offset: 8192, length: 512, durable: true, data: 3072, ..Entry::default() };
        let discard = Entry { offset: 9 * 512, length: 51200, discard: true, data: 4096, ..Entry::default() };
        assert_eq!(entries, [plain, flush, durable, discard]);
    }

    #[test]
    fn a_log_ends_where_it_was_cut_or_stops_counting() {
        let whole = log(2, &[(8, 2, 0), (0, 1, 0)]);
        assert_eq!(read(&whole).unwrap().len(), 2);
        for cut in [1, 512, 513, 1023] {
            assert_eq!(read(&whole[..whole.len() - cut]).unwrap().len(), 1, "{cut}");
        }
        assert_eq!(read(&log(1, &[(8, 2, 0), (0, 1, 0)])).unwrap().len(), 1);
        assert_eq!(read(&log(3, &[(8, 2, 0), (0, 0, 0), (0, 0, 1)])).unwrap().len(), 1);
        assert_eq!(Log::count(Cursor::new(log(9, &[]))).unwrap(), 9);
        assert_eq!(Log::count(Cursor::new([])).unwrap(), 0);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        assert!(matches!(read(&[0; 512]), Err(LogError::Magic)));
        assert!(matches!(read(b"short"), Err(LogError::Read(_))));
        assert!(matches!(read(&log(u64::MAX, &[])), Err(LogError::Many(_))));
        let mut odd = log(1, &[]);
        odd[24] = 1;
        assert!(matches!(read(&odd), Err(LogError::Sector(513))));
        for (start, sectors, flags) in [(u64::MAX, 1, 0), (1, u64::MAX, 4), (0, MOST_DATA / 512 + 1, 0)] {
            let mut bytes = log(1, &[(0, 0, 0)]);
            for (at, number) in [(512, start), (520, sectors), (528, flags)] {
                bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            assert!(matches!(read(&bytes), Err(LogError::Range(0))), "{start} {sectors} {flags}");
        }
    }
}
