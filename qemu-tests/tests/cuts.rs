//! Power cuts at the level of the disk: whatever was not flushed may be gone.

mod common;

use common::lab;
use qemu_tests::cuts::{Checker, Cut, Loss, RECORDINGS};

#[test]
fn full_try() {
    let (lab, registry) = lab();
    let start = std::time::Instant::now();
    let name = std::env::var("SUBJECT").unwrap();
    let recording = RECORDINGS.iter().find(|r| r.name == name).unwrap().record(&lab, &registry).unwrap();
    println!(
        "{} entries in {:?}, {:?}",
        recording.log.entries.len(),
        start.elapsed(),
        recording.acknowledged
    );
    let checker = Checker::new(&lab, &recording).unwrap();
    let mut replay = recording.replay("x").unwrap();
    let all = recording.log.entries.len();
    for n in 0..20 {
        let start = std::time::Instant::now();
        let cut = Cut { entry: all * n / 19, loss: Loss::ALL[n % 4], seed: n as u64 };
        let disk = replay.cut(&cut, "cut.raw").unwrap();
        let made = start.elapsed();
        println!("{cut:?} {made:?} {:?}: {:?}", checker.problems(&disk, &cut).unwrap(), start.elapsed());
    }
}
