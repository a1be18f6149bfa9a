//! The partition table (UEFI specification, section 5.3): GRUB finds its partitions, and the box its own.

use anyhow::Result;
use image_layout::disk::{self, Role, SECTOR};

/// Bytes of an entry.
const ENTRY: usize = 128;
/// Bytes of all entries.
const ENTRIES: usize = 128 * ENTRY;

/// What is wrong with the table; `read` gives bytes of the disk, which has `size`.
pub(super) fn problems(size: u64, read: impl Fn(u64, usize) -> Result<Vec<u8>>) -> Result<Vec<String>> {
    let mut problems = vec![];
    let first = Header::read(SECTOR, &read)?;
    let last = Header::read(size - SECTOR, &read)?;
    // The loader looks at no checksum and at no backup.
    match &first {
        Some(header) => {
            let before = disk::PARTITIONS.iter().filter(|p| p.role != Role::Data);
            problems.extend(before.flat_map(|p| header.wrong(p)));
        }
        None => problems.push("the partition table has no primary header".into()),
    }
    let whole = [&first, &last].into_iter().flatten().filter(|header| header.whole);
    if !whole.into_iter().any(|header| disk::PARTITIONS.iter().all(|p| header.wrong(p).is_none())) {
        problems.push("neither partition table is whole".into());
    }
    Ok(problems)
}

/// A header with its entries.
struct Header {
    whole: bool,
    entries: Vec<u8>,
}

impl Header {
    /// The header at `at`, if there is one.
    fn read(at: u64, read: &impl Fn(u64, usize) -> Result<Vec<u8>>) -> Result<Option<Header>> {
        let sector = read(at, SECTOR as usize)?;
        if !sector.starts_with(b"EFI PART") {
            return Ok(None);
        }
        let small = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| sector[at + i]));
        let mut summed = sector[..92].to_vec();
        summed[16..20].fill(0);
        let place = number(&sector, 72).saturating_mul(SECTOR);
        let plain = small(12) == 92 && (small(80), small(84)) == (128, ENTRY as u32);
        let Ok(entries) = read(place, ENTRIES) else { return Ok(None) };
        let whole = plain && crc(&summed) == small(16) && crc(&entries) == small(88);
        Ok(Some(Header { whole, entries }))
    }

    /// What is wrong with a partition's entry.
    fn wrong(&self, partition: &disk::Partition) -> Option<String> {
        let entry = &self.entries[(partition.number as usize - 1) * ENTRY..][..ENTRY];
        let start = disk::start(partition.role);
        let (first, last) = (number(entry, 32), number(entry, 40));
        let grown = partition.role == Role::Data && last >= (start + partition.size) / SECTOR - 1;
        let right = first == start / SECTOR && (grown || last == (start + partition.size) / SECTOR - 1);
        let name: Vec<u16> = entry[56..]
            .chunks_exact(2)
            .map(|c| u16::from_le_bytes([c[0], c[1]]))
            .take_while(|c| *c != 0)
            .collect();
        let named = String::from_utf16_lossy(&name) == partition.name;
        (!right || !named).then(|| format!("the partition table has another {}", partition.name))
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 2 << 30;

    /// A table as the builder makes it, by what is at its places.
    fn table() -> Vec<(u64, Vec<u8>)> {
        let mut entries = vec![0; ENTRIES];
        for p in &disk::PARTITIONS {
            let entry = &mut entries[(p.number as usize - 1) * ENTRY..][..ENTRY];
            let start = disk::start(p.role);
            entry[32..40].copy_from_slice(&(start / SECTOR).to_le_bytes());
            entry[40..48].copy_from_slice(&((start + p.size) / SECTOR - 1).to_le_bytes());
            for (n, unit) in p.name.encode_utf16().enumerate() {
                entry[56 + 2 * n..58 + 2 * n].copy_from_slice(&unit.to_le_bytes());
            }
        }
        let header = |entries_at: u64| {
            let mut sector = vec![0; SECTOR as usize];
            sector[..8].copy_from_slice(b"EFI PART");
            sector[12..16].copy_from_slice(&92u32.to_le_bytes());
            sector[72..80].copy_from_slice(&(entries_at / SECTOR).to_le_bytes());
            sector[80..84].copy_from_slice(&128u32.to_le_bytes());
            sector[84..88].copy_from_slice(&(ENTRY as u32).to_le_bytes());
            sector[88..92].copy_from_slice(&crc(&entries).to_le_bytes());
            let sum = crc(&sector[..92]);
            sector[16..20].copy_from_slice(&sum.to_le_bytes());
            sector
        };
        let behind = SIZE - SECTOR - ENTRIES as u64;
        vec![
            (SECTOR, header(1024)),
            (1024, entries.clone()),
            (behind, entries.clone()),
            (SIZE - SECTOR, header(behind)),
        ]
    }

    fn check(change: impl Fn(&mut Vec<(u64, Vec<u8>)>), expect: &[&str]) {
        let mut table = table();
        change(&mut table);
        let read = |at: u64, length: usize| {
            let found = table.iter().find(|(place, bytes)| *place == at && bytes.len() == length);
            Ok(found.map_or_else(|| vec![0; length], |(_, bytes)| bytes.clone()))
        };
        assert_eq!(problems(SIZE, read).unwrap(), expect);
    }

    #[test]
    fn one_whole_table_is_enough_when_the_loader_finds_its_partitions() {
        check(|_| {}, &[]);
        let data = 6 * ENTRY + 40;
        // The primary's entry of data is torn, then also the backup.
        check(|t| t[1].1[data] ^= 1, &[]);
        check(
            |t| {
                t[1].1[data] ^= 1;
                t[3].1.fill(0);
            },
            &["neither partition table is whole"],
        );
        check(|t| t[0].1.fill(0), &["the partition table has no primary header"]);
        check(|t| t[1].1[ENTRY + 32] ^= 1, &["the partition table has another esp"]);
    }
}
