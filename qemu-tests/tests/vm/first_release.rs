//! The first release that could update itself, and the last.

use crate::common::BOOT;
use crate::common::follower::Follower;
use qemu_tests::{FIRST, SECOND, Setup};

/// The tag of the first release.
const TAG: &str = "v0.1.0";

#[test]
fn full_a_box_of_the_first_release_updates_to_the_last_and_back() {
    let setup = Setup::default();
    let raw = |lab: &_, publisher: &qemu_tests::Publisher| {
        publisher.tagged(lab, TAG, FIRST).unwrap().join("holdfast.raw")
    };
    let mut follower = Follower::of(setup, "policy = \"manual\"", raw);
    follower.publish(&follower.publisher.image(SECOND));
    let mark = follower.apply(SECOND);
    follower.stays(mark, SECOND);
    let mark = follower.machine.console.mark();
    assert_eq!(follower.text(&["update", "rollback"]), format!("the box restarts into {FIRST}"));
    follower.machine.console.wait_after(mark, "Holdfast: slot a on", BOOT).unwrap();
    follower.serves();
    assert_eq!(follower.status()["running"], FIRST);
    follower.machine.kill().unwrap();
}
