//! Addresses of HTTP servers (RFC 3986, section 3).

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::ShapeError;
use super::net::is_host_and_port;

/// Bytes of the longest URL.
const MAX: usize = 2048;

/// The address of a place with files under it, over HTTP: `http://` or `https://`, a host, a port and a path where
/// they are needed. It has no user, query or fragment, and does not end in `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Reads one; slashes at the end are dropped.
    pub fn parse(text: &str) -> Result<BaseUrl, ShapeError> {
        let parts = Parts::of(text, "https://updates.example.org/holdfast")?;
        let plain = format!("{}{}{}", parts.scheme(), parts.host(), parts.path());
        let plain = plain.trim_end_matches('/');
        let extra = [("a user", parts.user()), ("a query", parts.query()), ("a fragment", parts.fragment())];
        match extra.into_iter().find(|(_, range)| !range.is_empty()) {
            Some((what, range)) => {
                Err(ShapeError::new(format!("a URL with {what}"), format!("write \"{plain}\"")).at(range))
            }
            None => Ok(BaseUrl(plain.to_owned())),
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = ShapeError;

    fn try_from(text: String) -> Result<BaseUrl, ShapeError> {
        BaseUrl::parse(&text)
    }
}

impl From<BaseUrl> for String {
    fn from(url: BaseUrl) -> String {
        url.0
    }
}

/// A URL that something is sent to, over HTTP: user, query and path as they come, no fragment. No error says
/// anything of the text, which may hold a token.
pub fn hook_url(text: &str) -> Result<String, ShapeError> {
    let parts = Parts::of(text, "https://hooks.example.org/hub1")?;
    if !parts.fragment().is_empty() {
        let hint =
            "no server is sent one: leave out `#` and what follows, or write `%23` for a `#` of a token";
        return Err(ShapeError::new("a URL with a fragment", hint).at(parts.fragment()));
    }
    Ok(text.to_owned())
}

/// The places in a URL at which one part ends and the next begins, in their order. A part holds its delimiter, so an
/// absent one is empty, and one that is there is not.
struct Parts<'a> {
    text: &'a str,
    user: usize,
    host: usize,
    path: usize,
    query: usize,
    fragment: usize,
}

impl<'a> Parts<'a> {
    /// Takes a URL apart, with a host and port that are right and nothing in it that must be percent-encoded.
    fn of(text: &'a str, example: &str) -> Result<Parts<'a>, ShapeError> {
        let wrong = |message: &str| ShapeError::new(message, format!("write one such as \"{example}\""));
        if text.len() > MAX {
            return Err(ShapeError::new(format!("a URL of more than {MAX} bytes"), "write a shorter one"));
        }
        let scheme = ["https://", "http://"].into_iter().find(|scheme| text.starts_with(scheme));
        let user = scheme.ok_or_else(|| wrong("not an http:// or https:// URL"))?.len();
        let foreign = |c: char| !c.is_ascii_graphic() || "\"<>\\^`{|}".contains(c);
        if let Some((at, c)) = text.char_indices().find(|(_, c)| foreign(*c)) {
            let hint =
                "write it percent-encoded, such as `%20` for a space; a host name in its ASCII form, `xn--…`";
            let message = "a URL with a character that none can have";
            return Err(ShapeError::new(message, hint).at(at..at + c.len_utf8()));
        }
        let from = |start: usize, delimiters: &[char]| {
            text[start..].find(delimiters).map_or(text.len(), |found| start + found)
        };
        let path = from(user, &['/', '?', '#']);
        let query = from(path, &['?', '#']);
        let fragment = from(query, &['#']);
        let host = text[user..path].rfind('@').map_or(user, |at| user + at + 1);
        let parts = Parts { text, user, host, path, query, fragment };
        match parts.host() {
            "" => Err(wrong("a URL without a host")),
            host if !is_host_and_port(host) => {
                let hint = "write `HOST` or `HOST:PORT`, with an IPv6 address in brackets";
                Err(ShapeError::new("a URL whose host or port is wrong", hint).at(parts.host..path))
            }
            _ => Ok(parts),
        }
    }

    fn scheme(&self) -> &'a str {
        &self.text[..self.user]
    }

    fn user(&self) -> Range<usize> {
        self.user..self.host
    }

    fn host(&self) -> &'a str {
        &self.text[self.host..self.path]
    }

    fn path(&self) -> &'a str {
        &self.text[self.path..self.query]
    }

    fn query(&self) -> Range<usize> {
        self.query..self.fragment
    }

    fn fragment(&self) -> Range<usize> {
        self.fragment..self.text.len()
    }
}
