use super::*;
use image_layout::Slot;
use image_layout::disk::{MAX_DISK, MIB, MIN_DISK};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// A disk that holds only what was written to it.
#[derive(Clone, Default)]
struct Disk {
    sectors: u64,
    content: BTreeMap<u64, Vec<u8>>,
}

impl Disk {
    fn write(&mut self, write: &Write) {
        for (i, sector) in write.bytes.chunks(SECTOR as usize).enumerate() {
            self.content.insert(write.sector + i as u64, sector.to_vec());
        }
    }

    fn found(&self) -> Found {
        let zero = vec![0; SECTOR as usize];
        let sectors = |lba, count| -> Result<Vec<u8>, Infallible> {
            Ok((lba..lba + count).flat_map(|s| self.content.get(&s).unwrap_or(&zero).clone()).collect())
        };
        let Ok(found) = read(self.sectors, sectors);
        found
    }

    fn data(&self) -> Entry {
        self.found().table().unwrap().partition(Role::Data).unwrap()
    }
}

fn built_size() -> u64 {
    let data = image_layout::disk::partition(Role::Data);
    (image_layout::disk::start(Role::Data) + data.size + MIB) / SECTOR
}

/// The disk as it leaves the builder.
fn built() -> Disk {
    let sectors = built_size();
    let mut entries = vec![0; ENTRIES * ENTRY_LENGTH];
    for p in &PARTITIONS {
        let entry = &mut entries[(p.number as usize - 1) * ENTRY_LENGTH..][..ENTRY_LENGTH];
        let start = image_layout::disk::start(p.role) / SECTOR;
        entry[..16].copy_from_slice(&guid(p.type_guid));
        entry[16] = p.number as u8;
        entry[32..40].copy_from_slice(&start.to_le_bytes());
        entry[40..48].copy_from_slice(&(start + p.size / SECTOR - 1).to_le_bytes());
        for (i, unit) in p.name.encode_utf16().enumerate() {
            entry[56 + 2 * i..58 + 2 * i].copy_from_slice(&unit.to_le_bytes());
        }
    }
    let table = Table {
        disk_guid: [7; 16],
        first_usable: 34,
        last_usable: sectors - 34,
        alternate: sectors - 1,
        entries,
    };
    let mut disk = Disk { sectors, ..Disk::default() };
    table.writes(sectors).iter().for_each(|w| disk.write(w));
    disk
}

