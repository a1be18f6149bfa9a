//! A release staged, cut, and staged again.

use std::fs;

use crate::support::images::{BLOCK, image, map_bytes, pack, sha256};
use crate::support::machine::{Machine, names};
use crate::support::publisher::Publisher;
use crate::support::server::{Answer, Server};
use agent_update::{Found, Outcome, Progress, UpdateErrorKind, Verb};
use image_layout::release::Part;

/// Blocks of noise, text and zeroes, some of them twice.
fn boot() -> Vec<u8> {
    image((1..60).chain([0, 0, 7, 8, 1]))
}

fn root() -> Vec<u8> {
    image([0, 1001, 1001].into_iter().chain(1001..1500).chain([0; 40]).chain(1400..1600))
}

fn maps() -> u64 {
    [boot(), root()].iter().map(|image| map_bytes(image)).sum()
}

#[test]
fn an_empty_slot_becomes_the_release() {
    let publisher = Publisher::of("0.2.0", &boot(), &root());
    let (server, machine) = (Server::honest(publisher.path()), Machine::new(&publisher));
    let staged = machine.stage(&server.url).unwrap();
    machine.holds_images(&boot(), &root());
    assert_eq!(staged.needed, maps() + pack(&boot()).0.stored() + pack(&root()).0.stored());
    assert_eq!((staged.fetched, server.served()), (staged.needed, staged.needed));
    let parts: Vec<_> = staged.parts.iter().map(|w| (w.part, w.size, w.sha256.clone())).collect();
    let expect = [(Part::Root, root()), (Part::Boot, boot())];
    assert_eq!(parts, expect.map(|(part, image)| (part, image.len() as u64, sha256(&image))));
    // Neighbours came together: each image's blocks lie side by side.
    assert_eq!(server.requests("root-0.2.0.blocks").len(), 1);
    machine.verify(staged.parts).unwrap();
}

#[test]
fn what_is_in_place_is_not_fetched_again() {
    let publisher = Publisher::of("0.2.0", &boot(), &root());
    let machine = Machine::new(&publisher);
    machine.stage(&Server::honest(publisher.path()).url).unwrap();
    let server = Server::honest(publisher.path());
    let staged = machine.stage(&server.url).unwrap();
    assert_eq!((staged.needed, staged.fetched, server.served()), (maps(), maps(), maps()));
    assert!(server.requests(".blocks").is_empty());
    // One block that is missing is all that comes, and the first one of boot goes and comes back meanwhile.
    // That is there a second time.
    let cases = [("target-root", 300, 1), ("target-boot", 20, 1), ("target-boot", 0, 0)];
    for (partition, at, requests) in cases {
        machine.flip(partition, at * BLOCK + 5);
        let server = Server::honest(publisher.path());
        let staged = machine.stage(&server.url).unwrap();
        let blocks = server.requests(".blocks");
        assert_eq!(blocks.len(), requests, "{partition} {at}: {blocks:?}");
        assert_eq!(staged.fetched, server.served());
        machine.holds_images(&boot(), &root());
    }
}

#[test]
fn a_cut_leaves_a_slot_that_does_not_start_and_keeps_what_came() {
    let (boot_bytes, root_bytes) = (pack(&boot()).0.stored(), pack(&root()).0.stored());
    let publisher = Publisher::of("0.2.0", &boot(), &root());
    let maps = maps();
    for at in [0, 1, root_bytes / 3, root_bytes, root_bytes + 5000, root_bytes + boot_bytes - 1] {
        let machine = Machine::new(&publisher);
        // What was there before would start.
        machine.fill("target-boot", &image([9001, 9003]));
        let server = Server::start(publisher.path(), move |request| match request.served {
            _ if !request.path.ends_with(".blocks") => Answer::Honest,
            served if served - maps < at => Answer::Cut(at - (served - maps)),
            _ => Answer::Nothing,
        });
        let error = machine.stage(&server.url).unwrap_err();
        assert_eq!(error.kind, UpdateErrorKind::Unreachable, "{error}");
        assert_eq!(server.served(), maps + at);
        assert!(!machine.starts(), "{at}");
        if at >= root_bytes {
            assert!(machine.holds("target-root", root().len()) == root());
        }
        let noted = fs::read(machine.shared().join(Progress::FILE)).unwrap();
        let noted: Progress = serde_json::from_slice(&noted).unwrap();
        assert_eq!(noted.needed, maps + root_bytes + boot_bytes);
        assert!(noted.fetched <= maps + at);

        let server = Server::honest(publisher.path());
        let staged = machine.stage(&server.url).unwrap();
        machine.holds_images(&boot(), &root());
        assert_eq!((staged.fetched, server.served()), (staged.needed, staged.needed));
        // All whole blocks that came, but for the first one of boot, which was not written.
        let again = staged.needed - maps;
        let rest = root_bytes + boot_bytes - at;
        assert!(again >= rest && again < rest + 2 * BLOCK as u64, "{at}: {again} of {rest}");
    }
}

