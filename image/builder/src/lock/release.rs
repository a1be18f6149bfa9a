//! A suite's signed release: when it was made, how long it holds, and the hashes of its indexes.
//!
//! Hashes other than SHA-256 are passed over. The text given here has been verified.

use std::collections::BTreeMap;

use jiff::fmt::strtime;
use jiff::{SignedDuration, Timestamp};

use crate::lock::control::Paragraph;

/// How far a release may lie in the future, since clocks differ.
const SKEW: SignedDuration = SignedDuration::from_hours(24);

/// Why a signed release cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// A field is missing or cannot be read.
    #[error("no valid `{0}` in it")]
    Field(&'static str),
    /// It belongs to another suite.
    #[error("it is that of `{0}`")]
    OtherSuite(String),
    /// Its time is over.
    #[error("it expired at {0}")]
    Expired(Timestamp),
    /// It was made later than now.
    #[error("it is dated {0}, which is in the future")]
    Future(Timestamp),
    /// The lock file was made from a newer one.
    #[error("it is of {found}, older than that of the lock file, {locked}")]
    Older {
        /// On the mirror.
        found: Timestamp,
        /// In the lock file.
        locked: Timestamp,
    },
    /// An index is not listed.
    #[error("it lists no SHA-256 for `{0}`")]
    NotListed(String),
}

impl ReleaseError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            ReleaseError::Expired(_) | ReleaseError::Older { .. } => {
                "the mirror is not up to date: try another one with --mirror".to_owned()
            }
            ReleaseError::Future(_) => "check this machine's clock".to_owned(),
            _ => return None,
        })
    }
}

/// A release, read.
#[derive(Debug)]
pub(crate) struct Release {
    /// When it was made.
    pub date: Timestamp,
    valid_until: Option<Timestamp>,
    codename: String,
    files: BTreeMap<String, IndexFile>,
}

/// An index by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexFile {
    /// Hex.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

impl Release {
    /// Reads the signed text.
    pub(crate) fn parse(text: &str) -> Result<Release, ReleaseError> {
        let paragraph = Paragraph::new(text);
        let field = |name: &'static str| paragraph.get(name).ok_or(ReleaseError::Field(name));
        let date = timestamp(field("Date")?).ok_or(ReleaseError::Field("Date"))?;
        let valid_until = match paragraph.get("Valid-Until") {
            None => None,
            Some(text) => Some(timestamp(text).ok_or(ReleaseError::Field("Valid-Until"))?),
        };
        let mut files = BTreeMap::new();
        for line in field("SHA256")?.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (sha256, size, path) = file_line(line).ok_or(ReleaseError::Field("SHA256"))?;
            files.insert(path.to_owned(), IndexFile { sha256: sha256.to_ascii_lowercase(), size });
        }
        Ok(Release { date, valid_until, codename: field("Codename")?.to_owned(), files })
    }

    /// Checks that it is this suite's, and holds now.
    pub(crate) fn check(&self, suite: &str, now: Timestamp) -> Result<(), ReleaseError> {
        if self.codename != suite {
            return Err(ReleaseError::OtherSuite(self.codename.clone()));
        }
        if self.date > now + SKEW {
            return Err(ReleaseError::Future(self.date));
        }
        match self.valid_until {
            Some(until) if until < now => Err(ReleaseError::Expired(until)),
            _ => Ok(()),
        }
    }

    /// Checks that a mirror has not gone back behind what was locked from it.
    pub(crate) fn check_not_older(&self, locked: &str) -> Result<(), ReleaseError> {
        match locked.parse::<Timestamp>() {
            Ok(locked) if self.date < locked => Err(ReleaseError::Older { found: self.date, locked }),
            _ => Ok(()),
        }
    }

    /// The hash of an index, by its path under the suite.
    pub(crate) fn file(&self, path: &str) -> Result<&IndexFile, ReleaseError> {
        self.files.get(path).ok_or_else(|| ReleaseError::NotListed(path.to_owned()))
    }
}

fn file_line(line: &str) -> Option<(&str, u64, &str)> {
    let mut words = line.split_ascii_whitespace();
    let (sha256, size, path) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let valid = sha256.len() == 64 && sha256.bytes().all(|c| c.is_ascii_hexdigit());
    (valid && words.next().is_none()).then_some((sha256, size, path))
}

/// `Sat, 12 Sep 2026 07:55:41 UTC`.
fn timestamp(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix("UTC").or_else(|| text.strip_suffix("+0000"))?;
    let time = strtime::parse("%a, %d %b %Y %H:%M:%S", text.trim()).ok()?;
    Some(time.to_datetime().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Codename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n\
        Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC\nSHA256:\n \
        7778d3e3f303b7ddb8ce0fe7c8d57473a076c6bf2e8f241f75421d2396352498 12 main/binary-amd64/Packages.xz\n";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_release_holds_between_its_dates() {
        let release = Release::parse(TEXT).unwrap();
        assert_eq!(release.file("main/binary-amd64/Packages.xz").unwrap().size, 12);
        release.check("trixie", at("2026-09-13T00:00:00Z")).unwrap();
        for (suite, now, expect) in [
            ("trixie", "2026-09-19T07:55:42Z", "it expired at 2026-09-19T07:55:41Z"),
            ("trixie", "2026-09-10T00:00:00Z", "it is dated 2026-09-12T07:55:41Z, which is in the future"),
            ("trixie-security", "2026-09-13T00:00:00Z", "it is that of `trixie`"),
        ] {
            assert_eq!(release.check(suite, at(now)).unwrap_err().to_string(), expect);
        }
        assert!(release.check_not_older("2026-09-12T07:55:41Z").is_ok());
        assert!(release.check_not_older("2026-09-12T07:55:42Z").is_err());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (from, to, expect) in [
            ("Date:", "Dote:", "no valid `Date` in it"),
            ("07:55:41 UTC\nSHA", "07:55:61 UTC\nSHA", "no valid `Valid-Until` in it"),
            ("7778d3", "777", "no valid `SHA256` in it"),
            ("SHA256:", "MD5Sum:", "no valid `SHA256` in it"),
        ] {
            assert_eq!(Release::parse(&TEXT.replace(from, to)).unwrap_err().to_string(), expect);
        }
    }
}
