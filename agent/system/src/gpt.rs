//! The GUID partition table, as far as this disk needs it: read, repaired, and its last partition grown.
//! UEFI specification 2.10, section 5.3.
//!
//! Invariant: one valid header with its entries is on the disk at every moment of a change: the backup is
//! written and synced before the primary. Entries that are not ours are kept as they are. Absent: making
//! a table, other sector sizes than 512 bytes, and the protective MBR, which holds the boot code and stays
//! as it was built.

use std::fmt;

use image_layout::disk::{ALIGNMENT, PARTITIONS, Role, SECTOR};

const HEADER_LENGTH: usize = 92;
const ENTRY_LENGTH: usize = 128;
const ENTRIES: usize = 128;
const ENTRIES_SECTORS: u64 = (ENTRIES * ENTRY_LENGTH) as u64 / SECTOR;
const SIGNATURE: &[u8; 8] = b"EFI PART";

/// Why there is no usable table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GptError {
    /// The header's signature is missing.
    #[error("there is no partition table")]
    Signature,
    /// Header or entries do not match their checksums.
    #[error("the partition table is damaged")]
    Checksum,
    /// The header says what this code does not know.
    #[error("the partition table has an unknown form")]
    Form,
    /// The disk ends before the table does.
    #[error("the disk is too short for its partition table")]
    Short,
}

/// A partition as the table has it; bounds in sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number, from 1.
    pub number: u32,
    /// First sector.
    pub start: u64,
    /// Last sector.
    pub end: u64,
}

impl Entry {
    /// Its length in sectors.
    pub fn sectors(&self) -> u64 {
        self.end - self.start + 1
    }
}

/// A whole table: what both headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    disk_guid: [u8; 16],
    first_usable: u64,
    last_usable: u64,
    /// Where the other header is, from the point of view of the one that was read.
    alternate: u64,
    entries: Vec<u8>,
}

/// The sectors that a table is written to: where, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// First sector.
    pub sector: u64,
    /// Whole sectors.
    pub bytes: Vec<u8>,
}

/// Both copies as found on a disk.
#[derive(Clone, Debug)]
pub struct Found {
    /// The table at the disk's start.
    pub primary: Result<Table, GptError>,
    /// The table at the place that the primary names, else at the disk's end.
    pub backup: Result<Table, GptError>,
    /// Sectors of the disk.
    pub sectors: u64,
}

/// What has to be done to a table so that it fills its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The table to write.
    pub table: Table,
    /// Why; more than one thing may be.
    pub reasons: Vec<Reason>,
}

/// Why a table has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The table at the disk's start is not whole.
    Primary,
    /// The other one is not whole, or not there.
    Backup,
    /// They are whole and not equal.
    Differed,
    /// There is room behind the data partition.
    Larger,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Primary => "the primary table was damaged",
            Reason::Backup => "the backup table was damaged or missing",
            Reason::Differed => "the two tables differed",
            Reason::Larger => "the disk is larger than its partitions",
        })
    }
}

/// Reads both copies from a disk of `sectors`, by a function that reads whole sectors.
pub fn read<E>(sectors: u64, mut read: impl FnMut(u64, u64) -> Result<Vec<u8>, E>) -> Result<Found, E> {
    if sectors < 2 * (ENTRIES_SECTORS + 2) {
        return Ok(Found { primary: Err(GptError::Short), backup: Err(GptError::Short), sectors });
    }
    let mut copy = |lba: u64| -> Result<Result<Table, GptError>, E> {
        match header(&read(lba, 1)?, lba, sectors) {
            Err(error) => Ok(Err(error)),
            Ok(header) => Ok(header.with_entries(read(header.entries_lba, ENTRIES_SECTORS)?)),
        }
    };
    let primary = copy(1)?;
    let place = primary.as_ref().map_or(sectors - 1, |t| t.alternate.clamp(2, sectors - 1));
    let backup = copy(place)?;
    Ok(Found { primary, backup, sectors })
}

impl Found {
    /// The table to go by: the primary, else the backup.
    pub fn table(&self) -> Result<&Table, GptError> {
        self.primary.as_ref().or(self.backup.as_ref()).map_err(GptError::clone)
    }

    /// What to write so that both copies are valid and the data partition reaches the disk's end; `None`
    /// when all of it is so.
    pub fn change(&self) -> Result<Option<Change>, GptError> {
        let now = self.table()?;
        let ends = (1..=ENTRIES as u32).filter_map(|n| now.raw(n)).map(|entry| bounds(entry).1);
        if ends.max().unwrap_or(0) > self.sectors - ENTRIES_SECTORS - 2 {
            // The backup table would overwrite what a partition holds.
            return Err(GptError::Short);
        }
        let mut reasons = Vec::new();
        if self.primary.is_err() {
            reasons.push(Reason::Primary);
        }
        match &self.backup {
            Err(_) => reasons.push(Reason::Backup),
            Ok(backup) if backup.entries != now.entries => reasons.push(Reason::Differed),
            Ok(_) => {}
        }
        let grown = now.grown(self.sectors);
        if grown.entries != now.entries || grown.last_usable != now.last_usable {
            reasons.push(Reason::Larger);
        }
        Ok((!reasons.is_empty()).then_some(Change { table: grown, reasons }))
    }
}

struct Header {
    table: Table,
    entries_lba: u64,
    entries_crc: u32,
}

impl Header {
    fn with_entries(&self, entries: Vec<u8>) -> Result<Table, GptError> {
        if crc32fast::hash(&entries) != self.entries_crc {
            return Err(GptError::Checksum);
        }
        Ok(Table { entries, ..self.table.clone() })
    }
}

