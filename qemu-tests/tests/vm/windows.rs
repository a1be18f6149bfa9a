//! What a box does by itself in its window: a release that does not work is tried in three of them and then
//! left, and a newer one is taken in the next.

use std::time::Duration;

use crate::common::BOOT;
use crate::common::follower::Follower;
use qemu_tests::{SECOND, Setup};

/// The most that an update may take from the window's opening to the restart.
const UPDATE: Duration = Duration::from_secs(600);
const SETTINGS: &str = "policy = \"auto\"\nwindow = \"03:00-05:00\"\njitter = \"1s\"";

/// Sets the box's clock to a moment after the next day's window has opened. Its agent, which sleeps by another
/// clock, is started anew. Where the console was before.
fn next_window(follower: &mut Follower) -> usize {
    follower.clock();
    let mark = follower.machine.console.mark();
    let tomorrow = "$(date -d @$(( $(date +%s) + 86400 )) +%Y-%m-%d)";
    follower.machine.shell(&format!("date -s \"{tomorrow} 03:00:05\"")).unwrap();
    follower.machine.shell("systemctl restart holdfastd.service").unwrap();
    mark
}

#[test]
fn full_a_release_that_fails_is_tried_in_three_windows_and_then_left() {
    let mut follower = Follower::new(Setup::default(), SETTINGS);
    let (bad, reason) = follower.publish_another_root();
    for attempts in 1..=3 {
        let mark = next_window(&mut follower);
        follower.machine.console.wait_after(mark, "starting slot b", UPDATE).unwrap();
        follower.is_back(mark, &bad, |said| said == reason, BOOT);
        let failed = &follower.status()["failed"][0];
        assert_eq!((&failed["version"], &failed["attempts"]), (&bad.as_str().into(), &attempts.into()));
        assert_eq!(failed["held"], attempts == 3, "{failed}");
    }
    next_window(&mut follower);
    let left = format!("{bad} was tried 3 times and is left until told: {reason}");
    crate::common::wait_until("a release that is left", UPDATE, || {
        let status = follower.machine.json(&["update", "status"], &[0, 3]).map_err(|e| e.to_string())?;
        if status["problem"] == left { Ok(()) } else { Err(status.to_string()) }
    });
    // All of them, in the whole life of the box.
    let boots = follower.machine.console.text().matches("starting slot b").count();
    assert_eq!(boots, 3, "{}", follower.machine.console.text());

    follower.publish(&follower.publisher.image(SECOND));
    let mark = next_window(&mut follower);
    follower.stays(mark, SECOND);
    follower.machine.kill().unwrap();
}

#[test]
fn full_a_box_that_only_stages_waits_for_its_owner() {
    let mut follower = Follower::new(Setup::default(), &SETTINGS.replace("auto", "stage"));
    follower.publish(&follower.publisher.image(SECOND));
    let mark = next_window(&mut follower);
    crate::common::wait_until("a release that is staged", UPDATE, || {
        let status = follower.machine.json(&["update", "status"], &[0, 3]).map_err(|e| e.to_string())?;
        if status["staged"]["version"] == SECOND { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(follower.status()["state"], "staged");
    follower.serves();
    assert!(!follower.machine.console.text()[mark..].contains("starting slot"));
    let mark = follower.apply(SECOND);
    follower.stays(mark, SECOND);
    follower.machine.kill().unwrap();
}
