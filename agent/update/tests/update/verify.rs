//! A slot read again and compared with what was staged.

use crate::support::images::{BLOCK, image};
use crate::support::machine::{Machine, patience};
use crate::support::publisher::Publisher;
use crate::support::server::Server;
use agent_update::{Outcome, Slots, UpdateErrorKind, Verb};
use image_layout::release::Part;

#[test]
fn one_byte_is_enough() {
    let (boot, root) = (image(1..20), image(101..300));
    let publisher = Publisher::of("0.2.0", &boot, &root);
    let (server, machine) = (Server::honest(publisher.path()), Machine::new(&publisher));
    let parts = machine.stage(&server.url).unwrap().parts;
    machine.verify(parts.clone()).unwrap();
    for (name, image) in [("target-boot", &boot), ("target-root", &root)] {
        for at in [0, 1, BLOCK - 1, BLOCK, image.len() / 2, image.len() - BLOCK, image.len() - 1] {
            machine.flip(name, at);
            let error = machine.verify(parts.clone()).unwrap_err();
            assert_eq!(error.kind, UpdateErrorKind::Slot);
            assert_eq!(error.message, format!("{name} is not what was staged: it has changed since"));
            machine.flip(name, at);
        }
        machine.flip(name, image.len());
        machine.verify(parts.clone()).unwrap();
    }
}

#[test]
fn what_does_not_say_both_images_verifies_nothing() {
    let publisher = Publisher::of("0.2.0", &image([1]), &image([3]));
    let (server, machine) = (Server::honest(publisher.path()), Machine::new(&publisher));
    let parts = machine.stage(&server.url).unwrap().parts;
    for (left, missing) in
        [(vec![], Part::Root), (vec![Part::Root], Part::Boot), (vec![Part::Boot], Part::Root)]
    {
        let some = parts.iter().filter(|part| left.contains(&part.part)).cloned().collect();
        let error = machine.verify(some).unwrap_err();
        assert_eq!(error.kind, UpdateErrorKind::Local);
        assert_eq!(error.message, format!("the request has no {} image", missing.as_str()));
    }
    let mut larger = parts.clone();
    larger[0].size = 1 << 30;
    assert_eq!(machine.verify(larger).unwrap_err().kind, UpdateErrorKind::Slot);
    let mut uneven = parts;
    uneven[0].size += 1;
    assert_eq!(machine.verify(uneven).unwrap_err().kind, UpdateErrorKind::Slot);
}

#[test]
fn partitions_that_were_not_handed_over_or_twice() {
    let publisher = Publisher::of("0.2.0", &image([1]), &image([3]));
    let (server, machine) = (Server::honest(publisher.path()), Machine::new(&publisher));
    let run = |slots: &Slots| {
        machine.ask(&server.url, Verb::Stage);
        match agent_update::run(&machine.shared(), slots, patience(), &mut |_| {}).unwrap() {
            Outcome::Error(error) => (error.kind, error.message),
            other => panic!("{other:?}"),
        }
    };
    let local = |message: &str| (UpdateErrorKind::Local, message.to_owned());
    let mut slots = machine.slots();
    slots.target.remove(0);
    assert_eq!(run(&slots), local("no boot partition was handed over"));
    let mut slots = machine.slots();
    slots.target[1].1 = machine.slots().running.remove(1).1;
    assert_eq!(run(&slots), local("running-root is the same partition as running-root"));
    let mut slots = machine.slots();
    slots.target[1].1 = machine.slots().target.remove(0).1;
    assert_eq!(run(&slots), local("target-boot is the same partition as target-boot"));
    assert!(!machine.starts());
}
