//! Parsing TOML with recovery, in bounded memory however wrong the text is.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;
use toml_parser::lexer::TokenKind;
use toml_parser::parser::{RecursionGuard, parse_document};
use toml_parser::{ParseError, Source};

use crate::diagnostic::MAX_DIAGNOSTICS;

/// Nesting that the parser allows.
pub(super) const MAX_NESTING: u32 = 80;

/// A place where the text is not TOML.
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    message: String,
}

/// Bytes of the longest text that is parsed with recovery: each fault costs the parser about 600 bytes, and every
/// two bytes can be one.
const MAX_RECOVERED: usize = 128 * 1024;

/// The document's tree, as far as it can be made out, and what is wrong with its syntax. A text with more faults
/// than are told, or a long one with any, gives an empty tree and some of its faults.
pub(super) fn parse(text: &str) -> (Spanned<DeTable<'_>>, Vec<Fault>) {
    let end = text.len()..text.len();
    let fault = |error: &toml::de::Error| Fault {
        span: error.span().unwrap_or(end.clone()),
        message: error.message().to_owned(),
    };
    let flood = flood(text);
    if text.len() <= MAX_RECOVERED && flood.len() <= MAX_DIAGNOSTICS {
        let (root, errors) = DeTable::parse_recoverable(text);
        let faults = errors.iter().take(MAX_DIAGNOSTICS + 1).map(fault).collect();
        return (root, faults);
    }
    let first = match DeTable::parse(text) {
        Ok(root) => return (root, Vec::new()),
        Err(error) => fault(&error),
    };
    let grammar = flood.into_iter().map(|error| Fault {
        span: error.unexpected().map_or(end.clone(), |span| span.start()..span.end()),
        message: error.description().to_owned(),
    });
    let mut faults: Vec<Fault> = grammar.filter(|fault| fault.span != first.span).collect();
    faults.insert(0, first);
    (Spanned::new(0..0, DeTable::new()), faults)
}

/// Where the comments of a text are.
pub(super) fn comments(text: &str) -> Vec<Range<usize>> {
    let tokens = Source::new(text).lex();
    let comments = tokens.filter(|token| token.kind() == TokenKind::Comment);
    comments.map(|token| token.span().start()..token.span().end()).collect()
}

/// Where the strings of several lines are, closed or not.
pub(super) fn long_strings(text: &str) -> Vec<Range<usize>> {
    let long = |kind| matches!(kind, TokenKind::MlBasicString | TokenKind::MlLiteralString);
    let strings = Source::new(text).lex().filter(|token| long(token.kind()));
    strings.map(|token| token.span().start()..token.span().end()).collect()
}

/// The first faults of the grammar, one more than are told.
fn flood(text: &str) -> Vec<ParseError> {
    let tokens = Source::new(text).lex().into_vec();
    let mut found = Vec::new();
    let mut keep = |error: ParseError| {
        if found.len() <= MAX_DIAGNOSTICS {
            found.push(error);
        }
    };
    parse_document(&tokens, &mut RecursionGuard::new(&mut Ignore, MAX_NESTING), &mut keep);
    found
}

/// Receives a document's events and keeps none.
struct Ignore;

impl toml_parser::parser::EventReceiver for Ignore {}

/// What the parser calls a key that is set twice.
const DUPLICATE: &str = "duplicate key";

impl Fault {
    /// Whether it is a key that is set twice: the tree has its first value, and is right otherwise.
    pub(super) fn is_duplicate(&self) -> bool {
        self.message == DUPLICATE
    }

    /// The parser's message, and a hint where one helps.
    pub(super) fn explain(&self, text: &str) -> (String, Option<String>) {
        let before = &text[..self.span.start.min(text.len())];
        let hint = match self.message.as_str() {
            DUPLICATE => Some("it was set above: keep one of the two"),
            m if m.contains("string values must be quoted") => Some("put text in double quotes: \"text\""),
            m if m.contains("missing value") || m.contains("key with no value") => {
                Some("write `key = value`")
            }
            _ if before.trim().is_empty() => {
                Some("a document is TOML: it begins with a `[table]` or `key = value`")
            }
            _ => None,
        };
        let message = match self.message.contains("recurse") {
            true => "nested too deep: nothing in this language is",
            false => &self.message,
        };
        (message.to_owned(), hint.map(str::to_owned))
    }
}
