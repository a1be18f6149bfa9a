//! Time zones, and windows of the day in local time.

use std::fmt;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZoneDatabase;
use serde::{Deserialize, Serialize};

use super::ShapeError;
use crate::keys;

/// A time zone of the IANA database that is built in: no file of the system is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeZone {
    name: String,
    zone: jiff::tz::TimeZone,
}

impl TimeZone {
    /// Reads a name of the IANA database as it is written there, such as `Europe/Berlin`.
    pub fn parse(text: &str) -> Result<TimeZone, ShapeError> {
        let database = TimeZoneDatabase::bundled();
        let known: Vec<String> = database.available().map(|name| name.to_string()).collect();
        let zone = known.iter().any(|name| name == text).then(|| database.get(text).ok()).flatten();
        match zone {
            Some(zone) => Ok(TimeZone { name: text.to_owned(), zone }),
            None => {
                let hint = match nearest_zone(text, &known) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => {
                        "write a name of the IANA database, such as \"Europe/Berlin\" or \"UTC\"".to_owned()
                    }
                };
                Err(ShapeError::new("not a known time zone", hint))
            }
        }
    }

    /// Its name, as in `/usr/share/zoneinfo`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The zone itself, which turns a point in time into a local one and back.
    pub fn zone(&self) -> &jiff::tz::TimeZone {
        &self.zone
    }
}

/// The zone that was meant: in other case or with spaces, by its city alone, or with a slip.
fn nearest_zone<'a>(text: &str, known: &'a [String]) -> Option<&'a str> {
    let plain = text.trim().replace(' ', "_");
    let is_city =
        |name: &str| name.rsplit_once('/').is_some_and(|(_, city)| city.eq_ignore_ascii_case(&plain));
    let names = || known.iter().map(String::as_str);
    let exact = names().find(|name| name.eq_ignore_ascii_case(&plain));
    exact.or_else(|| names().find(|name| is_city(name))).or_else(|| keys::nearest(&plain, names()))
}

impl Default for TimeZone {
    fn default() -> TimeZone {
        TimeZone { name: "UTC".to_owned(), zone: jiff::tz::TimeZone::UTC }
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl TryFrom<String> for TimeZone {
    type Error = ShapeError;

    fn try_from(text: String) -> Result<TimeZone, ShapeError> {
        TimeZone::parse(&text)
    }
}

impl From<TimeZone> for String {
    fn from(zone: TimeZone) -> String {
        zone.name
    }
}

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// A part of every day in local time, of 10 minutes to 23 hours 59 minutes; it may cross midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// Minutes after midnight, less than [`DAY`], as is `end`.
    start: u16,
    end: u16,
}

impl Window {
    /// Minutes of the shortest window.
    const LEAST: u16 = 10;

    /// Reads `HH:MM-HH:MM`, start and end; an en dash does too.
    pub fn parse(text: &str) -> Result<Window, ShapeError> {
        let hint = "write start and end in local time, such as \"03:00-05:00\" or \"23:30-01:30\"";
        let wrong = |message: &str| ShapeError::new(message, hint);
        let (start, end) =
            text.split_once(['-', '–']).ok_or_else(|| wrong("not a window of the form HH:MM-HH:MM"))?;
        let end_at = text.len() - end.len()..text.len();
        let start = minutes(start).map_err(|error| error.at(0..start.len()))?;
        let end = minutes(end).map_err(|error| error.at(end_at))?;
        let window = Window { start, end };
        if start == end {
            return Err(wrong("empty: it ends when it starts"));
        }
        if window.minutes() < Window::LEAST {
            let message = format!("shorter than {} minutes", Window::LEAST);
            let end = clock((start + Window::LEAST) % DAY);
            return Err(ShapeError::new(message, format!("end it at {end} or later")));
        }
        Ok(window)
    }

    /// Local time at which it opens.
    pub fn start(&self) -> Time {
        time(self.start)
    }

    /// Local time at which it has closed; before [`Window::start`] where it crosses midnight.
    pub fn end(&self) -> Time {
        time(self.end)
    }

    /// How long it is open, on a day on which no clock is changed.
    pub fn length(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.minutes()))
    }

    /// Whether it is open at this local time; at its end it is closed.
    pub fn contains(&self, time: Time) -> bool {
        match self.start() < self.end() {
            true => self.start() <= time && time < self.end(),
            false => self.start() <= time || time < self.end(),
        }
    }

    fn minutes(&self) -> u16 {
        (self.end + DAY - self.start) % DAY
    }
}

/// Minutes after midnight of `HH:MM`.
fn minutes(text: &str) -> Result<u16, ShapeError> {
    let number = |digits: &str, below: u16| -> Option<u16> {
        let good = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|number| good && *number < below)
    };
    let of = |(hour, minute)| Some(number(hour, 24)? * 60 + number(minute, 60)?);
    text.split_once(':').and_then(of).ok_or_else(|| {
        let hint = "write two digits each, from \"00:00\", which is midnight, to \"23:59\"";
        ShapeError::new("a window with a time that is not of the form HH:MM", hint)
    })
}

fn time(minutes: u16) -> Time {
    // Both are in range for every number of minutes below a day.
    jiff::civil::time((minutes / 60) as i8, (minutes % 60) as i8, 0, 0)
}

fn clock(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// Three to five in the night.
impl Default for Window {
    fn default() -> Window {
        Window { start: 3 * 60, end: 5 * 60 }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", clock(self.start), clock(self.end))
    }
}

impl TryFrom<String> for Window {
    type Error = ShapeError;

    fn try_from(text: String) -> Result<Window, ShapeError> {
        Window::parse(&text)
    }
}

impl From<Window> for String {
    fn from(window: Window) -> String {
        window.to_string()
    }
}
