//! Power cuts at the level of the disk: of what was not flushed any part may be gone, and nothing of what the
//! box, or an application of it, had acknowledged.

mod common;

use std::time::Instant;

use common::lab;
use qemu_tests::cuts::{
    APPLY, Checker, Cut, FIRST_BOOT, IDENTITY, LARGER_DISK, Loss, PULL, Recording, SECRETS, Stage, Subject,
    VOLUME, boot_problems,
};
use qemu_tests::{Lab, Stop};

/// Records, looks at `count` disks as after a cut, and boots `boots` of them.
fn check(subjects: &[Subject], count: usize, boots: usize) {
    let (lab, registry) = lab();
    let stop = Stop::default();
    let stage = Stage { lab: &lab, registry: &registry, stop: &stop };
    for subject in subjects {
        let start = Instant::now();
        let recording = subject.record(&stage).unwrap();
        println!(
            "{}: recorded in {:?}, {} requests",
            subject.name,
            start.elapsed(),
            recording.log.entries.len()
        );
        cuts(&lab, &recording, count, boots, &stop);
        recording.remove().unwrap();
    }
}

fn cuts(lab: &Lab, recording: &Recording, count: usize, boots: usize, stop: &Stop) {
    let start = Instant::now();
    let checker = Checker::new(lab, recording).unwrap();
    let mut replay = recording.replay("cuts").unwrap();
    let all =
        Cut::spread(recording.log.entries.len(), &recording.moments(), count, common::Random::new().seed());
    for (n, cut) in all.iter().enumerate() {
        let disk = replay.cut(cut, "cut.raw").unwrap();
        let problems = checker.problems(&disk, cut).unwrap();
        assert!(problems.is_empty(), "{} {cut:?}: {}", recording.name, problems.join("\n"));
        if n % (count / boots) == count / boots / 2 {
            let since = Instant::now();
            let problems = boot_problems(lab, recording, &disk, cut, stop).unwrap();
            assert!(problems.is_empty(), "{} {cut:?} booted: {}", recording.name, problems.join("\n"));
            println!("{}: booted {cut:?} in {:?}", recording.name, since.elapsed());
        }
    }
    println!("{}: {count} cuts in {:?}", recording.name, start.elapsed());
}

#[test]
fn a_first_boot_may_be_cut_at_any_moment() {
    check(&[FIRST_BOOT], 100, 2);
}

#[test]
fn what_an_application_has_synced_outlives_a_cut() {
    check(&[VOLUME], 100, 2);
}

#[test]
fn full_documents_images_secrets_and_a_new_identity_outlive_a_cut() {
    check(&[APPLY, PULL, SECRETS, IDENTITY], 60, 2);
}

#[test]
fn full_a_larger_disk_may_be_cut_at_any_moment() {
    check(&[LARGER_DISK], 60, 2);
}

/// A disk that says of a single flush that it is done, and drops what was to be made durable.
#[test]
fn a_disk_that_lies_is_caught() {
    let (lab, registry) = lab();
    let stop = Stop::default();
    let recording = SECRETS.record(&Stage { lab: &lab, registry: &registry, stop: &stop }).unwrap();
    let checker = Checker::new(&lab, &recording).unwrap();
    let held = recording.acknowledged.iter().find(|a| a.record.path() == Some("secrets/probe.json"));
    let entry = held.expect("the secrets were acknowledged").from;
    let cut = Cut { entry, loss: Loss::All, seed: 0 };
    let honest = recording.replay("honest").unwrap().cut(&cut, "cut.raw").unwrap();
    assert_eq!(checker.problems(&honest, &cut).unwrap(), Vec::<String>::new());
    // Which flush made the secrets durable is not known: one of those before they were acknowledged.
    let flushes = (0..entry).rev().filter(|n| recording.log.entries[*n].flush);
    let mut tried = 0;
    let caught = flushes.take(60).find_map(|flush| {
        tried += 1;
        let disk = recording.replay("lies").unwrap().lie(flush).cut(&cut, "cut.raw").unwrap();
        let problems = checker.problems(&disk, &cut).unwrap();
        problems.into_iter().find(|problem| problem.contains("secrets/probe.json"))
    });
    println!("caught by flush {tried} before the acknowledgement: {caught:?}");
    assert_eq!(caught.as_deref(), Some("`secrets/probe.json` is not there"));
}
