//! MIME messages taken apart (RFC 2045, 2046 and 5322), as far as user-data needs it.
//!
//! Contents stay bytes: nothing is converted to another character set. Limits on parts, depth and headers hold
//! before anything is decoded, and each byte is looked at once for each level that it lies in.

use quoted_printable::ParseMode;

use crate::decode;
use crate::user_data::{MOST_PARTS, OpenError};

/// Most levels of parts in parts.
const DEEPEST: usize = 4;
/// Longest `type/subtype` (RFC 6838, section 4.2).
const LONGEST_TYPE: usize = 255;
/// Longest header, in bytes with its further lines.
const LONGEST: usize = 8 * 1024;

/// A message, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Message<'a> {
    /// Parts that hold no others, in order.
    pub(crate) parts: Vec<Part<'a>>,
    /// Whether the end of one that holds others is missing.
    pub(crate) cut: bool,
}

/// A part as it stands in the message.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// `type/subtype` in lower case; empty where none is given.
    pub(crate) media_type: String,
    encoding: String,
    body: &'a [u8],
}

impl Part<'_> {
    /// The content; none where it is not encoded as it says.
    pub(crate) fn decoded(&self) -> Option<Vec<u8>> {
        match self.encoding.as_str() {
            "" | "7bit" | "8bit" | "binary" => Some(self.body.to_vec()),
            "base64" => decode::base64(self.body),
            // Its strict form wants line ends that nobody writes.
            "quoted-printable" => quoted_printable::decode(self.body, ParseMode::Robust).ok(),
            _ => None,
        }
    }
}

/// Takes a message apart.
pub(crate) fn parts(data: &[u8]) -> Result<Message<'_>, OpenError> {
    let data = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data).trim_ascii_start();
    // The line that separates messages in a file (RFC 4155) is none of a message's own.
    let data = if data.starts_with(b"From ") { &data[line(data).len()..] } else { data };
    let mut message = Message::default();
    take(&mut message, data, 0)?;
    Ok(message)
}

fn take<'a>(message: &mut Message<'a>, data: &'a [u8], depth: usize) -> Result<(), OpenError> {
    if depth > DEEPEST || message.parts.len() >= MOST_PARTS {
        return Err(OpenError::Parts);
    }
    let (headers, body) = headers(data);
    let named = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let value = named("content-type").unwrap_or_default().trim();
    let parsed = value.parse::<mime::Mime>().ok();
    // One that is not well formed counts as far as it goes.
    let before = value.split([';', ' ', '\t']).next().unwrap_or_default();
    let media_type = parsed.as_ref().map_or(before, |parsed| parsed.essence_str()).to_ascii_lowercase();
    let media_type: String = media_type.chars().filter(char::is_ascii_graphic).take(LONGEST_TYPE).collect();
    if !media_type.starts_with("multipart/") {
        let encoding = named("content-transfer-encoding").unwrap_or_default().trim().to_ascii_lowercase();
        message.parts.push(Part { media_type, encoding, body });
        return Ok(());
    }
    let boundary = parsed.as_ref().and_then(|parsed| parsed.get_param(mime::BOUNDARY));
    let boundary = boundary.filter(|boundary| !boundary.as_str().is_empty()).ok_or(OpenError::Boundary)?;
    let (inner, closed) = split(body, boundary.as_str());
    message.cut |= !closed;
    inner.into_iter().try_for_each(|part| take(message, part, depth + 1))
}

/// The first line, with its end.
fn line(data: &[u8]) -> &[u8] {
    let end = data.iter().position(|byte| *byte == b'\n').map_or(data.len(), |end| end + 1);
    &data[..end]
}

/// Headers, their names in lower case and their lines joined, and what follows the empty line behind them.
fn headers(mut data: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let mut headers: Vec<(String, String)> = vec![];
    while !data.is_empty() {
        let line = line(data);
        data = &data[line.len()..];
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        if text.is_empty() {
            break;
        }
        if text.len() > LONGEST {
            continue;
        }
        if text.starts_with([' ', '\t']) {
            if let Some((_, value)) = headers.last_mut().filter(|(_, value)| value.len() < LONGEST) {
                value.push(' ');
                value.push_str(text.trim());
            }
        } else if let Some((name, value)) = text.split_once(':')
            && headers.len() < MOST_PARTS
        {
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    (headers, data)
}

/// What stands between the lines of a boundary, and whether the last of them closes it. The line's end before a
/// boundary is the boundary's.
fn split<'a>(body: &'a [u8], boundary: &str) -> (Vec<&'a [u8]>, bool) {
    let delimiter = format!("--{boundary}");
    let (mut parts, mut begun, mut at) = (vec![], None, 0);
    while at < body.len() {
        let line = line(&body[at..]);
        if let Some(rest) = line.trim_ascii_end().strip_prefix(delimiter.as_bytes())
            && matches!(rest, b"" | b"--")
        {
            if let Some(start) = begun {
                let part: &[u8] = &body[start..at];
                let part = part.strip_suffix(b"\n").unwrap_or(part);
                parts.push(part.strip_suffix(b"\r").unwrap_or(part));
            }
            if rest == b"--" {
                return (parts, true);
            }
            begun = Some(at + line.len());
        }
        at += line.len();
        if parts.len() > MOST_PARTS {
            break;
        }
    }
    parts.extend(begun.map(|start| &body[start.min(body.len())..]));
    (parts, false)
}
