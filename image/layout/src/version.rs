//! `IMAGE_VERSION`: numbers joined by dots, totally ordered.
//!
//! Each number counts by itself, and a version that is the beginning of another one comes before it:
//! `0.2.0.20261127` < `0.2.0.20261127.1` < `0.2.1`. A number has no leading zero, so that two versions
//! are equal when their texts are.

use std::fmt;
use std::str::FromStr;

/// The most numbers that a version has.
const NUMBERS: usize = 8;
/// The most digits that a number has.
const DIGITS: usize = 18;

/// A version of the image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(Vec<u64>);

/// Why a text is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version: numbers joined by dots, as 0.2.0.20261127, with no leading zeroes")]
pub struct VersionError(String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Version, VersionError> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && part.len() <= DIGITS;
            let plain = part == "0" || !part.starts_with('0');
            (digits && plain).then(|| part.parse().ok()).flatten()
        };
        let numbers: Option<Vec<u64>> = text.split('.').take(NUMBERS + 1).map(number).collect();
        let said = || VersionError(text.chars().take(80).collect());
        numbers.filter(|numbers| numbers.len() <= NUMBERS).map(Version).ok_or_else(said)
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Version, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, number) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            write!(f, "{dot}{number}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_by_number_and_a_longer_one_comes_after() {
        let ordered = ["0.1.0.20261127", "0.1.0.20261127.1", "0.1.0.20261128", "0.2", "0.2.0", "0.10", "1"];
        let parsed: Vec<Version> = ordered.iter().map(|text| text.parse().unwrap()).collect();
        assert!(parsed.is_sorted_by(|a, b| a < b), "{parsed:?}");
        assert_eq!(parsed.iter().map(Version::to_string).collect::<Vec<_>>(), ordered);
    }

    #[test]
    fn what_could_be_written_in_two_ways_is_refused() {
        for text in
            ["", ".", "1.", "01", "1.00", "1.a", "-1", "+1", "1 ", "1.2.3.4.5.6.7.8.9", "1234567890123456789"]
        {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
