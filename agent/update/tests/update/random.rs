//! Whatever the slots hold and wherever a staging is cut, it ends with the image, and until then the slot does
//! not start.

use crate::support::images::{image, map_bytes, pack};
use crate::support::machine::Machine;
use crate::support::publisher::Publisher;
use crate::support::server::{Answer, Server};
use proptest::collection::vec;
use proptest::prelude::*;

/// Blocks of a small alphabet, so that they are often the same.
fn blocks(most: usize) -> impl Strategy<Value = Vec<u64>> {
    vec(0_u64..12, 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_cut_is_made_good(
        boot in blocks(8), root in blocks(24), old_boot in blocks(8), old_root in blocks(24),
        running in blocks(24), cuts in vec(0_u64..40_000, 0..4), ranges: bool,
    ) {
        let (boot, root) = (image(boot), image(root));
        let publisher = Publisher::of("0.2.0", &boot, &root);
        let machine = Machine::new(&publisher);
        machine.fill("target-boot", &image(old_boot.iter().copied()));
        machine.fill("target-root", &image(old_root));
        machine.fill("running-root", &image(running));
        let maps = map_bytes(&boot) + map_bytes(&root);
        let mut whole = false;
        for cut in cuts {
            let server = Server::start(publisher.path(), move |request| {
                let came = request.served.saturating_sub(maps);
                match request.path.ends_with(".blocks") {
                    true if came >= cut => Answer::Nothing,
                    true if ranges => Answer::Cut(cut - came),
                    true => Answer::CutNoRanges(cut - came),
                    false => Answer::Honest,
                }
            });
            match machine.stage(&server.url) {
                Ok(staged) => {
                    machine.verify(staged.parts).unwrap();
                    whole = true;
                }
                Err(_) => prop_assert!(!whole && !machine.starts()),
            }
        }
        let server = Server::honest(publisher.path());
        let staged = machine.stage(&server.url).unwrap();
        prop_assert_eq!(staged.fetched, server.served());
        // Gaps between blocks may come along, and no byte twice.
        let all = maps + pack(&boot).0.stored() + pack(&root).0.stored();
        prop_assert!(staged.needed <= staged.fetched && staged.fetched <= all);
        prop_assert!(!whole || staged.fetched == maps);
        machine.holds_images(&boot, &root);
        machine.verify(staged.parts).unwrap();
    }
}
