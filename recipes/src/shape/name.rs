//! Names and host names.

use super::ShapeError;

/// Bytes of the longest name.
const MAX: usize = 31;

fn check(text: &str, separator: u8, what: &str) -> Result<String, ShapeError> {
    let bytes = text.as_bytes();
    let good = !bytes.is_empty()
        && bytes.len() <= MAX
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != separator
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == separator);
    if good {
        return Ok(text.to_owned());
    }
    let separator = char::from(separator);
    let rule = format!(
        "{what} begins with a letter, has at most {MAX} of a-z, 0-9 and `{separator}`, and does not end in `{separator}`"
    );
    let hint = match suggestion(text, separator) {
        Some(better) => format!("{rule}; `{better}` would do"),
        None => rule,
    };
    Err(ShapeError::new(format!("not {what}"), hint))
}

fn suggestion(text: &str, separator: char) -> Option<String> {
    let mut out = String::new();
    for c in text.chars().take(200) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || (c.is_ascii_digit() && !out.is_empty()) => out.push(c),
            '-' | '_' | ' ' | '.' | '/' if !out.is_empty() && !out.ends_with(separator) => {
                out.push(separator)
            }
            _ => {}
        }
    }
    out.truncate(MAX);
    let out = out.trim_end_matches(separator);
    (!out.is_empty()).then(|| out.to_owned())
}

/// A name: `[a-z][a-z0-9-]{0,30}`, not ending in `-`.
pub fn name(text: &str) -> Result<String, ShapeError> {
    check(text, b'-', "a name")
}

/// The name of a parameter or secret: `_` instead of `-`.
pub fn identifier(text: &str) -> Result<String, ShapeError> {
    check(text, b'_', "a parameter name")
}

/// A host name (RFC 1123, section 2.1): labels of at most 63 letters, digits and inner `-`, at most 253 bytes.
pub fn hostname(text: &str) -> Result<String, ShapeError> {
    if is_compatible_hostname(text) {
        return Ok(text.to_owned());
    }
    Err(ShapeError::new(
        "not a host name",
        "a host name has labels of at most 63 letters, digits and inner `-`, separated by dots, such as \"hub1\" or \
         \"a.example.org\"",
    ))
}

/// Whether a text is a host name as [`hostname`] takes it.
pub fn is_compatible_hostname(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            let bytes = label.as_bytes();
            matches!(bytes.len(), 1..=63)
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
                && bytes[0] != b'-'
                && bytes[bytes.len() - 1] != b'-'
        })
}
