//! Which parts of a document hold secrets, told without knowing whether the document is right: an error on the
//! line of a password must not print it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Source;
use crate::shape::Template;
use crate::spec::{Shape, Spec};

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

/// What else must be hidden, in errors and from others: what may be a secret that should have been a parameter, in
/// `env`, in files, and in the words of commands.
pub(super) fn telling(root: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (key, value) in root {
        let key: &str = key.get_ref();
        match (key, value.get_ref()) {
            (_, DeValue::Table(env)) if is_env(key) => {
                for (name, value) in env {
                    values(value, &|value| !is_open(name.get_ref(), value), &mut found);
                }
            }
            _ if is_env(key) || key == "content" => values(value, &|_| true, &mut found),
            ("run" | "entrypoint" | "command", DeValue::String(_)) => words([value], &mut found),
            ("run" | "entrypoint" | "command", DeValue::Array(list)) => words(list.iter(), &mut found),
            ("files", DeValue::Table(files)) => {
                for (_, file) in files {
                    match file.get_ref().as_table() {
                        Some(file) => found.extend(telling(file)),
                        None => values(file, &|_| true, &mut found),
                    }
                }
            }
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

/// What is given under keys that the language does not have where they stand: one that is mistyped may hold what the
/// right one would hide.
pub(super) fn unknown(root: &DeTable<'_>, spec: &Spec) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    unknown_of(root, spec, &mut found);
    found
}

fn unknown_of(table: &DeTable<'_>, spec: &Spec, found: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        match spec.key(key.get_ref()) {
            Some(key) => unknown_in(value, &key.shape, found),
            None => values(value, &|_| true, found),
        }
    }
}

/// The same of a value that is to have this shape. A table in place of a list of tables, or a list of them in place
/// of one, is looked at as what was meant; a table where none belongs has no key of the language.
fn unknown_in(value: &Spanned<DeValue<'_>>, shape: &Shape, found: &mut Vec<Range<usize>>) {
    match (value.get_ref(), shape) {
        (DeValue::Array(list), shape) => {
            let shape: &Shape = match shape {
                Shape::List(inner) | Shape::SomeOf(inner) => inner,
                other => other,
            };
            list.iter().for_each(|value| unknown_in(value, shape, found));
        }
        (DeValue::Table(table), Shape::Table(spec)) => unknown_of(table, spec, found),
        (DeValue::Table(table), Shape::Map(_, inner)) => {
            table.iter().for_each(|(_, value)| unknown_in(value, inner, found));
        }
        (DeValue::Table(_), Shape::List(inner) | Shape::SomeOf(inner) | Shape::OrTemplate(inner)) => {
            unknown_in(value, inner, found);
        }
        (DeValue::Table(table), Shape::Either(shapes)) => match meant(table, shapes) {
            Some(spec) => unknown_of(table, spec, found),
            None => values(value, &|_| true, found),
        },
        (DeValue::Table(_), _) => values(value, &|_| true, found),
        _ => {}
    }
}

/// Which of several tables this one is: the one whose first key it has, else the last.
fn meant<'a>(table: &DeTable<'_>, shapes: &'a [Shape]) -> Option<&'a Spec> {
    let specs = || {
        shapes.iter().filter_map(|shape| match shape {
            Shape::Table(spec) => Some(*spec),
            _ => None,
        })
    };
    let begins = |spec: &&Spec| spec.keys.first().is_some_and(|key| table.contains_key(key.name));
    specs().find(begins).or_else(|| specs().next_back())
}

/// `env`, and what Compose calls it.
fn is_env(key: &str) -> bool {
    ["env", "environment"].iter().any(|word| key.eq_ignore_ascii_case(word))
}

/// Whether a value of `env` may be shown: a template, and what is too little for a secret, unless its name tells of
/// one.
fn is_open(name: &str, value: &DeValue<'_>) -> bool {
    let number = |text: &str| text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    match value {
        DeValue::String(text) if is_template(text) => true,
        _ if is_telling(name) => false,
        DeValue::Boolean(_) => true,
        DeValue::Integer(digits) => number(digits.as_str()),
        DeValue::String(text) => matches!(&**text, "true" | "false") || number(text),
        _ => false,
    }
}

/// Whether a text is filled in as a whole.
fn is_template(text: &str) -> bool {
    Template::parse(text).is_ok_and(|template| template.as_single_path().is_some())
}

/// The words of a command that may be secrets.
fn words<'a, 'd: 'a>(
    words: impl IntoIterator<Item = &'a Spanned<DeValue<'d>>>,
    found: &mut Vec<Range<usize>>,
) {
    let mut expected = false;
    for word in words {
        if word.get_ref().as_str().is_some_and(|text| is_secret_word(text, &mut expected)) {
            found.push(word.span());
        }
    }
}

/// Whether a word may be a secret: behind a flag that tells of one, given to such a name with `=`, or a script with
/// such words. `expected`: that it comes behind such a flag, and then whether the next one does.
fn is_secret_word(word: &str, expected: &mut bool) -> bool {
    let flag = (word.starts_with('-') && !word.contains('=')) || word.ends_with(':');
    // The last are how redis-cli, mysql and curl are given theirs.
    let announces = flag && (is_telling(word) || matches!(word, "-a" | "-p" | "-u"));
    let announced = std::mem::replace(expected, announces);
    let given = word.rfind(['=', ':']);
    let mut inner = false;
    let mut script = word.split_whitespace().filter(|part| *part != word);
    !is_template(word)
        && (announced
            || given.is_some_and(|at| is_telling(&word[..at]))
            || script.any(|part| is_secret_word(part, &mut inner)))
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

/// Whether a line seems to begin with a key: what stands in quotes is one when `=` or a dot follows.
fn begins_with_key(line: &str) -> bool {
    let quoted = |quote: char| {
        let (_, rest) = line.strip_prefix(quote)?.split_once(quote)?;
        Some(rest.trim_start().starts_with(['=', '.']))
    };
    let bare =
        line.contains('=') && line.starts_with(|c: char| c.is_ascii_alphanumeric() || "_-".contains(c));
    bare || quoted('"').or_else(|| quoted('\'')).unwrap_or(false)
}

/// For an error of syntax, where no tree can be relied on: what follows the `=` of the line, or of the line that
/// the value began on, when its key or its table may hold a secret, or is none of the language.
pub(super) fn broken_line(source: &Source<'_>, spec: &Spec, offset: usize) -> Option<Range<usize>> {
    let line = source.line_range(offset.min(source.text().len()));
    let above = &source.text()[..line.end];
    let mut header = "";
    let mut key = None;
    for text in above.lines().rev() {
        let trimmed = text.trim_start();
        if key.is_none() && begins_with_key(trimmed) {
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
        let settings = ["pass", "secret", "params", "token", "default", "notify", "webhook"];
        let of_containers = ["env", "files", "content", "run", "entrypoint", "command"];
        settings.iter().chain(&of_containers).any(|word| text.contains(word))
    };
    let table = header.trim_start_matches('[').split(']').next().unwrap_or_default();
    let name = key.split('=').next().unwrap_or_default();
    let path = [table, name].into_iter().flat_map(|text| text.split('.'));
    let path = path.map(|name| name.trim().trim_matches(['"', '\''])).filter(|name| !name.is_empty());
    let path: Vec<&str> = path.collect();
    if !word(header) && !word(key) && spec.leads(&path) {
        return None;
    }
    let own = &source.text()[line.clone()];
    let start = if own.trim_start() == key { own.find('=').map_or(0, |at| at + 1) } else { 0 };
    Some(line.start + start..line.end)
}
