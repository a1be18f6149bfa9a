//! When the box looks for a release, and whether it may switch to one.
//!
//! Everything unattended happens in the window that the owner gives, once per window, a while after it opens
//! that is random but the same for one box and one window. A version that failed is tried again once in each
//! of two later windows, and then left.

use std::time::Duration;

use image_layout::Version;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use recipes::model::{Update, UpdatePolicy};
use recipes::shape::Window;

use super::record::UpdateRecord;

/// A version that failed so often is left until told.
pub const MOST_ATTEMPTS: u32 = 3;
/// After trouble it is tried again so much later, while the window is open. Seconds.
const AGAIN: u64 = 600;
/// A clock that nobody has set is looked at again so much later. Seconds.
const UNSET: u64 = 30;

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since 1970.
    pub now: u64,
    /// Whether a time server has set it.
    pub synchronized: bool,
}

/// One opening of the window, seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its first second.
    pub opens: u64,
    /// The first second after it.
    pub closes: u64,
}

/// What is to be done by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing, ever.
    Never,
    /// Nothing for so many seconds.
    In(u64),
    /// Look, stage what is newer, and with `apply` switch to it.
    Now {
        /// When the window opened.
        window: u64,
        /// Whether to switch.
        apply: bool,
    },
}

/// Tells what is due. `tried` is when the last attempt in an opening came to nothing, on the same clock.
pub fn due(
    update: &Update,
    zone: &TimeZone,
    seed: &str,
    record: &UpdateRecord,
    tried: Option<u64>,
    clock: Clock,
) -> Due {
    if update.policy == UpdatePolicy::Manual {
        return Due::Never;
    }
    if !clock.synchronized {
        return Due::In(UNSET);
    }
    let Some(opening) = next_window(&update.window, zone, clock.now) else { return Due::Never };
    let start = |opening: Opening| opening.opens + jitter(seed, opening.opens, update.jitter);
    if clock.now < start(opening) {
        return Due::In(start(opening) - clock.now);
    }
    let again = tried.filter(|tried| (opening.opens..=clock.now).contains(tried)).map(|tried| tried + AGAIN);
    // A time that is still to come was noted by a clock that was wrong.
    let done = record.window >= opening.opens && record.window <= clock.now;
    let over = done || again.is_some_and(|again| again >= opening.closes);
    if over {
        let next = next_window(&update.window, zone, opening.closes);
        return next.map_or(Due::Never, |next| Due::In(start(next).saturating_sub(clock.now).max(1)));
    }
    match again {
        Some(again) if again > clock.now => Due::In(again - clock.now),
        _ => Due::Now { window: opening.opens, apply: update.policy == UpdatePolicy::Auto },
    }
}

/// Whether a version may be switched to in the window that opened at `window`; an error says why not.
pub fn may_try(record: &UpdateRecord, version: &Version, window: u64) -> Result<(), String> {
    let Some(failed) = record.failed.get(version) else { return Ok(()) };
    let reason = &failed.reason;
    if failed.held {
        return Err(format!("{version} is left until told: {reason}"));
    }
    if failed.attempts >= MOST_ATTEMPTS {
        return Err(format!(
            "{version} was tried {} times and is left until told: {reason}",
            failed.attempts
        ));
    }
    if failed.window == window {
        return Err(format!("{version} is tried again in the next window: {reason}"));
    }
    Ok(())
}

/// The opening that `now` is in, or the next one. None only at the end of all time.
pub fn next_window(window: &Window, zone: &TimeZone, now: u64) -> Option<Opening> {
    let local = Timestamp::from_second(i64::try_from(now).ok()?).ok()?.to_zoned(zone.clone());
    let day = |offset: i64| local.date().checked_add(offset.days()).ok();
    let openings = (-1..=2).filter_map(|offset| opening(window, zone, day(offset)?));
    // A day on which clocks are changed may swallow a window.
    openings.filter(|opening| opening.opens < opening.closes).find(|opening| opening.closes > now)
}

fn opening(window: &Window, zone: &TimeZone, date: Date) -> Option<Opening> {
    let at = |date: Date, time: Time| {
        let zoned = date.to_datetime(time).to_zoned(zone.clone()).ok()?;
        u64::try_from(zoned.timestamp().as_second()).ok()
    };
    let end = if window.end() > window.start() { date } else { date.tomorrow().ok()? };
    Some(Opening { opens: at(date, window.start())?, closes: at(end, window.end())? })
}

