//! Blocks that the box already has are not fetched.

use std::fs::{File, OpenOptions};

use crate::support::images::{BLOCK, image, map_bytes, stored};
use crate::support::machine::{Machine, patience};
use crate::support::publisher::Publisher;
use crate::support::server::{Answer, Server};
use agent_update::{Device, Outcome, Slots, Verb};

const NOTHING: [u64; 0] = [];

/// Stages a root of `wanted` over `target` beside `running`; only the blocks of `fetched` may come, also when
/// the run is cut after each so many bytes.
fn check(case: &str, running: &[u64], target: &[u64], wanted: &[u64], fetched: &[u64]) {
    let (boot, root) = (image([1, 3, 5]), image(wanted.iter().copied()));
    let publisher = Publisher::of("0.2.0", &boot, &root);
    let maps = map_bytes(&boot) + map_bytes(&root);
    let expect = stored(fetched.iter().copied());
    let machine = || {
        let machine = Machine::new(&publisher);
        machine.fill("running-boot", &boot);
        machine.fill("running-root", &image(running.iter().copied()));
        machine.fill("target-root", &image(target.iter().copied()));
        machine
    };
    let whole = machine();
    let server = Server::honest(publisher.path());
    let staged = whole.stage(&server.url).unwrap();
    whole.holds_images(&boot, &root);
    assert_eq!(staged.fetched - maps, expect, "{case}");
    assert_eq!(staged.fetched, server.served(), "{case}");

    let cut = machine();
    let mut came = 0;
    for _ in 0..fetched.len() + 2 {
        let server = Server::start(publisher.path(), move |request| match request.served.checked_sub(maps) {
            Some(0) if request.path.ends_with(".blocks") => Answer::Cut(BLOCK as u64),
            Some(_) if request.path.ends_with(".blocks") => Answer::Nothing,
            _ => Answer::Honest,
        });
        let ended = cut.stage(&server.url).is_ok();
        came += server.served() - maps;
        if ended {
            break;
        }
        assert!(!cut.starts(), "{case}");
    }
    cut.holds_images(&boot, &root);
    assert!(came <= expect + fetched.len() as u64 * BLOCK as u64, "{case}: {came} of {expect}");
}

#[test]
fn blocks_come_from_wherever_the_box_has_them() {
    let halves: Vec<u64> = (101..141).collect();
    let swapped = [&halves[20..], &halves[..20]].concat();
    let reversed: Vec<u64> = halves.iter().rev().copied().collect();
    let other: Vec<u64> = (301..311).collect();
    let mixed = [&halves[5..15], &other, &halves[..5], &halves[30..]].concat();
    check("nothing", &NOTHING, &NOTHING, &halves, &halves);
    check("the slot that runs", &halves, &NOTHING, &halves, &NOTHING);
    check("the slot that runs, elsewhere", &swapped, &NOTHING, &halves, &NOTHING);
    check("in place", &NOTHING, &halves, &halves, &NOTHING);
    check("halves swapped", &NOTHING, &halves, &swapped, &NOTHING);
    check("all moved by one", &NOTHING, &halves, &[&[99], &halves[..]].concat(), &[99]);
    check("backwards", &NOTHING, &halves, &reversed, &NOTHING);
    check("some of each", &other, &halves, &[&mixed[..], &[501, 502, 503]].concat(), &[501, 502, 503]);
    check("some anew", &NOTHING, &halves, &mixed, &other);
    check("one block everywhere", &NOTHING, &[7], &[9, 7, 7, 9, 9, 7, 7], &[9]);
    check("zeroes over blocks", &NOTHING, &halves, &[0; 40], &NOTHING);
    check("zeroes between", &NOTHING, &NOTHING, &[0, 11, 0, 0, 13, 0], &[11, 13]);
}

/// The first block of boot is made zeroes before it is written again: it is put aside too.
#[test]
fn the_first_block_of_boot_is_put_aside() {
    let (boot, root) = (image([1, 3, 5]), image([7, 9]));
    let publisher = Publisher::of("0.2.0", &boot, &root);
    let machine = Machine::new(&publisher);
    machine.fill("target-boot", &boot);
    let cut = Server::with(publisher.path(), ".blocks", Answer::Nothing);
    machine.stage(&cut.url).unwrap_err();
    assert!(!machine.starts());
    let server = Server::honest(publisher.path());
    machine.stage(&server.url).unwrap();
    machine.holds_images(&boot, &root);
    assert!(server.requests("boot-0.2.0.blocks").is_empty());
}

/// The power may go while blocks are moved within the slot: those written over were put aside.
#[test]
fn a_move_that_was_cut_goes_on() {
    let old: Vec<u64> = (101..141).collect();
    let (boot, root) = (image([1, 3, 5]), image([&old[20..], &old[..20]].concat()));
    let publisher = Publisher::of("0.2.0", &boot, &root);
    let machine = Machine::new(&publisher);
    machine.fill("running-boot", &boot);
    machine.fill("target-root", &image(old));
    // As if the power went before the first write.
    let mut slots = machine.slots();
    let read_only = File::open(machine.partition("target-root")).unwrap();
    slots.target[1].1 = Device::new(read_only, "target-root").unwrap();
    let server = Server::honest(publisher.path());
    machine.ask(&server.url, Verb::Stage);
    let outcome = agent_update::run(&machine.shared(), &slots, patience(), &mut |_| {}).unwrap();
    let Outcome::Error(error) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.message, "failed to write target-root: Bad file descriptor (os error 9)");
    assert!(!machine.starts());
    // And as if it went in the middle.
    machine.fill("target-root", &root[..15 * BLOCK]);
    machine.stage(&server.url).unwrap();
    machine.holds_images(&boot, &root);
    assert!(server.requests(".blocks").is_empty());
}

/// A partition that cannot be read does not keep the box from its update.
#[test]
fn what_cannot_be_read_is_fetched() {
    let (boot, root) = (image([1, 3, 5]), image(101..201));
    let publisher = Publisher::of("0.2.0", &boot, &root);
    let machine = Machine::new(&publisher);
    machine.fill("running-root", &root);
    let Slots { target, running } = machine.slots();
    let short = OpenOptions::new().write(true).open(machine.partition("running-root")).unwrap();
    short.set_len(10 * BLOCK as u64).unwrap();
    let server = Server::honest(publisher.path());
    machine.ask(&server.url, Verb::Stage);
    let outcome =
        agent_update::run(&machine.shared(), &Slots { target, running }, patience(), &mut |_| {}).unwrap();
    let Outcome::Staged(staged) = outcome else { panic!("{outcome:?}") };
    machine.holds_images(&boot, &root);
    assert_eq!(staged.fetched, server.served());
    let maps = map_bytes(&boot) + map_bytes(&root);
    assert_eq!(staged.fetched - maps, stored([1, 3, 5]) + stored(111..201));
}
