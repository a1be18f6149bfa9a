//! From text to a tree of values that know where they were written.
//!
//! Invariant: whatever the bytes, this ends in a table or in errors, with bounded memory and stack: documents are
//! at most [`crate::MAX_DOCUMENT`] bytes and nest at most 80 deep (the bound of the `toml` crate).

mod dialect;
mod hide;
mod source;
mod table;

use toml::Spanned;
use toml::de::DeTable;

pub(crate) use source::Source;
pub(crate) use table::{Entry, Node, Table};

use crate::diagnostic::{Anchor, Diagnostics, Kind, MAX_DIAGNOSTICS};

/// Parses TOML and hands the root table over together with its source. Errors of syntax end it, but for
/// duplicate keys: there the first one counts, and the others are told with everything else.
pub(crate) fn with_document<T>(
    file: &str,
    text: &str,
    read: impl FnOnce(&Source<'_>, &Spanned<DeTable<'_>>) -> Option<T>,
) -> Result<T, Diagnostics> {
    if text.len() > crate::MAX_DOCUMENT {
        let message = format!("a document of {} bytes: it may have at most 1 MiB", text.len());
        let hint = "put large files into a volume or an image".to_owned();
        return Err(Anchor::elsewhere(file).error(message, Some(hint)).of(Kind::Syntax).into());
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut source = Source::new(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    if let Some((span, number)) = crate::parse::newer_format(root.get_ref()) {
        let message = format!("`format = {number}` is newer than this version knows");
        let hint =
            format!("Holdfast {} reads format {}: update it first", env!("CARGO_PKG_VERSION"), crate::FORMAT);
        return Err(source.anchor(span).error(message, Some(hint)).of(Kind::Newer).into());
    }
    source.hide(hide::secrets(&root));
    let end = text.len()..text.len();
    let broken: Vec<_> =
        errors.iter().take(MAX_DIAGNOSTICS).map(|e| (e, e.span().unwrap_or(end.clone()))).collect();
    source.hide(broken.iter().filter_map(|(_, span)| hide::broken_line(&source, span.start)).collect());
    let mut fatal = errors.len() > MAX_DIAGNOSTICS;
    for (error, span) in broken {
        fatal |= error.message() != DUPLICATE;
        let (message, hint) = explain(error.message(), &text[..span.start.min(text.len())]);
        source.error_of(Kind::Syntax, span, message, hint);
    }
    let value = match fatal {
        true => None,
        false => {
            dialect::check(&source);
            read(&source, &root)
        }
    };
    source.finish(())?;
    value.ok_or_else(|| Anchor::elsewhere(file).error("this document cannot be read", None).into())
}

/// What the parser calls a key that is set twice.
const DUPLICATE: &str = "duplicate key";

/// The parser's message in the words of this language, with a hint where one helps.
fn explain(message: &str, before: &str) -> (String, Option<String>) {
    let hint = match message {
        DUPLICATE => Some("it was set above: keep one of the two"),
        m if m.contains("string values must be quoted") => Some("put text in double quotes: \"text\""),
        m if m.contains("missing value") || m.contains("key with no value") => Some("write `key = value`"),
        _ if before.trim().is_empty() => {
            Some("a document is TOML: it begins with a `[table]` or `key = value`")
        }
        _ => None,
    };
    let message =
        if message.contains("recurse") { "nested too deep: nothing in this language is" } else { message };
    (message.to_owned(), hint.map(str::to_owned))
}
