//! How long metadata holds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use recipes::shape;

/// A time span as it is written in user-data: `14d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lifetime(u64);

/// Of the timestamp, which says that the rest is current.
pub(crate) const TIMESTAMP: Lifetime = Lifetime(14 * DAY);
/// Of snapshot and targets.
pub(crate) const RELEASES: Lifetime = Lifetime(90 * DAY);
/// What must be left of snapshot and targets when a timestamp is made: else they are made anew too.
pub(crate) const MARGIN: Lifetime = Lifetime(30 * DAY);

const DAY: u64 = 24 * 3600;
const LONGEST: u64 = 50 * 365 * DAY;

/// Why a text is no time span.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time span: write it as 14d or 36h, at most 50 years")]
pub(crate) struct LifetimeError(String);

impl FromStr for Lifetime {
    type Err = LifetimeError;

    fn from_str(text: &str) -> Result<Lifetime, LifetimeError> {
        let seconds = shape::duration(text).ok().map(|span| span.as_secs());
        let seconds = seconds.filter(|seconds| (1..=LONGEST).contains(seconds));
        seconds.map(Lifetime).ok_or_else(|| LifetimeError(text.to_owned()))
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shape::duration_text(Duration::from_secs(self.0)))
    }
}

impl Lifetime {
    /// The end of this time after `now`, in whole seconds.
    pub(crate) fn after(self, now: Timestamp) -> Timestamp {
        let seconds = i64::try_from(self.0).unwrap_or(i64::MAX);
        let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
        whole.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_a_unit() {
        for (text, seconds) in
            [("14d", 14 * DAY), ("1d 12h", 36 * 3600), ("36h", 36 * 3600), ("1s", 1), ("3m", 180)]
        {
            assert_eq!(text.parse(), Ok(Lifetime(seconds)), "{text}");
        }
        for text in
            ["", "d", "14", "-1d", "0d", "1y", "1.5d", "99999d", "18446744073709551615d", "14 d", "1é"]
        {
            assert_eq!(text.parse::<Lifetime>(), Err(LifetimeError(text.to_owned())));
        }
        assert_eq!(TIMESTAMP.to_string(), "14d");
        let start = Timestamp::from_millisecond(1_500).unwrap();
        assert_eq!(Lifetime(60).after(start), Timestamp::from_second(61).unwrap());
    }
}
