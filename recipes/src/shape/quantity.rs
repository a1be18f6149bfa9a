//! Bytes, time spans, processors and file modes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ShapeError;

const SIZE_HINT: &str = "write bytes as an integer, or a text such as \"256M\" or \"10G\" (K, M, G, T)";
const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

/// Bytes of a text such as `"256M"`: a whole number and K, M, G or T, powers of 1024.
pub fn size(text: &str) -> Result<u64, ShapeError> {
    let wrong = |message: &str| ShapeError::new(message, SIZE_HINT);
    let (digits, shift) = match UNITS.iter().find(|(unit, _)| text.ends_with(*unit)) {
        Some((_, shift)) => (&text[..text.len() - 1], *shift),
        None => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong("not a size"));
    }
    let number: u64 = digits.parse().map_err(|_| wrong("a size beyond what can be counted"))?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok());
    bytes.ok_or_else(|| wrong("a size beyond what can be counted"))
}

/// The shortest text for these bytes; [`size`] gives them back.
pub fn size_text(bytes: u64) -> String {
    for (unit, shift) in UNITS {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

const DURATION_HINT: &str = "write it as \"10s\", \"5m\", \"1h 30m\" or \"7d\"";
const DURATION_UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
const MAX_DURATION: u64 = 100 * 365 * 86_400;

/// A time span: numbers with d, h, m or s, each unit once and the greater first, at most a hundred years.
pub fn duration(text: &str) -> Result<Duration, ShapeError> {
    let wrong = |message: &str| ShapeError::new(message, DURATION_HINT);
    let mut seconds: u64 = 0;
    let mut least = u64::MAX;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut rest = word;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .ok_or_else(|| wrong("a time span without its unit"))?;
            let unit = rest[digits..].chars().next().unwrap_or(' ');
            let found = DURATION_UNITS.iter().find(|(letter, _)| *letter == unit);
            let (Some((_, length)), 1..) = (found, digits) else {
                return Err(wrong("not a time span"));
            };
            if *length >= least {
                return Err(wrong("a time span with its units out of order"));
            }
            least = *length;
            let number: u64 =
                rest[..digits].parse().map_err(|_| wrong("a time span of more than a hundred years"))?;
            seconds = number
                .checked_mul(*length)
                .and_then(|more| seconds.checked_add(more))
                .filter(|sum| *sum <= MAX_DURATION)
                .ok_or_else(|| wrong("a time span of more than a hundred years"))?;
            rest = &rest[digits + 1..];
        }
    }
    if least == u64::MAX {
        return Err(wrong("an empty time span"));
    }
    Ok(Duration::from_secs(seconds))
}

/// The text of a time span in whole seconds; [`duration`] gives it back.
pub fn duration_text(duration: Duration) -> String {
    let mut seconds = duration.as_secs();
    let mut words = Vec::new();
    for (unit, length) in DURATION_UNITS {
        if seconds >= length {
            words.push(format!("{}{unit}", seconds / length));
            seconds %= length;
        }
    }
    if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
}

/// A processor limit in thousandths of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cpus {
    milli: u32,
}

impl Cpus {
    const HINT: &str = "write a number such as 0.5 or 2, from 0.01 to 1024";

    /// From a number of processors.
    pub fn new(cpus: f64) -> Result<Cpus, ShapeError> {
        if !(0.01..=1024.0).contains(&cpus) {
            return Err(ShapeError::new("not a possible number of processors", Cpus::HINT));
        }
        Ok(Cpus { milli: (cpus * 1000.0).round() as u32 })
    }

    /// From its text.
    pub fn parse(text: &str) -> Result<Cpus, ShapeError> {
        match text.parse() {
            Ok(cpus) => Cpus::new(cpus),
            Err(_) => Err(ShapeError::new("not a number of processors", Cpus::HINT)),
        }
    }

    /// Thousandths of a processor.
    pub fn milli(self) -> u32 {
        self.milli
    }
}

/// Permission bits written in octal, as `"0644"`.
pub fn file_mode(text: &str) -> Result<u32, ShapeError> {
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err(ShapeError::new("not a file mode", "write permission bits in octal, such as \"0644\"")),
    }
}
