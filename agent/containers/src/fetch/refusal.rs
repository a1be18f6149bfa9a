//! What an answer that is no success means: who gave it, what may help, and whether to try again.
//!
//! Of a refusal's text only the code is told, a word of the OCI distribution specification, "Error Codes": the
//! rest may say back what it was told.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use ureq::Body;
use ureq::http::{HeaderMap, Response, header};

use super::error::{FetchError, FetchErrorKind};
use super::http::{Failure, read_body};
use crate::image::or_default;

/// Bytes of a refusal that are read.
const TEXT: u64 = 16 << 10;
/// Letters of a code.
const CODE: usize = 40;

/// What was asked for, and of whom. `named`: with a name and password.
pub(super) enum Asked<'a> {
    /// The registry, for something of the image.
    Image { what: &'a str, named: bool },
    /// A host that the registry sent us to, for the same.
    Elsewhere { what: &'a str, host: &'a str },
    /// A token server.
    Token { host: &'a str, named: bool },
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default, deserialize_with = "or_default")]
    errors: Vec<Code>,
}

#[derive(Deserialize)]
struct Code {
    #[serde(default, deserialize_with = "or_default")]
    code: String,
}

/// What an answer that is no success means.
pub(super) fn refusal(response: Response<Body>, asked: &Asked<'_>) -> Failure {
    let status = response.status().as_u16();
    let wait = retry_after(response.headers(), SystemTime::now());
    let mut message = match asked {
        Asked::Image { what, .. } => format!("the registry answers {status} to the request for {what}"),
        Asked::Elsewhere { what, host } => {
            format!("`{host}`, where the registry sends us, answers {status} to the request for {what}")
        }
        Asked::Token { host, .. } => format!("the token server `{host}` answers {status}"),
    };
    // Without a code the status has to do.
    if let Ok(Some(bytes)) = read_body(response.into_body(), TEXT)
        && let Some(code) = code(&bytes)
    {
        message.push_str(&format!(": {code}"));
    }
    if let Some(wait) = wait {
        message.push_str(&format!("; it asks to be left alone for {} s", wait.as_secs()));
    }
    let error = |kind| match hint(status, asked) {
        Some(hint) => FetchError::new(kind, message.as_str()).hint(hint),
        None => FetchError::new(kind, message.as_str()),
    };
    match (status, asked) {
        (401 | 403, _) => error(FetchErrorKind::Unauthorized).into(),
        (404, Asked::Image { .. }) => error(FetchErrorKind::NotFound).into(),
        (408 | 429 | 500..=599, _) => {
            Failure { error: error(FetchErrorKind::Unreachable), transient: true, wait }
        }
        _ => error(FetchErrorKind::Unreachable).into(),
    }
}

/// What may help.
fn hint(status: u16, asked: &Asked<'_>) -> Option<&'static str> {
    Some(match (status, asked) {
        (401, Asked::Image { named: true, .. } | Asked::Token { named: true, .. }) => {
            "check `username` and `password` in the registry's [[box.registry]], and the image's name"
        }
        (403, Asked::Image { named: true, .. } | Asked::Token { named: true, .. }) => {
            "check the image's name, and whether the `username` of the registry's [[box.registry]] may pull it"
        }
        (401 | 403, Asked::Image { .. } | Asked::Token { .. }) => {
            "check the image's name; if it is not public, give `username` and `password` in the registry's \
             [[box.registry]]"
        }
        (401 | 403, Asked::Elsewhere { .. }) => {
            "a name and password are not for that host: is the box's clock right?"
        }
        (404, Asked::Image { .. }) => "check the image's name and tag",
        (429, Asked::Image { named: false, .. } | Asked::Token { named: false, .. }) => {
            "it limits how much may be pulled: wait, or give a `username` in the registry's [[box.registry]]"
        }
        (429, _) => "it limits how much may be pulled: wait",
        _ => return None,
    })
}

/// A refusal's first code.
fn code(bytes: &[u8]) -> Option<String> {
    let refused: Refused = serde_json::from_slice(bytes).ok()?;
    let code = refused.errors.into_iter().next()?.code;
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    ((1..=CODE).contains(&code.len()) && code.bytes().all(plain)).then_some(code)
}

/// RFC 9110, section 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        for (text, expect) in [
            (r#"{"errors":[{"code":"DENIED","message":"hub:word may not"},{"code":"X"}]}"#, Some("DENIED")),
            (r#"{"errors":[{"code":"hub:word"}]}"#, None),
            (r#"{"errors":[{"code":""}]}"#, None),
            (r#"{"errors":[{"message":"no code"}]}"#, None),
            (r#"{"errors":null,"details":"x"}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(code(text.as_bytes()).as_deref(), expect, "{text}");
        }
        assert_eq!(code(format!(r#"{{"errors":[{{"code":"{}"}}]}}"#, "A".repeat(41)).as_bytes()), None);
    }

    #[test]
    fn how_long_to_wait() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, expect) in [
            ("0", Some(0)),
            (" 120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), expect.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
