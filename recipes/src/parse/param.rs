//! `[params.NAME]`.

use std::time::Duration;

use crate::document::{Entry, Node, Table};
use crate::keys;
use crate::model::{Generator, GivenValue, Param, ParamKind, ParamValue, Pattern};
use crate::resolve::fit;
use crate::shape::{self, ShapeError};
use crate::spec;

/// Reads one parameter. `in_place`: it stands in user-data, where its default is its value.
pub(super) fn param(entry: &Entry<'_>, in_place: bool) -> Option<Param> {
    let name = entry.key(shape::identifier);
    if in_place && entry.node.as_table().is_none() && entry.node.given().is_some() {
        let hint = format!(
            "a recipe in place declares it: `[recipe.params.{}]` with `default`",
            keys::clip(entry.key)
        );
        entry.node.type_error("a value where a declaration belongs", hint);
        return None;
    }
    let table = entry.node.table(&spec::recipe::PARAM)?;
    let description = table.line("description", 500);
    let word = match table.get("type") {
        Some(node) => node.one_of(&spec::recipe::TYPES.iter().map(|word| (*word, *word)).collect::<Vec<_>>()),
        None => Some("string"),
    }?;
    misplaced(&table, word);
    let kind = kind(&table, word)?;
    let default = table.get("default").map(|node| default(&node, &kind));
    let generated = matches!(kind, ParamKind::Secret { generate: Some(_) });
    if in_place && default.is_none() && !generated {
        let hint = match kind {
            ParamKind::Secret { .. } => "add `default = …`, or `generate = \"hex:32\"`",
            _ => "add `default = …`",
        };
        let message = format!("`{}` has no value", keys::clip(entry.key));
        entry.node.source.error(entry.span.clone(), message, Some(hint.to_owned()));
    }
    let default = match default {
        Some(default) => Some(default?),
        None => None,
    };
    Some(Param { name: name?, description, kind, default, at: entry.anchor() })
}

/// Notes keys that mean nothing for this type.
fn misplaced(table: &Table<'_>, word: &str) {
    let bounds = ["integer", "port", "size", "duration"];
    let rules: [(&str, &[&str]); 5] = [
        ("pattern", &["string"]),
        ("values", &["enum"]),
        ("min", &bounds),
        ("max", &bounds),
        ("generate", &["secret"]),
    ];
    for (key, types) in rules {
        if table.has(key) && !types.contains(&word) {
            let hint = format!("`{key}` is for type {}", keys::listed(types.iter().copied()));
            table.source.error(
                table.key_span(key),
                format!("`{key}` means nothing for type `{word}`"),
                Some(hint),
            );
        }
    }
}

fn kind(table: &Table<'_>, word: &str) -> Option<ParamKind> {
    Some(match word {
        "string" => ParamKind::String { pattern: optional(table.get("pattern").map(pattern))? },
        "integer" => {
            let (min, max) = bounds(table, |node| node.integer(i64::MIN..=i64::MAX))?;
            ParamKind::Integer { min, max }
        }
        "port" => {
            let (min, max) = bounds(table, |node| node.integer(1..=65_535).map(|port| port as u16))?;
            ParamKind::Port { min, max }
        }
        "size" => {
            let (min, max) = bounds(table, size)?;
            ParamKind::Size { min, max }
        }
        "duration" => {
            let (min, max) = bounds::<Duration>(table, |node| node.parse(shape::duration))?;
            ParamKind::Duration { min, max }
        }
        "boolean" => ParamKind::Boolean,
        "hostname" => ParamKind::Hostname,
        "enum" => ParamKind::Enum { values: values(table)? },
        _ => {
            ParamKind::Secret { generate: optional(table.get("generate").map(|node| node.parse(generator)))? }
        }
    })
}

/// `None` where a value is given and wrong.
fn optional<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        Some(value) => value.map(Some),
        None => Some(None),
    }
}

fn bounds<'a, T: PartialOrd>(
    table: &Table<'a>,
    read: impl Fn(&Node<'a>) -> Option<T>,
) -> Option<(Option<T>, Option<T>)> {
    let min = optional(table.get("min").map(|node| read(&node)));
    let max = optional(table.get("max").map(|node| read(&node)));
    let (min, max) = (min?, max?);
    if let (Some(least), Some(most)) = (&min, &max)
        && least > most
    {
        table.source.error(
            table.key_span("min"),
            "`min` is above `max`",
            Some("exchange the two".to_owned()),
        );
        return None;
    }
    Some((min, max))
}

fn pattern(node: Node<'_>) -> Option<Pattern> {
    node.parse(|text| {
        let hint =
            "write a regular expression such as \"^[a-z]+$\"; look-around and back references do not exist";
        if text.len() > 1024 {
            return Err(ShapeError::new("a pattern of more than 1024 bytes", hint));
        }
        let regex = regex::RegexBuilder::new(text).size_limit(1 << 20).nest_limit(50).build();
        regex.map(Pattern::new).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                ShapeError::new("a pattern that is too large", "repeat less in it")
            }
            _ => ShapeError::new("not a regular expression", hint),
        })
    })
}

fn values(table: &Table<'_>) -> Option<Vec<String>> {
    let node = table.need("values")?;
    let values = node.list(|node| node.line(200))?;
    if values.is_empty() {
        node.error("`values` is empty", "list the texts it can be: values = [\"a\", \"b\"]".to_owned());
        return None;
    }
    Some(values)
}

/// `hex:N`, `base64:N`, `password:N` or `uuid`.
fn generator(text: &str) -> Result<Generator, ShapeError> {
    let hint = "write \"hex:N\" or \"base64:N\" with N random bytes from 8 to 1024, \"password:N\" with N characters, \
                or \"uuid\"";
    let wrong = || ShapeError::new("not a generator", hint);
    if text == "uuid" {
        return Ok(Generator::Uuid);
    }
    let (word, number) = text.split_once(':').ok_or_else(wrong)?;
    let digits = !number.is_empty() && number.len() <= 4 && number.bytes().all(|b| b.is_ascii_digit());
    let number = number.parse::<u16>().ok().filter(|n| digits && (8..=1024).contains(n)).ok_or_else(wrong)?;
    match word {
        "hex" => Ok(Generator::Hex(number)),
        "base64" => Ok(Generator::Base64(number)),
        "password" => Ok(Generator::Password(number)),
        _ => Err(wrong()),
    }
}

fn default(node: &Node<'_>, kind: &ParamKind) -> Option<ParamValue> {
    let value: GivenValue = node.given()?;
    fit::fit(kind, &value).map_err(|error| node.shape_error(error)).ok()
}

/// Bytes: a whole number, or text.
pub(super) fn size(node: &Node<'_>) -> Option<u64> {
    match node.is_integer() {
        true => node.integer(0..=i64::MAX).map(|bytes| bytes as u64),
        false => node.parse(shape::size),
    }
}