/// How long after its opening a box waits, in seconds: less than `most`, spread by FNV-1a of the box's seed.
pub fn jitter(seed: &str, opens: u64, most: Duration) -> u64 {
    let bytes = seed.bytes().chain(opens.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash >> 16) % most.as_secs().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::FailedVersion;

    fn zone(name: &str) -> TimeZone {
        recipes::shape::TimeZone::parse(name).unwrap().zone().clone()
    }

    fn at(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_second() as u64
    }

    #[test]
    fn windows_are_local_and_may_cross_midnight_and_changes_of_the_clock() {
        let check = |window: &str, place: &str, now: &str, opens: &str, closes: &str| {
            let window = Window::parse(window).unwrap();
            let found = next_window(&window, &zone(place), at(now)).unwrap();
            assert_eq!(
                found,
                Opening { opens: at(opens), closes: at(closes) },
                "{window} in {place} at {now}"
            );
        };
        check("03:00-05:00", "UTC", "2026-11-28T02:00:00Z", "2026-11-28T03:00:00Z", "2026-11-28T05:00:00Z");
        check("03:00-05:00", "UTC", "2026-11-28T04:59:59Z", "2026-11-28T03:00:00Z", "2026-11-28T05:00:00Z");
        check("03:00-05:00", "UTC", "2026-11-28T05:00:00Z", "2026-11-29T03:00:00Z", "2026-11-29T05:00:00Z");
        check("23:30-01:30", "UTC", "2026-11-28T01:00:00Z", "2026-11-27T23:30:00Z", "2026-11-28T01:30:00Z");
        check(
            "03:00-05:00",
            "Europe/Berlin",
            "2026-07-01T12:00:00Z",
            "2026-07-02T01:00:00Z",
            "2026-07-02T03:00:00Z",
        );
        check(
            "02:00-04:00",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            "2026-10-25T00:00:00Z",
            "2026-10-25T03:00:00Z",
        );
        // From two to three there is nothing in that night.
        check(
            "02:10-02:50",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            "2026-03-29T01:10:00Z",
            "2026-03-29T01:50:00Z",
        );
    }

    fn update(policy: UpdatePolicy) -> Update {
        let text = "[box.update]\nurl = \"https://updates.example.org\"\njitter = \"10m\"\n";
        let settings = recipes::user_data::parse("test", text).unwrap().settings;
        Update { policy, ..settings.update.unwrap() }
    }

    #[test]
    fn something_is_due_once_in_each_window_and_again_after_trouble() {
        let check = |now: &str, window: u64, tried: Option<&str>, expect: &str| {
            let record = UpdateRecord { window, ..UpdateRecord::default() };
            let clock = Clock { now: at(now), synchronized: true };
            let update = update(UpdatePolicy::Auto);
            let due = due(&update, &TimeZone::UTC, "box", &record, tried.map(at), clock);
            let told = match due {
                Due::Never => "never".to_owned(),
                Due::In(seconds) => Timestamp::from_second((at(now) + seconds) as i64).unwrap().to_string(),
                Due::Now { window, apply } => format!("now {} {apply}", window == at("2026-11-28T03:00:00Z")),
            };
            assert_eq!(told, expect, "{now} {window} {tried:?}");
        };
        let opens = at("2026-11-28T03:00:00Z");
        let later = |opens: u64| {
            Timestamp::from_second((opens + jitter("box", opens, Duration::from_secs(600))) as i64)
                .unwrap()
                .to_string()
        };
        let (today, tomorrow) = (later(opens), later(opens + 86_400));
        check("2026-11-28T01:00:00Z", 0, None, &today);
        check("2026-11-28T03:10:00Z", 0, None, "now true true");
        check("2026-11-28T03:10:00Z", opens, None, &tomorrow);
        // By a clock that was wrong.
        check("2026-11-28T03:10:00Z", at("2038-01-01T03:00:00Z"), None, "now true true");
        check("2026-11-28T03:10:00Z", 0, Some("2038-01-01T03:00:00Z"), "now true true");
        check("2026-11-28T03:20:00Z", 0, Some("2026-11-28T03:15:00Z"), "2026-11-28T03:25:00Z");
        check("2026-11-28T03:25:00Z", 0, Some("2026-11-28T03:15:00Z"), "now true true");
        check("2026-11-28T04:55:00Z", 0, Some("2026-11-28T04:52:00Z"), &tomorrow);
        check("2026-11-28T03:15:00Z", 0, Some("2026-11-27T04:59:00Z"), "now true true");
    }

    #[test]
    fn nothing_is_due_by_hand_or_before_the_clock_is_set() {
        let record = UpdateRecord::default();
        let check = |policy, synchronized, expect| {
            let clock = Clock { now: at("2026-11-28T03:30:00Z"), synchronized };
            assert_eq!(due(&update(policy), &TimeZone::UTC, "box", &record, None, clock), expect);
        };
        let window = at("2026-11-28T03:00:00Z");
        check(UpdatePolicy::Manual, true, Due::Never);
        check(UpdatePolicy::Auto, false, Due::In(30));
        check(UpdatePolicy::Stage, true, Due::Now { window, apply: false });
    }

    #[test]
    fn a_failed_version_is_tried_in_two_later_windows_and_then_left() {
        let version: Version = "2".parse().unwrap();
        let check = |attempts, window, held, now, expect: Result<(), &str>| {
            let failed = FailedVersion { attempts, reason: "no network".into(), window, held };
            let record =
                UpdateRecord { failed: [(version.clone(), failed)].into(), ..UpdateRecord::default() };
            assert_eq!(may_try(&record, &version, now), expect.map_err(str::to_owned));
        };
        check(1, 100, false, 100, Err("2 is tried again in the next window: no network"));
        check(1, 100, false, 200, Ok(()));
        check(2, 200, false, 300, Ok(()));
        check(1, 4_000_000_000, false, 300, Ok(()));
        check(3, 300, false, 400, Err("2 was tried 3 times and is left until told: no network"));
        check(1, 0, true, 400, Err("2 is left until told: no network"));
        assert_eq!(may_try(&UpdateRecord::default(), &version, 1), Ok(()));
    }
}
