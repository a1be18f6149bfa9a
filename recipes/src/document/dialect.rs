//! What the TOML parser takes and TOML 1.0 does not have: line breaks and a last comma in inline tables, `\e` and
//! `\x` in strings. Accepted now they could never be refused again, and other tools refuse them today.

use toml_parser::Source as TomlSource;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};

use super::Source;
use super::syntax::MAX_NESTING;
use crate::diagnostic::Kind;

/// Notes each thing that is not TOML 1.0.
pub(super) fn check(source: &Source<'_>) {
    let toml = TomlSource::new(source.text());
    let tokens = toml.lex().into_vec();
    let mut events: Vec<Event> = Vec::new();
    parse_document(&tokens, &mut RecursionGuard::new(&mut events, MAX_NESTING), &mut ());
    let mut open: Vec<Open> = Vec::new();
    for event in &events {
        let span = event.span().start()..event.span().end();
        match event.kind() {
            EventKind::InlineTableOpen => open.push(Open { inline: true, comma: None, told: false }),
            EventKind::ArrayOpen => open.push(Open { inline: false, comma: None, told: false }),
            EventKind::InlineTableClose | EventKind::ArrayClose => {
                let comma = open.pop().filter(|open| open.inline).and_then(|open| open.comma);
                if let Some(comma) = comma {
                    let hint = "TOML 1.0 has no comma before the `}`: remove it".to_owned();
                    source.error_of(
                        Kind::Syntax,
                        comma,
                        "a comma after the last value of an inline table",
                        Some(hint),
                    );
                }
            }
            EventKind::Newline => {
                if let Some(table) = open.last_mut().filter(|open| open.inline && !open.told) {
                    table.told = true;
                    let hint = "TOML 1.0 has inline tables on one line: join the lines, or write a `[table]`"
                        .to_owned();
                    source.error_of(Kind::Syntax, span, "a line break in an inline table", Some(hint));
                }
            }
            EventKind::ValueSep => {
                if let Some(open) = open.last_mut() {
                    open.comma = Some(span);
                }
            }
            EventKind::Whitespace | EventKind::Comment => {}
            kind => {
                if let Some(open) = open.last_mut() {
                    open.comma = None;
                }
                if matches!(kind, EventKind::Scalar | EventKind::SimpleKey) {
                    escapes(source, span);
                }
            }
        }
    }
}

/// An inline table or array that is being read.
struct Open {
    inline: bool,
    comma: Option<std::ops::Range<usize>>,
    told: bool,
}

fn escapes(source: &Source<'_>, span: std::ops::Range<usize>) {
    let raw = &source.text()[span.clone()];
    if !raw.starts_with('"') {
        return;
    }
    let mut characters = raw.char_indices();
    while let Some((at, c)) = characters.next() {
        if c != '\\' {
            continue;
        }
        if let Some((_, escaped @ ('e' | 'x'))) = characters.next() {
            let at = span.start + at;
            let hint = "TOML 1.0 has `\\u` and four hexadecimal digits, such as \"\\u001b\"".to_owned();
            source.error_of(Kind::Syntax, at..at + 2, format!("`\\{escaped}` in a string"), Some(hint));
        }
    }
}
