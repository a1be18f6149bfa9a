//! How long metadata holds.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

/// A time span as it is written on the command line: `14d`.
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
#[error("`{0}` is no time span: a number with s, m, h, d or w, as 14d, at most 50 years")]
pub(crate) struct LifetimeError(String);

impl FromStr for Lifetime {
    type Err = LifetimeError;

    fn from_str(text: &str) -> Result<Lifetime, LifetimeError> {
        let error = || LifetimeError(text.to_owned());
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => DAY,
            Some('w') => 7 * DAY,
            _ => return Err(error()),
        };
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| error())?;
        let seconds = number.checked_mul(unit).filter(|seconds| (1..=LONGEST).contains(seconds));
        seconds.map(Lifetime).ok_or_else(error)
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(DAY) { write!(f, "{}d", self.0 / DAY) } else { write!(f, "{}s", self.0) }
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
            [("14d", 14 * DAY), ("2w", 14 * DAY), ("36h", 36 * 3600), ("1s", 1), ("3m", 180)]
        {
            assert_eq!(text.parse(), Ok(Lifetime(seconds)), "{text}");
        }
        for text in
            ["", "d", "14", "-1d", "0d", "1y", "1.5d", "99999w", "18446744073709551615w", "14 d", "1é"]
        {
            assert_eq!(text.parse::<Lifetime>(), Err(LifetimeError(text.to_owned())));
        }
        assert_eq!(TIMESTAMP.to_string(), "14d");
        let start = Timestamp::from_millisecond(1_500).unwrap();
        assert_eq!(Lifetime(60).after(start), Timestamp::from_second(61).unwrap());
    }
}
