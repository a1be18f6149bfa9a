//! From text to a tree of values that know where they were written.
//!
//! Invariant: whatever the bytes, this ends in a table or in errors, with bounded memory and stack: documents are
//! at most [`crate::MAX_DOCUMENT`] bytes and nest at most 80 deep (the bound of the `toml` crate).

mod dialect;
mod hide;
mod node;
mod source;
mod syntax;
mod table;

use toml::Spanned;
use toml::de::DeTable;

pub(crate) use node::Node;
pub(crate) use source::Source;
pub(crate) use table::{Entry, Table};

use crate::diagnostic::{Anchor, Diagnostics, Kind};

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
    let (root, faults) = syntax::parse(text);
    if let Some((span, number)) = crate::parse::newer_format(root.get_ref()) {
        let message = format!("`format = {number}` is newer than this version knows");
        let hint =
            format!("Holdfast {} reads format {}: update it first", env!("CARGO_PKG_VERSION"), crate::FORMAT);
        return Err(source.anchor(span).error(message, Some(hint)).of(Kind::Newer).into());
    }
    source.hide(hide::secrets(&root));
    source.hide(faults.iter().filter_map(|fault| hide::broken_line(&source, fault.span.start)).collect());
    let readable =
        faults.iter().all(|fault| fault.is_duplicate()) && (faults.is_empty() || !root.get_ref().is_empty());
    for fault in faults {
        let (message, hint) = fault.explain(text);
        source.error_of(Kind::Syntax, fault.span, message, hint);
    }
    let value = match readable {
        true => {
            dialect::check(&source);
            read(&source, &root)
        }
        false => None,
    };
    source.finish(())?;
    value.ok_or_else(|| Anchor::elsewhere(file).error("this document cannot be read", None).into())
}
