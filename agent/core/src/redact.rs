//! Text for others: without the secrets that are known, and without what looks like one.
//!
//! The second line of defence: what is given to others is chosen so that no secret is in it, and this takes out
//! what got there all the same, in an error of a program or the words of a server. Deliberately absent: where
//! secrets are found.

use recipes::Secret;
use serde_json::Value;

/// What stands in the place of a secret.
pub const HIDDEN: &str = "[hidden]";
/// Shorter ones are in every text: what hides them would tell them.
const SHORTEST: usize = 4;
/// Lines of a longer secret that are worth hiding alone.
const LINE: usize = 8;
/// A word behind `Bearer` or `Basic` that is long enough to be a token.
const TOKEN: usize = 12;

/// Takes secrets out of text.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    /// Every form in which a secret may stand in a text, the longest first.
    forms: Vec<Secret>,
}

impl Redactor {
    /// One that knows these secrets.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Redactor {
        let mut forms = Vec::new();
        for secret in secrets {
            let text = secret.expose().trim();
            let lines =
                text.lines().map(str::trim).filter(|line| line.len() >= LINE && line.len() < text.len());
            for text in lines.chain([text]).filter(|text| text.len() >= SHORTEST) {
                forms.extend([text.to_owned(), json(text), json(&json(text)), percent(text)]);
            }
        }
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Redactor { forms: forms.into_iter().map(Secret::new).collect() }
    }

    /// The text without them.
    pub fn text(&self, text: &str) -> String {
        let mut text = private_keys(text);
        for form in &self.forms {
            if text.contains(form.expose()) {
                text = text.replace(form.expose(), HIDDEN);
            }
        }
        tokens(&urls(&text))
    }

    /// A JSON value without them. Only its strings are looked at, so that it stays one.
    pub fn json(&self, value: Value) -> Value {
        let field = |(name, value): (String, Value)| (self.text(&name), self.json(value));
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(list) => Value::Array(list.into_iter().map(|value| self.json(value)).collect()),
            Value::Object(fields) => Value::Object(fields.into_iter().map(field).collect()),
            other => other,
        }
    }
}

/// As it stands in a JSON string.
fn json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// As it stands in a URL: all but what RFC 3986 calls unreserved is encoded.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Without what is inside of a private key in PEM. Before an end without a beginning all may be of a key.
fn private_keys(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("PRIVATE KEY-----") {
        let (before, after) = rest.split_at(at + "PRIVATE KEY-----".len());
        let label = &before[before[..at].rfind("-----").unwrap_or(0)..];
        if label.starts_with("-----END") {
            out = HIDDEN.to_owned() + label;
            rest = after;
            continue;
        }
        out += before;
        let end = after.find("-----END").unwrap_or(after.len());
        out += HIDDEN;
        let closed = &after[end..];
        let close = closed.find("PRIVATE KEY-----").map_or(0, |at| at + "PRIVATE KEY-----".len());
        out += &closed[..close];
        rest = &closed[close..];
    }
    out + rest
}

/// Without user, password and query of URLs.
fn urls(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out += before;
        let end = after.find(|c: char| c.is_whitespace() || "\"'`<>\\".contains(c)).unwrap_or(after.len());
        let (url, behind) = after.split_at(end);
        let authority = url.find(['/', '?', '#']).unwrap_or(url.len());
        let (authority, path) = url.split_at(authority);
        match authority.rsplit_once('@') {
            Some((_, host)) => out += &format!("{HIDDEN}@{host}"),
            None => out += authority,
        }
        match path.split_once('?') {
            Some((path, query)) if !query.is_empty() => out += &format!("{path}?{HIDDEN}"),
            _ => out += path,
        }
        rest = behind;
    }
    out + rest
}

/// Without what stands behind the name of a scheme of HTTP authentication.
fn tokens(text: &str) -> String {
    let mut text = text.to_owned();
    for scheme in ["Bearer ", "Basic "] {
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(scheme) {
            let (before, after) = rest.split_at(at + scheme.len());
            out += before;
            let part = |c: char| c.is_ascii_alphanumeric() || "+/=._~-".contains(c);
            let end = after.find(|c: char| !part(c)).unwrap_or(after.len());
            out += if end >= TOKEN { HIDDEN } else { &after[..end] };
            rest = &after[end..];
        }
        text = out + rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(secrets: &[&str], text: &str, expect: &str) {
        let redactor = Redactor::new(secrets.iter().map(|secret| Secret::new(*secret)));
        assert_eq!(redactor.text(text), expect);
    }

    #[test]
    fn known_secrets_are_hidden_in_every_form() {
        check(&["hunter2!"], "a hunter2! b hunter2%21 c", "a [hidden] b [hidden] c");
        check(&["pa\"ss\\word"], r#"{"x":"pa\"ss\\word"}"#, r#"{"x":"[hidden]"}"#);
        check(&["pa\"ss"], r#"{"x":"say pa\\\"ss"}"#, r#"{"x":"say [hidden]"}"#);
        check(&["abcd", "abcdefgh"], "abcdefgh abcd", "[hidden] [hidden]");
        check(&["first-line\nsecond-line\n"], "x second-line y", "x [hidden] y");
        check(&["  padded  "], "xpaddedy", "x[hidden]y");
        // What is in every text cannot be hidden.
        check(&["a", "", " "], "a banana", "a banana");
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden_too() {
        check(&[], "get https://u:p@x.org/a?k=v now", "get https://[hidden]@x.org/a?[hidden] now");
        check(&[], "`http://x.org:5000/v2/`, ftp://y", "`http://x.org:5000/v2/`, ftp://y");
        check(&[], "https://x.org?", "https://x.org?");
        check(&[], "Authorization: Basic aHViOnBhc3M6d29yZA==", "Authorization: Basic [hidden]");
        check(&[], "Reached target Basic System.", "Reached target Basic System.");
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\nbnNz\n-----END OPENSSH PRIVATE KEY-----\nx";
        check(&[], key, "-----BEGIN OPENSSH PRIVATE KEY-----[hidden]-----END OPENSSH PRIVATE KEY-----\nx");
        check(&[], "-----BEGIN PRIVATE KEY-----\ntorn", "-----BEGIN PRIVATE KEY-----[hidden]");
        check(&[], "a\nb3Bl\n-----END PRIVATE KEY-----\nx", "[hidden]-----END PRIVATE KEY-----\nx");
        let (torn, shown) = ("b3Bl\n-----END RSA PRIVATE KEY-----", "[hidden]-----END RSA PRIVATE KEY-----");
        check(&[], &format!("{torn}\n{key}"), &format!("{shown}\n{}", Redactor::default().text(key)));
    }

    #[test]
    fn json_stays_json() {
        let redactor = Redactor::new(["true", "1234"].map(Secret::new));
        let value = serde_json::json!({ "on": true, "n": 12345, "said": ["true", { "a1234": "x 1234" }] });
        let shown =
            serde_json::json!({ "on": true, "n": 12345, "said": [HIDDEN, { "a[hidden]": "x [hidden]" }] });
        assert_eq!(redactor.json(value), shown);
    }

    #[test]
    fn it_tells_nothing_of_what_it_knows() {
        let redactor = Redactor::new([Secret::new("hunter2")]);
        assert!(!format!("{redactor:?}").contains("hunter2"));
    }
}
