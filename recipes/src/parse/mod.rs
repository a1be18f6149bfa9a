//! From tables to values: one module for each table of the language.
//!
//! Every function here notes what is wrong and goes on, so that all errors of a document are told at once. A value
//! is `None` only when an error was noted for it.

mod body;
mod container;
mod graph;
mod instance;
mod param;
mod paths;
mod settings;
mod step;
mod update;

use toml::Spanned;
use toml::de::DeTable;

pub(crate) use body::recipe;
pub(crate) use instance::user_data;
pub(crate) use settings::{admins, settings_of};

use crate::FORMAT;
use crate::document::{Source, Table};

/// The newer format that a document says it has, if it does: nothing else in it can be judged then.
pub(crate) fn newer_format(root: &DeTable<'_>) -> Option<(std::ops::Range<usize>, i64)> {
    let value = root.get("format")?;
    let number = value.get_ref().as_integer()?;
    let number = i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(i64::MAX);
    (number > i64::from(FORMAT)).then(|| (value.span(), number))
}

/// Reads `format`, which is right or older here.
fn format(table: &Table<'_>) -> u32 {
    table.integer("format", 1..=i64::from(FORMAT)).map_or(FORMAT, |format| format as u32)
}

/// Notes a document without a single key: it would take every instance away, and is more likely a mistake.
fn empty(source: &Source<'_>, root: &Spanned<DeTable<'_>>, example: &str) -> bool {
    let empty = root.get_ref().is_empty();
    if empty {
        source.error(0..0, "an empty document", Some(format!("it has at least `{example}`")));
    }
    empty
}
