//! What the README says of the disk is what the disk is.

use image_layout::disk::{MIB, PARTITIONS, SLOT_FULL_PERCENT, esp};

const README: &str = include_str!("../../README.md");

/// Number, name and MiB of each partition in the table, whose rows can be of several: `| 3, 4 | … | 96 MiB each | … |`.
fn table() -> Vec<(u32, String, u64)> {
    let mut partitions = vec![];
    for row in README.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let numbers: Vec<u32> = cells[1].split(", ").map_while(|number| number.parse().ok()).collect();
        let names = cells[2].split(", ").map(|name| name.trim_matches('`').to_owned());
        let size = || cells[3].split(" MiB").next().unwrap().parse().unwrap();
        partitions.extend(numbers.into_iter().zip(names).map(|(number, name)| (number, name, size())));
    }
    partitions
}

#[test]
fn the_table_of_partitions_is_that_of_the_disk() {
    let disk: Vec<_> = PARTITIONS.iter().map(|p| (p.number, p.name.to_owned(), p.size / MIB)).collect();
    assert_eq!(table(), disk);
}

#[test]
fn numbers_in_the_text_are_those_of_the_disk() {
    let thousands = |n: u64| format!("{},{:03}", n / 1000, n % 1000);
    let [first, second] = esp::GRUBENV_OFFSETS.map(thousands);
    for text in [
        format!("in two copies at bytes {first} and {second} of the ESP"),
        format!("never more than {SLOT_FULL_PERCENT} % full"),
    ] {
        assert!(README.contains(&text), "the README lacks: {text}");
    }
}
