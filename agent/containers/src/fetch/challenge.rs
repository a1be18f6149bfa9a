//! What a server asks of those whom it refused: the values of `WWW-Authenticate`, read.
//!
//! RFC 9110, sections 11.2 and 11.6.1: one value may hold several challenges, and a parameter's text may be
//! quoted. What is not understood is passed over. Deliberately absent: what to answer.

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// A challenge as it is written.
struct Written<'a> {
    scheme: &'a str,
    parameters: Vec<(String, String)>,
}

/// The challenges of a value, in order, without those of schemes that are not known.
pub(super) fn parse(value: &str) -> Vec<Challenge> {
    let mut written: Vec<Written<'_>> = Vec::new();
    for part in parts(value) {
        let end = part.find([' ', '\t', '=']).unwrap_or(part.len());
        let rest = part[end..].trim_start();
        // A word that no `=` follows is a scheme, and its first parameter comes after it.
        let parameter = if rest.starts_with('=') {
            part
        } else {
            written.push(Written { scheme: &part[..end], parameters: Vec::new() });
            rest
        };
        if let Some((key, value)) = parameter.split_once('=')
            && let Some(last) = written.last_mut()
            && let Some(value) = text(value.trim())
        {
            last.parameters.push((key.trim().to_ascii_lowercase(), value));
        }
    }
    written.iter().filter_map(known).collect()
}

fn known(written: &Written<'_>) -> Option<Challenge> {
    let parameter = |name: &str| {
        let found = written.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    };
    if written.scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !written.scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (service, scope) = (parameter("service"), parameter("scope"));
    Some(Challenge::Bearer { realm: parameter("realm")?, service, scope })
}

/// What stands between the commas that are not in quotes.
fn parts(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = value.split(move |letter| {
        let escapes = quoted && letter == '\\' && !escaped;
        if letter == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = escapes;
        letter == ',' && !quoted
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

/// A parameter's text; `None` when its quotes do not end.
fn text(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let mut text = String::new();
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => text.push(letters.next()?),
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.into(), service: owned(service), scope: owned(scope) }
    }

    const ALL: &str = r#"Bearer realm="https://a/t",service="r.example",scope="repository:a/b:pull,push""#;

    #[test]
    fn challenges() {
        let all = || bearer("https://a/t", Some("r.example"), Some("repository:a/b:pull,push"));
        for (value, expect) in [
            ("Basic realm=\"x\"", vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (ALL, vec![all()]),
            (
                r#"bearer Realm=https://a/t, error="invalid_token", service=s"#,
                vec![bearer("https://a/t", Some("s"), None)],
            ),
            ("Bearer\trealm = \"https://a/t?x=1\" ,", vec![bearer("https://a/t?x=1", None, None)]),
            (
                r#"Bearer realm="https://a/\"t\\",service=s"#,
                vec![bearer(r#"https://a/"t\"#, Some("s"), None)],
            ),
            (&format!("Basic realm=\"x, y\", {ALL}"), vec![Challenge::Basic, all()]),
            (&format!("{ALL}, Negotiate abc==, Basic realm=x"), vec![all(), Challenge::Basic]),
            ("Bearer service=\"s\"", vec![]),
            ("Bearer realm=\"unfinished", vec![]),
            ("realm=\"of nobody\"", vec![]),
            ("Negotiate", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(parse(value), expect, "{value}");
        }
    }

    /// Whatever a server writes.
    #[test]
    fn anything_is_read_to_its_end() {
        let whole = format!("Basic realm=\"x\\\"\", {ALL}, Negotiate a=");
        for at in 0..=whole.len() {
            let (before, after) = whole.split_at(at);
            for between in ["", "\"", "\\", ",", "=", " ", "é", "\t"] {
                assert!(parse(&format!("{before}{between}{after}")).len() <= 4);
                parse(&format!("{before}{between}"));
            }
        }
    }
}
