//! Reading values out of a table: every error is noted in the source, and reading goes on.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::node::MAX_VALUES;
use super::{Node, Source};
use crate::diagnostic::{Anchor, Kind};
use crate::keys;
use crate::shape::ShapeError;
use crate::spec::Spec;

/// A table whose keys are known.
#[derive(Clone)]
pub(crate) struct Table<'a> {
    pub(crate) source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    spec: &'static Spec,
}

impl<'a> Table<'a> {
    /// Takes a table in, and notes every key that the specification does not have.
    pub(crate) fn new(
        source: &'a Source<'a>,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        spec: &'static Spec,
    ) -> Self {
        for key in table.keys().filter(|key| spec.key(key.get_ref()).is_none()).take(MAX_VALUES) {
            let (message, hint) = keys::unknown(key.get_ref(), spec);
            source.error_of(Kind::Key, key.span(), message, hint);
        }
        Table { source, table, span, spec }
    }

    /// Where the table is.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &'static str) -> Option<Node<'a>> {
        debug_assert!(
            self.spec.key(key).is_some(),
            "`{key}` is not in the specification of {}",
            self.spec.title
        );
        self.table.get(key).map(|value| Node { source: self.source, value, label: key })
    }

    /// Where a key is written, else the table.
    pub(crate) fn key_span(&self, key: &str) -> Range<usize> {
        self.table.get_key_value(key).map_or(self.span(), |(key, _)| key.span())
    }

    /// Whether the key is there, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of a required key; its absence is an error.
    pub(crate) fn need(&self, key: &'static str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            let hint = self.spec.key(key).map(|key| format!("add `{}`", crate::keys::example(key)));
            self.source.error_of(Kind::Key, self.span(), format!("`{key}` is missing"), hint);
        }
        node
    }

    /// Text of a form, if given.
    pub(crate) fn parse<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, ShapeError>,
    ) -> Option<T> {
        self.get(key)?.parse(parse)
    }

    /// A boolean, if given.
    pub(crate) fn boolean(&self, key: &'static str) -> Option<bool> {
        self.get(key)?.boolean()
    }

    /// A whole number within bounds, if given.
    pub(crate) fn integer(&self, key: &'static str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        self.get(key)?.integer(range)
    }

    /// Text of bounded length without control characters, if given.
    pub(crate) fn line(&self, key: &'static str, most: usize) -> Option<String> {
        self.get(key)?.line(most)
    }

    /// One of some words, if given.
    pub(crate) fn one_of<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        self.get(key)?.one_of(words)
    }

    /// The good values of a list, if given.
    pub(crate) fn list<T>(
        &self,
        key: &'static str,
        read: impl FnMut(Node<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.get(key)?.list(read)
    }

    /// The entries of a table with free keys: each key's text and place, and its value.
    pub(crate) fn entries(&self, key: &'static str) -> Vec<Entry<'a>> {
        self.get(key).map(|node| node.entries()).unwrap_or_default()
    }
}

/// An entry of a table with free keys.
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a str,
    pub(crate) span: Range<usize>,
    pub(crate) node: Node<'a>,
}

impl Entry<'_> {
    /// The key in its form; noted when it does not have it.
    pub(crate) fn key<T>(&self, parse: impl Fn(&str) -> Result<T, ShapeError>) -> Option<T> {
        match parse(self.key) {
            Ok(key) => Some(key),
            Err(error) => {
                self.node.source.error(
                    self.span.clone(),
                    format!("`{}` is {error}", keys::clip(self.key)),
                    error.hint,
                );
                None
            }
        }
    }

    /// Where the entry begins. The parser gives a table the place of its own header, which can come after
    /// those of the tables in it.
    pub(crate) fn start(&self) -> usize {
        fn first(value: &DeValue<'_>) -> usize {
            let table = value.as_table().into_iter().flatten();
            table.map(|(key, value)| key.span().start.min(first(value.get_ref()))).min().unwrap_or(usize::MAX)
        }
        self.span.start.min(first(self.node.value.get_ref()))
    }

    /// Where the key is written.
    pub(crate) fn anchor(&self) -> Anchor {
        self.node.source.anchor(self.span.clone())
    }
}
