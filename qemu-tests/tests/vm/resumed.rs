//! A box that was saved goes on where it was, each time anew.

use std::time::Duration;

use crate::common::{CHANGE, lab, page, resumed};
use qemu_tests::Machine;

#[test]
fn a_saved_box_goes_on_where_it_was_and_nothing_of_the_last_time_is_there() {
    let (lab, registry) = lab();
    let id = |machine: &mut Machine| machine.shell("cat /proc/sys/kernel/random/boot_id").unwrap();
    let mut first = resumed(&lab, &page(&registry, "the first"), &[]);
    first.wait_served("the first", CHANGE).unwrap();
    first.shell("touch /run/first /var/lib/holdfast/first; sync").unwrap();
    let boot = id(&mut first);
    first.kill().unwrap();

    let mut second = resumed(&lab, &page(&registry, "the second"), &[]);
    assert_eq!(id(&mut second), boot, "it has booted anew");
    second.shell("! ls /run/first /var/lib/holdfast/first").unwrap();
    second.wait_served("the second", CHANGE).unwrap();
    assert!(!second.serves_within("the first", Duration::from_secs(2)));
    assert!(!second.console.text().contains("Linux version"), "{}", second.console.tail(20));
    second.kill().unwrap();
}