#[test]
fn guids_are_mixed_endian() {
    let esp = guid("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    assert_eq!(esp[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
    assert_eq!(esp[8..], [0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b]);
}

#[test]
fn a_disk_as_built_is_complete_and_needs_nothing() {
    let found = built().found();
    assert!(found.table().unwrap().is_complete());
    assert_eq!(found.change(), Ok(None));
    let root = found.table().unwrap().partition(Role::Root(Slot::B)).unwrap();
    assert_eq!(root.start * SECTOR, image_layout::disk::start(Role::Root(Slot::B)));
    assert_eq!(root.sectors() * SECTOR, 512 * MIB);
}

#[test]
fn data_grows_to_the_last_whole_mebibyte_of_any_disk_and_only_once() {
    for bytes in [MIN_DISK, MIN_DISK + 512, 10_000_000_000 / 512 * 512, 1 << 40, MAX_DISK] {
        let mut disk = Disk { sectors: bytes / SECTOR, ..built() };
        let change = disk.found().change().unwrap().expect("the disk is larger");
        assert_eq!(change.reasons, [Reason::Larger]);
        change.table.writes(disk.sectors).iter().for_each(|w| disk.write(w));
        let data = disk.data();
        let end = (data.end + 1) * SECTOR;
        assert_eq!(end % MIB, 0);
        let free = bytes - end;
        assert!((33 * SECTOR..=MIB + 33 * SECTOR).contains(&free), "{bytes}: {free} free");
        assert_eq!(data.start, built().data().start);
        assert_eq!(disk.found().change(), Ok(None), "{bytes}");
        assert_eq!(disk.found().backup.unwrap().last_usable, disk.sectors - 34);
    }
}

#[test]
fn cut_after_any_write_a_whole_table_is_left_and_the_next_boot_finishes() {
    let larger = Disk { sectors: MIN_DISK / SECTOR, ..built() };
    let change = larger.found().change().unwrap().unwrap();
    let writes = change.table.writes(larger.sectors);
    for cut in 0..=writes.len() {
        let mut disk = larger.clone();
        writes[..cut].iter().for_each(|w| disk.write(w));
        assert!(disk.found().table().unwrap().is_complete(), "cut after {cut}");
        if let Some(again) = disk.found().change().unwrap() {
            again.table.writes(disk.sectors).iter().for_each(|w| disk.write(w));
        }
        assert_eq!(disk.found().change(), Ok(None), "cut after {cut}");
        assert_eq!(disk.data().end, change.table.partition(Role::Data).unwrap().end);
    }
}

#[test]
fn either_table_damaged_is_restored_from_the_other_and_both_is_an_error() {
    let whole = built();
    let last = whole.sectors - 1;
    for (lost, reason) in [
        (&[1][..], Reason::Primary),
        (&[3], Reason::Primary),
        (&[last], Reason::Backup),
        (&[last - 31], Reason::Backup),
    ] {
        let mut disk = whole.clone();
        lost.iter().for_each(|s| drop(disk.content.insert(*s, vec![0x55; SECTOR as usize])));
        let change = disk.found().change().unwrap().expect("something is damaged");
        assert_eq!(change.reasons, [reason]);
        change.table.writes(disk.sectors).iter().for_each(|w| disk.write(w));
        assert_eq!(disk.content, whole.content);
    }
    let mut disk = whole;
    disk.content.clear();
    assert_eq!(disk.found().change(), Err(GptError::Signature));
}

#[test]
fn data_stops_before_a_partition_that_someone_appended() {
    let mut disk = Disk { sectors: MIN_DISK / SECTOR, ..built() };
    let mut table = disk.found().change().unwrap().unwrap().table;
    let start = disk.sectors - 64 * MIB / SECTOR;
    let mut entries = built().found().table().unwrap().entries.clone();
    let entry = &mut entries[7 * ENTRY_LENGTH..8 * ENTRY_LENGTH];
    entry[..16].fill(9);
    entry[32..40].copy_from_slice(&start.to_le_bytes());
    entry[40..48].copy_from_slice(&(start + 99).to_le_bytes());
    table.entries = entries;
    table.writes(disk.sectors).iter().for_each(|w| disk.write(w));
    let grown = disk.found().change().unwrap().unwrap().table;
    let data = grown.partition(Role::Data).unwrap();
    assert!(data.end < start && start - data.end <= MIB / SECTOR, "{data:?} {start}");
}

#[test]
fn nothing_is_written_to_a_disk_that_ends_before_its_partitions() {
    let mut disk = built();
    disk.sectors -= 40 * MIB / SECTOR;
    assert_eq!(disk.found().change(), Err(GptError::Short));
}

#[test]
fn hostile_headers_are_errors() {
    let whole = built();
    let good = whole.content[&1].clone();
    let sign = |mut sector: Vec<u8>| {
        sector[16..20].fill(0);
        let crc = crc32fast::hash(&sector[..HEADER_LENGTH]);
        sector[16..20].copy_from_slice(&crc.to_le_bytes());
        sector
    };
    for (at, value, error) in [
        (12, 0xffff_ffff_u32, GptError::Form),
        (80, 0x1000_0000, GptError::Form),
        (84, 0, GptError::Form),
        (76, 0xffff_ffff, GptError::Short),
        (24, 2, GptError::Checksum),
    ] {
        let mut sector = good.clone();
        sector[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let mut disk = whole.clone();
        disk.content.insert(1, sign(sector));
        assert_eq!(disk.found().primary, Err(error), "{at}");
    }
    let tiny = Disk { sectors: 20, ..built() };
    assert_eq!(tiny.found().table(), Err(GptError::Short));
}