#[test]
fn many_cuts_come_to_an_end() {
    let publisher = Publisher::of("0.2.0", &boot(), &root());
    let machine = Machine::new(&publisher);
    let maps = maps();
    for run in 0.. {
        let server = Server::start(publisher.path(), move |request| match request.served.checked_sub(maps) {
            Some(blocks) if request.path.ends_with(".blocks") && blocks >= 300_000 => Answer::Nothing,
            Some(blocks) if request.path.ends_with(".blocks") => Answer::Cut(300_000 - blocks),
            _ => Answer::Honest,
        });
        if machine.stage(&server.url).is_ok() {
            assert!((3..15).contains(&run), "{run}");
            break;
        }
        assert!(!machine.starts());
        assert!(run < 20);
    }
    machine.holds_images(&boot(), &root());
}

#[test]
fn only_what_is_newer_is_staged() {
    for (version, newer) in [("0.2.0", true), ("0.1.0.1", true), ("0.1.0", false), ("0.0.9", false)] {
        let publisher = Publisher::of(version, &image([1, 2]), &image([3]));
        let (server, machine) = (Server::honest(publisher.path()), Machine::new(&publisher));
        let checked = machine.run(&server.url, Verb::Check);
        let Outcome::Found(Found { version: found, expires }) = &checked else { panic!("{checked:?}") };
        assert_eq!(found.to_string(), version);
        assert!((expires - crate::support::publisher::expiry().as_second()).abs() < 60);
        let outcome = machine.run(&server.url, Verb::Stage);
        match outcome {
            Outcome::Staged(_) => assert!(newer, "{version}"),
            outcome => assert!(!newer && outcome == checked, "{version} {outcome:?}"),
        }
        assert_eq!(machine.starts(), newer);
    }
}

#[test]
fn what_lies_behind_the_image_does_not_count() {
    let publisher = Publisher::of("0.2.0", &image([1, 2]), &image([3]));
    let (server, machine) = (Server::honest(publisher.path()), Machine::new(&publisher));
    machine.fill("target-root", &image([11, 13, 15]));
    let staged = machine.stage(&server.url).unwrap();
    assert_eq!(machine.holds("target-root", 3 * BLOCK), image([3, 13, 15]));
    machine.verify(staged.parts).unwrap();
}

#[test]
fn what_an_earlier_run_left_is_not_of_this_one() {
    let publisher = Publisher::of("0.2.0", &image([1]), &image([3]));
    let (server, machine) = (Server::honest(publisher.path()), Machine::new(&publisher));
    let left = ["progress.json", "progress.new", "metadata", "aside"];
    for name in left.into_iter().filter(|name| *name != "metadata") {
        fs::write(machine.shared().join(name), vec![7; 5000]).unwrap();
    }
    fs::create_dir(machine.shared().join("metadata")).unwrap();
    fs::write(machine.shared().join("metadata/timestamp.json"), "{").unwrap();
    let staged = machine.stage(&server.url);
    assert_eq!(staged.unwrap().fetched, server.served());
    machine.run(&server.url, Verb::Check);
    assert!(!names(&machine.shared()).contains(&"progress.json".to_owned()));
}
