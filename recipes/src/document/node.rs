//! Reading one value: its type, its form, its bounds.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Entry, Source, Table};
use crate::diagnostic::Kind;
use crate::keys;
use crate::model::GivenValue;
use crate::shape::{ShapeError, Template, TemplatePath, Templated};
use crate::spec::Spec;

/// Values of a list, or entries of a table, that are read; more are a mistake or an attack.
pub(super) const MAX_VALUES: usize = 1000;

/// A value and the key it was given under.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(super) value: &'a Spanned<DeValue<'a>>,
    /// What people call it: `image`, or `an entry of ports`.
    pub(super) label: &'a str,
}

impl<'a> Node<'a> {
    /// Where the value is written.
    pub(crate) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// Notes an error at the value.
    pub(crate) fn error(&self, message: impl Into<String>, hint: impl Into<Option<String>>) {
        self.source.error(self.span(), message, hint.into());
    }

    /// Notes that the value is of another type than it should be.
    pub(crate) fn type_error(&self, message: impl Into<String>, hint: impl Into<Option<String>>) {
        self.source.error_of(Kind::Type, self.span(), message, hint.into());
    }

    fn wrong_type(&self, wanted: &str, hint: &str) {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.type_error(format!("`{}` is {found} where {wanted} belongs", self.label), hint);
    }

