//! Which parts of a document hold secrets, told without knowing whether the document is right: an error on the
//! line of a password must not print it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Source;

/// Ranges of the values that may be secrets: `password` anywhere, values given under `params`, and the `default`
/// of a parameter that is not plainly of another type; all of `[box.notify]`, and the URL of `[box.update]` when it
/// has more than a host and a path; and a private key wherever one was put by mistake.
pub(super) fn secrets(root: &Spanned<DeTable<'_>>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    table(root.get_ref(), false, &mut found);
    let settings = root.get_ref().get("box").and_then(|settings| settings.get_ref().as_table());
    for (key, value) in [Some(root.get_ref()), settings].into_iter().flatten().flatten() {
        match key.get_ref().as_ref() {
            "notify" | "webhook" => values(value, &|_| true, &mut found),
            "update" => values(value, &|value| value.as_str().is_some_and(is_laden), &mut found),
            _ => {}
        }
    }
    found
}

/// What a document that is shown to others must hide beside [`secrets`]: values of `env` whose names tell of a
/// secret that should have been a parameter, and what files hold.
pub(super) fn telling(root: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (key, value) in root {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("env", DeValue::Table(env)) => {
                let told = env.iter().filter(|(name, _)| is_telling(name.get_ref()));
                found.extend(told.map(|(_, value)| value.span()));
            }
            ("content", _) => found.push(value.span()),
            (_, DeValue::Table(inner)) => found.extend(telling(inner)),
            (_, DeValue::Array(list)) => {
                let tables = list.iter().filter_map(|value| value.get_ref().as_table());
                found.extend(tables.flat_map(telling));
            }
            _ => {}
        }
    }
    found
}

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token", "key", "cred", "auth", "pwd", "salt", "dsn"]
        .iter()
        .any(|word| name.contains(word))
}

/// Whether a URL may have a user or a query in it.
fn is_laden(url: &str) -> bool {
    url.contains(['@', '?'])
}

/// Those values in this one, and in the tables and lists in it, that are to be `hidden`.
fn values(
    value: &Spanned<DeValue<'_>>,
    hidden: &impl Fn(&DeValue<'_>) -> bool,
    found: &mut Vec<Range<usize>>,
) {
    match value.get_ref() {
        DeValue::Table(inner) => inner.iter().for_each(|(_, value)| values(value, hidden, found)),
        DeValue::Array(list) => list.iter().for_each(|value| values(value, hidden, found)),
        plain if hidden(plain) => found.push(value.span()),
        _ => {}
    }
}

fn table(table_: &DeTable<'_>, params: bool, found: &mut Vec<Range<usize>>) {
    for (key, value) in table_ {
        match value.get_ref() {
            DeValue::Table(inner) if params => declaration(inner, found),
            _ if params || is_secret_key(key.get_ref()) => found.push(value.span()),
            DeValue::String(text) if text.contains("PRIVATE KEY") => found.push(value.span()),
            other => walk(other, key.get_ref() == "params", found),
        }
    }
}

fn walk(value: &DeValue<'_>, params: bool, found: &mut Vec<Range<usize>>) {
    match value {
        DeValue::Table(inner) => table(inner, params, found),
        DeValue::Array(list) => list.iter().for_each(|value| match value.get_ref() {
            DeValue::String(text) if text.contains("PRIVATE KEY") => found.push(value.span()),
            other => walk(other, params, found),
        }),
        _ => {}
    }
}

/// `[params.NAME]`: its default is open only when its type is a known one that is not secret.
fn declaration(param: &DeTable<'_>, found: &mut Vec<Range<usize>>) {
    let kind = param.get("type").map(|kind| kind.get_ref().as_str().unwrap_or(""));
    let open = match kind {
        None => !param.contains_key("generate"),
        Some(kind) => kind != "secret" && crate::spec::recipe::TYPES.contains(&kind),
    };
    if !open {
        found.extend(param.get("default").map(Spanned::span));
    }
}

fn is_secret_key(key: &str) -> bool {
    key == "password"
}

/// For an error of syntax, where no tree can be relied on: what follows the `=` of the line, or of the line that
/// the value began on, when its key or its table may hold a secret.
pub(super) fn broken_line(source: &Source<'_>, offset: usize) -> Option<Range<usize>> {
    let line = source.line_range(offset.min(source.text().len()));
    let above = &source.text()[..line.end];
    let mut header = "";
    let mut key = None;
    for text in above.lines().rev() {
        let trimmed = text.trim_start();
        let is_key = trimmed.contains('=')
            && trimmed.starts_with(|c: char| c.is_ascii_alphanumeric() || "\"'_-".contains(c));
        if key.is_none() && is_key {
            key = Some(trimmed);
        }
        let uncommented = trimmed.split('#').next().unwrap_or_default();
        let ends = [trimmed, uncommented].iter().any(|text| text.trim_end().ends_with(']'));
        if trimmed.starts_with('[') && ends {
            header = trimmed;
            break;
        }
    }
    let key = key.unwrap_or("");
    let word = |text: &str| {
        let text = text.to_ascii_lowercase();
        ["pass", "secret", "params", "token", "default", "notify", "webhook"]
            .iter()
            .any(|word| text.contains(word))
    };
    if !word(header) && !word(key) {
        return None;
    }
    let own = &source.text()[line.clone()];
    let start = if own.trim_start() == key { own.find('=').map_or(0, |at| at + 1) } else { 0 };
    Some(line.start + start..line.end)
}
