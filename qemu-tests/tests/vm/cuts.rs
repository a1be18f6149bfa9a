//! Power cuts at the level of the disk: of what was not flushed any part may be gone, and nothing of what the
//! box, or an application of it, had acknowledged.

use std::process::Command;
use std::time::Instant;

use crate::common::{Random, lab};
use qemu_tests::cuts::{
    APPLY, Acknowledged, Checker, Cut, FIRST_BOOT, IDENTITY, LARGER_DISK, Loss, PULL, Record, Recording,
    SECRETS, Stage, Subject, UPDATE, VOLUME, boot_problems,
};
use qemu_tests::{Lab, Registry, Stop};

/// Records, looks at `count` disks as after a cut, and boots `boots` of them.
fn check(subjects: &[Subject], count: usize, boots: usize) {
    let (lab, registry) = lab();
    for subject in subjects {
        let recording = record(&lab, &registry, subject);
        cuts(&lab, &recording, count, boots);
        recording.remove().unwrap();
    }
}

fn record(lab: &Lab, registry: &Registry, subject: &Subject) -> Recording {
    let start = Instant::now();
    let recording = subject.record(&Stage { lab, registry, stop: &Stop::default() }).unwrap();
    let requests = recording.log.entries.len();
    println!("{}: {requests} requests recorded in {:?}", subject.name, start.elapsed());
    recording
}

fn cuts(lab: &Lab, recording: &Recording, count: usize, boots: usize) {
    let start = Instant::now();
    let seed = Random::new().seed();
    let checker = Checker::new(lab, recording).unwrap();
    let mut replay = recording.replay("cuts").unwrap();
    let all = Cut::spread(recording.log.entries.len(), &recording.moments(), count, seed);
    for (n, cut) in all.iter().enumerate() {
        let disk = replay.cut(cut, "cut.raw").unwrap();
        let problems = checker.problems(&disk, cut).unwrap();
        assert!(problems.is_empty(), "{} {cut:?}: {}", recording.name, problems.join("\n"));
        if n % (count / boots) == count / boots / 2 {
            let since = Instant::now();
            let problems = boot_problems(lab, recording, &disk, cut, &Stop::default()).unwrap();
            assert!(problems.is_empty(), "{} {cut:?} booted: {}", recording.name, problems.join("\n"));
            println!("{}: booted {cut:?} in {:?}", recording.name, since.elapsed());
        }
    }
    println!("{}: {count} cuts in {:?}", recording.name, start.elapsed());
}

/// Lets the disk say of a single flush, shortly before the last file was acknowledged, that it is done, while
/// it drops what was to be made durable.
fn lies(lab: &Lab, recording: &Recording) {
    let checker = Checker::new(lab, recording).unwrap();
    let file = |a: &&Acknowledged| matches!(a.record, Record::Content(..));
    let last = recording.acknowledged.iter().rfind(file).expect("files were acknowledged");
    let cut = Cut { entry: last.from, loss: Loss::All, seed: 0 };
    let honest = recording.replay("honest").unwrap().cut(&cut, "cut.raw").unwrap();
    assert_eq!(checker.problems(&honest, &cut).unwrap(), Vec::<String>::new());
    let missing = format!("`{}`", last.record.path().unwrap());
    let flushes = (0..cut.entry).rev().filter(|n| recording.log.entries[*n].flush);
    let caught = flushes.take(12).find_map(|flush| {
        let disk = recording.replay("lies").unwrap().lie(flush).cut(&cut, "cut.raw").unwrap();
        let problems = checker.problems(&disk, &cut).unwrap();
        println!("the flush {flush} before {}: {problems:?}", cut.entry);
        problems.into_iter().find(|problem| problem.starts_with(&missing))
    });
    assert!(caught.is_some(), "no lie was noticed: {missing} is there whatever flush is dropped");
}

/// All that was logged makes the disk that was written, here and where it was kept.
fn complete(lab: &Lab, recording: &Recording) {
    let cut = Cut { entry: recording.log.entries.len(), loss: Loss::None, seed: 0 };
    let all = recording.replay("all").unwrap().cut(&cut, "all.raw").unwrap();
    let kept = lab.dir().join("kept");
    recording.keep(&kept, &all).unwrap();
    let remade = Recording::remake(&kept, &cut).unwrap();
    for other in [recording.written.path(), &remade] {
        let same = Command::new("cmp").arg(all.path()).arg(other).status().unwrap();
        assert!(same.success(), "{} is another disk than the log makes", other.display());
    }
}

#[test]
fn full_a_first_boot_may_be_cut_at_any_moment() {
    check(&[FIRST_BOOT], 100, 2);
}

#[test]
fn full_what_an_application_has_synced_outlives_a_cut_unless_the_disk_lies() {
    let (lab, registry) = lab();
    let recording = record(&lab, &registry, &VOLUME);
    complete(&lab, &recording);
    lies(&lab, &recording);
    cuts(&lab, &recording, 200, 4);
}

#[test]
fn full_documents_images_secrets_and_a_new_identity_outlive_a_cut() {
    check(&[APPLY, PULL, SECRETS, IDENTITY], 60, 2);
}

#[test]
fn full_a_larger_disk_may_be_cut_at_any_moment() {
    check(&[LARGER_DISK], 60, 2);
}

#[test]
fn full_an_update_may_be_cut_at_any_moment() {
    check(&[UPDATE], 60, 3);
}
