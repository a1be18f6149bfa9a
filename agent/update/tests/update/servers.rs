//! Servers that are slow, busy, short of ranges or cut transfers off.

use crate::support::images::{image, pack};
use crate::support::machine::Machine;
use crate::support::publisher::Publisher;
use crate::support::server::{Answer, Request, Server};

/// Two images of which some blocks are there already, so that several ranges are asked for.
fn release() -> (Publisher, Machine, Vec<u8>, Vec<u8>) {
    let (boot, root) = (image(1..40), image(101..500));
    let publisher = Publisher::of("0.2.0", &boot, &root);
    let machine = Machine::new(&publisher);
    machine.fill("running-root", &image((101..500).filter(|n| n % 50 > 25)));
    (publisher, machine, boot, root)
}

/// What `behaviour` does comes to a whole slot; gives the bytes that were counted as fetched, and the server.
fn staged(case: &str, behaviour: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> (u64, u64, Server) {
    let (publisher, machine, boot, root) = release();
    let server = Server::start(publisher.path(), behaviour);
    let staged = machine.stage(&server.url).unwrap_or_else(|error| panic!("{case}: {error}"));
    machine.holds_images(&boot, &root);
    machine.verify(staged.parts).unwrap();
    (staged.needed, staged.fetched, server)
}

fn is_blocks(request: &Request) -> bool {
    request.path.ends_with(".blocks")
}

fn of_blocks(answer: Answer) -> impl Fn(&Request) -> Answer {
    move |request| if is_blocks(request) { answer } else { Answer::Honest }
}

#[test]
fn an_honest_one_sends_what_is_counted() {
    let (needed, fetched, server) = staged("honest", |_| Answer::Honest);
    assert_eq!((fetched, server.served()), (needed, needed));
    assert!(server.requests("root-0.2.0.blocks").len() > 5);
}

#[test]
fn ones_that_give_less_than_they_are_asked_for() {
    for answer in [Answer::Short(4096), Answer::Short(10_000), Answer::Slow] {
        let (needed, fetched, server) = staged(&format!("{answer:?}"), of_blocks(answer));
        assert_eq!(fetched, server.served());
        // Of a block that did not come whole, the beginning comes again.
        assert!(fetched >= needed, "{answer:?}");
    }
    let (needed, fetched, server) = staged("whole blocks", of_blocks(Answer::Slow));
    assert_eq!((fetched, server.served()), (needed, needed));
}

#[test]
fn one_without_ranges_sends_each_file_once() {
    let (needed, fetched, server) = staged("no ranges", of_blocks(Answer::NoRanges));
    assert_eq!(server.requests(".blocks").len(), 2);
    assert!(fetched > needed && server.served() >= fetched);
    let most: u64 = [image(1..40), image(101..500)].iter().map(|image| pack(image).0.stored()).sum();
    assert!(fetched < needed + most);
}

#[test]
fn transfers_that_are_cut_go_on() {
    type Behaviour = fn(&Request) -> Answer;
    let cases: [(&str, Behaviour); 6] = [
        ("once", |r| if is_blocks(r) && r.before == 0 { Answer::Cut(9000) } else { Answer::Honest }),
        ("always", |r| if is_blocks(r) { Answer::Cut(9000) } else { Answer::Honest }),
        ("at once, twice", |r| if is_blocks(r) && r.before < 2 { Answer::Cut(0) } else { Answer::Honest }),
        ("without an answer", |r| if r.before < 2 { Answer::Nothing } else { Answer::Honest }),
        ("without ranges", |r| match r.before {
            _ if !is_blocks(r) => Answer::Honest,
            0 => Answer::CutNoRanges(500_000),
            1 => Answer::CutNoRanges(1_000_000),
            _ => Answer::NoRanges,
        }),
        ("ranges now and then", |r| match r.before % 3 {
            _ if !is_blocks(r) => Answer::Honest,
            0 => Answer::Cut(5000),
            1 => Answer::CutNoRanges(200_000),
            _ => Answer::Honest,
        }),
    ];
    for (case, behaviour) in cases {
        let (needed, fetched, server) = staged(case, behaviour);
        assert!(fetched >= needed, "{case}");
        assert!(fetched <= server.served(), "{case}: {fetched} of {}", server.served());
        if !case.contains("ranges") {
            assert_eq!(fetched, server.served(), "{case}");
        }
    }
}

#[test]
fn ones_that_are_busy_are_asked_again() {
    for status in [503, 500, 429, 408] {
        let (needed, fetched, server) = staged(&status.to_string(), move |request| match request.before {
            0 | 1 => Answer::Status(status),
            _ => Answer::Honest,
        });
        assert_eq!((fetched, server.served()), (needed, needed));
        // Also the root that there is not yet is asked for until that is sure.
        assert_eq!(server.requests("/2.root.json").len(), 3);
    }
}

#[test]
fn metadata_and_maps_that_are_cut_are_fetched_again() {
    let (needed, fetched, server) = staged("cut", |request| match request.before {
        0 if !is_blocks(request) => Answer::Cut(20),
        _ => Answer::Honest,
    });
    // What is said of maps is what they have.
    assert_eq!((fetched, server.served()), (needed, needed + 40));
}

#[test]
fn a_store_that_says_403_of_what_is_not_there_is_understood() {
    let (publisher, machine, ..) = release();
    let server = Server::with(publisher.path(), "/2.root.json", Answer::Status(403));
    machine.stage(&server.url).unwrap();
}