fn header(sector: &[u8], lba: u64, sectors: u64) -> Result<Header, GptError> {
    let u32_at = |at: usize| u32::from_le_bytes(sector[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(sector[at..at + 8].try_into().expect("eight bytes"));
    if sector.len() as u64 != SECTOR || &sector[..8] != SIGNATURE {
        return Err(GptError::Signature);
    }
    if u32_at(12) as usize != HEADER_LENGTH {
        return Err(GptError::Form);
    }
    let mut unsigned = sector[..HEADER_LENGTH].to_vec();
    unsigned[16..20].fill(0);
    if crc32fast::hash(&unsigned) != u32_at(16) || u64_at(24) != lba {
        return Err(GptError::Checksum);
    }
    if u32_at(80) as usize != ENTRIES || u32_at(84) as usize != ENTRY_LENGTH {
        return Err(GptError::Form);
    }
    let entries_lba = u64_at(72);
    if entries_lba < 2 || entries_lba.saturating_add(ENTRIES_SECTORS) > sectors {
        return Err(GptError::Short);
    }
    let table = Table {
        disk_guid: sector[56..72].try_into().expect("sixteen bytes"),
        first_usable: u64_at(40),
        last_usable: u64_at(48),
        alternate: u64_at(32),
        entries: Vec::new(),
    };
    Ok(Header { table, entries_lba, entries_crc: u32_at(88) })
}

impl Table {
    /// The partition of this role, by its number, type and name; `None` also when it is malformed.
    pub fn partition(&self, role: Role) -> Option<Entry> {
        let expect = image_layout::disk::partition(role);
        let entry = self.raw(expect.number)?;
        let name: Vec<u16> = entry[56..].chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
        let name = String::from_utf16_lossy(&name);
        let (start, end) = bounds(entry);
        (entry[..16] == guid(expect.type_guid)
            && name.trim_end_matches('\0') == expect.name
            && (1..=end).contains(&start))
        .then_some(Entry { number: expect.number, start, end })
    }

    /// Whether every partition of the layout is there.
    pub fn is_complete(&self) -> bool {
        PARTITIONS.iter().all(|p| self.partition(p.role).is_some())
    }

    /// This table with its data partition reaching as far as a disk of `sectors` and the partitions
    /// behind it allow, never shorter than it is. The end stays aligned, so that the last 1 MiB is free
    /// but for the backup table.
    pub fn grown(&self, sectors: u64) -> Table {
        let mut table = self.clone();
        let last_usable = sectors - ENTRIES_SECTORS - 2;
        let Some(data) = self.partition(Role::Data) else { return table };
        let behind = (1..=ENTRIES as u32)
            .filter_map(|n| self.raw(n))
            .filter(|e| e[..16] != [0; 16])
            .map(|e| bounds(e).0)
            .filter(|&start| start > data.start)
            .min();
        let limit = behind.unwrap_or(u64::MAX).min(last_usable + 1);
        let end = (limit / (ALIGNMENT / SECTOR) * (ALIGNMENT / SECTOR)).saturating_sub(1);
        if end > data.end {
            let at = (data.number as usize - 1) * ENTRY_LENGTH + 40;
            table.entries[at..at + 8].copy_from_slice(&end.to_le_bytes());
        }
        table.last_usable = last_usable;
        table
    }

    /// The sectors to write on a disk of `sectors`, in the order in which to write and sync them: backup
    /// entries, backup header, primary entries, primary header.
    pub fn writes(&self, sectors: u64) -> [Write; 4] {
        let last = sectors - 1;
        let backup_entries = last - ENTRIES_SECTORS;
        [
            Write { sector: backup_entries, bytes: self.entries.clone() },
            Write { sector: last, bytes: self.encode(last, 1, backup_entries) },
            Write { sector: 2, bytes: self.entries.clone() },
            Write { sector: 1, bytes: self.encode(1, last, 2) },
        ]
    }

    fn encode(&self, lba: u64, alternate: u64, entries_lba: u64) -> Vec<u8> {
        let mut sector = vec![0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, SIGNATURE);
        put(8, &[0, 0, 1, 0]);
        put(12, &(HEADER_LENGTH as u32).to_le_bytes());
        put(24, &lba.to_le_bytes());
        put(32, &alternate.to_le_bytes());
        put(40, &self.first_usable.to_le_bytes());
        put(48, &self.last_usable.to_le_bytes());
        put(56, &self.disk_guid);
        put(72, &entries_lba.to_le_bytes());
        put(80, &(ENTRIES as u32).to_le_bytes());
        put(84, &(ENTRY_LENGTH as u32).to_le_bytes());
        put(88, &crc32fast::hash(&self.entries).to_le_bytes());
        let crc = crc32fast::hash(&sector[..HEADER_LENGTH]);
        sector[16..20].copy_from_slice(&crc.to_le_bytes());
        sector
    }

    fn raw(&self, number: u32) -> Option<&[u8]> {
        self.entries.chunks_exact(ENTRY_LENGTH).nth((number as usize).checked_sub(1)?)
    }
}

fn bounds(entry: &[u8]) -> (u64, u64) {
    let at = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("eight bytes"));
    (at(32), at(40))
}

/// The bytes of a GUID on disk: its first three groups are little-endian.
fn guid(text: &str) -> [u8; 16] {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).expect("GUIDs of the layout are ASCII");
        *byte = u8::from_str_radix(pair, 16).expect("GUIDs of the layout are hex");
    }
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
mod tests;