    /// Text, if it is one; nothing is noted otherwise.
    pub(crate) fn as_str(&self) -> Option<&'a str> {
        self.value.get_ref().as_str()
    }

    /// A table, if it is one; nothing is noted otherwise.
    pub(crate) fn as_table(&self) -> Option<&'a DeTable<'a>> {
        self.value.get_ref().as_table()
    }

    /// Whether it is a list.
    pub(crate) fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// Text.
    pub(crate) fn text(&self) -> Option<&'a str> {
        let text = self.as_str();
        if text.is_none() {
            self.wrong_type("a string", "put it in double quotes: \"text\"");
        }
        text
    }

    /// Text of bounded length without control characters.
    pub(crate) fn line(&self, most: usize) -> Option<String> {
        let text = self.text()?;
        if text.chars().count() > most {
            self.error(format!("`{}` has more than {most} characters", self.label), "shorten it".to_owned());
            return None;
        }
        if text.contains(|c: char| c.is_control()) {
            let hint = "write it as one line, without tabs and other control characters".to_owned();
            self.error(format!("`{}` has a control character in it", self.label), hint);
            return None;
        }
        Some(text.to_owned())
    }

    /// Text of a form.
    pub(crate) fn parse<T>(&self, parse: impl Fn(&str) -> Result<T, ShapeError>) -> Option<T> {
        let text = self.text()?;
        parse(text).map_err(|error| self.shape_error(error)).ok()
    }

    /// Notes what is wrong with the form of the value.
    pub(crate) fn shape_error(&self, error: ShapeError) {
        let span = error.at.and_then(|at| self.within(at)).unwrap_or(self.span());
        self.source.error(span, format!("`{}` is {}", self.label, error.message), error.hint);
    }

    /// The place of these bytes of the string, when it is written without escapes.
    pub(crate) fn within(&self, at: Range<usize>) -> Option<Range<usize>> {
        let span = self.span();
        let raw = self.source.text().get(span.clone())?;
        let quotes = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
        let inner = raw.get(quotes..raw.len().checked_sub(quotes)?)?;
        let newline = match quotes {
            3 if inner.starts_with("\r\n") => 2,
            3 if inner.starts_with('\n') => 1,
            _ => 0,
        };
        let start = span.start + quotes + newline;
        (Some(&inner[newline..]) == self.as_str()).then(|| start + at.start..start + at.end)
    }

    /// A boolean.
    pub(crate) fn boolean(&self) -> Option<bool> {
        let boolean = self.value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type("a boolean", "write true or false, without quotes");
        }
        boolean
    }

    /// A whole number within bounds.
    pub(crate) fn integer(&self, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let Some(integer) = self.value.get_ref().as_integer() else {
            self.wrong_type("an integer", "write it without quotes");
            return None;
        };
        let number =
            i64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|n| range.contains(n));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            let message = match least == most {
                true => format!("`{}` can only be {least}", self.label),
                false => format!("`{}` is not from {least} to {most}", self.label),
            };
            self.error(message, format!("write a whole number such as {most}"));
        }
        number
    }

    /// A number, whole or not.
    pub(crate) fn number(&self) -> Option<f64> {
        let number = match self.value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|n| n as f64)
            }
            _ => None,
        };
        if number.is_none() {
            self.wrong_type("a number", "write it without quotes");
        }
        number
    }

    /// Whether it is a whole number.
    pub(crate) fn is_integer(&self) -> bool {
        self.value.get_ref().is_integer()
    }

    /// One of some words.
    pub(crate) fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let list = keys::listed(words.iter().map(|(word, _)| *word));
            let hint = match keys::nearest(text, words.iter().map(|(word, _)| *word)) {
                Some(near) => format!("did you mean \"{near}\"? There are {list}"),
                None => format!("there are {list}"),
            };
            self.error(format!("`{}` cannot be \"{}\"", self.label, keys::clip(text)), hint);
        }
        found
    }

    /// The good values of a list.
    pub(crate) fn list<T>(&self, read: impl FnMut(Node<'a>) -> Option<T>) -> Option<Vec<T>> {
        let Some(list) = self.value.get_ref().as_array() else {
            self.wrong_type("a list", "write it in brackets: [\"a\", \"b\"]");
            return None;
        };
        let label = self.label;
        if list.len() > MAX_VALUES {
            self.error(format!("`{label}` has more than {MAX_VALUES} values"), None);
        }
        Some(
            list.iter()
                .take(MAX_VALUES)
                .map(|value| Node { source: self.source, value, label })
                .filter_map(read)
                .collect(),
        )
    }

    /// The entries of a table with free keys; noted when it is none.
    pub(crate) fn entries(&self) -> Vec<Entry<'a>> {
        let Some(table) = self.as_table() else {
            self.wrong_type("a table", "write it as `{ key = value }` or as a `[table]` of its own");
            return Vec::new();
        };
        let entry =
            |(key, value): (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| Entry {
                key: key.get_ref(),
                span: key.span(),
                node: Node { source: self.source, value, label: key.get_ref() },
            };
        if table.len() > MAX_VALUES {
            self.error(format!("`{}` has more than {MAX_VALUES} entries", self.label), None);
        }
        table.iter().take(MAX_VALUES).map(entry).collect()
    }

    /// A table with keys of its own.
    pub(crate) fn table(&self, spec: &'static Spec) -> Option<Table<'a>> {
        let Some(table) = self.as_table() else {
            self.wrong_type("a table", "write it as `{ key = value }` or as a `[table]` of its own");
            return None;
        };
        Some(Table::new(self.source, table, self.span(), spec))
    }

    /// A list of tables, `[[…]]`.
    pub(crate) fn tables(&self, spec: &'static Spec) -> Vec<Table<'a>> {
        if self.as_table().is_some() {
            self.wrong_type(
                "a list of tables",
                &format!("write {} with double brackets, once for each", spec.title),
            );
            return Vec::new();
        }
        self.list(|node| node.table(spec)).unwrap_or_default()
    }

    /// Text with templates.
    pub(crate) fn template(&self) -> Option<Template> {
        let template = self.parse(Template::parse)?;
        if self.as_str().is_some_and(|text| text.contains('\0')) {
            self.error(
                format!("`{}` has a NUL in it", self.label),
                "no program takes one: leave it out".to_owned(),
            );
            return None;
        }
        Some(template)
    }

    /// One template as the whole value, or what `read` makes of it.
    pub(crate) fn or_template<T>(&self, read: impl FnOnce(&Self) -> Option<T>) -> Option<Templated<T>> {
        match self.as_str() {
            Some(text) if text.contains("{{") => match self.parse(Template::parse)?.as_single_path() {
                Some(path) => Some(Templated::Path(path.clone())),
                None => {
                    let hint = "write one template and nothing beside it: \"{{ params.NAME }}\"".to_owned();
                    self.error(format!("`{}` is a template with other text", self.label), hint);
                    None
                }
            },
            _ => read(self).map(Templated::Value),
        }
    }

    /// A value that a parameter can have.
    pub(crate) fn given(&self) -> Option<GivenValue> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(GivenValue::Text(text.clone().into_owned())),
            DeValue::Boolean(boolean) => Some(GivenValue::Boolean(*boolean)),
            DeValue::Integer(_) => self.integer(i64::MIN..=i64::MAX).map(GivenValue::Integer),
            _ => {
                self.wrong_type("a string, an integer or a boolean", "put it in double quotes: \"text\"");
                None
            }
        }
    }

    /// Notes a template path that leads nowhere.
    pub(crate) fn path_error(&self, path: &TemplatePath, at: Range<usize>, why: &str, hint: Option<String>) {
        let span = self.within(at).unwrap_or(self.span());
        self.source.error(span, format!("`{path}` {why}"), hint);
    }
}
