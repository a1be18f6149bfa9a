//! The text of a document, its lines, and the parts of it that are never shown.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{self, Anchor, Diagnostic, Diagnostics, Kind};

/// Characters of a line that are shown around an error.
const WINDOW: usize = 120;

/// Errors that are kept; a document of a megabyte can have very many.
const MAX_NOTED: usize = 200;

/// A document with its name, and the errors found in it so far.
pub(crate) struct Source<'a> {
    file: Arc<str>,
    text: &'a str,
    /// Byte offset of the first byte of each line.
    lines: Vec<usize>,
    /// Byte ranges that are starred out where a line is shown, sorted and apart.
    hidden: Vec<Range<usize>>,
    errors: RefCell<Diagnostics>,
    unnoted: Cell<usize>,
}

impl<'a> Source<'a> {
    /// Takes a document in; `text` is without its byte order mark.
    pub(crate) fn new(file: &str, text: &'a str) -> Source<'a> {
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Source {
            file: file.into(),
            text,
            lines,
            hidden: Vec::new(),
            errors: RefCell::default(),
            unnoted: Cell::new(0),
        }
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// Stars these ranges out in every line shown from now on.
    pub(crate) fn hide(&mut self, ranges: Vec<Range<usize>>) {
        let mut all = std::mem::take(&mut self.hidden);
        all.extend(ranges);
        all.sort_by_key(|range| range.start);
        for range in all {
            match self.hidden.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => self.hidden.push(range),
            }
        }
    }

    /// What is starred out, in order and apart.
    pub(crate) fn hidden(&self) -> &[Range<usize>] {
        &self.hidden
    }

    /// Bytes of the line that holds this offset, without its end.
    pub(crate) fn line_range(&self, offset: usize) -> Range<usize> {
        let line = self.line_of(offset);
        let start = self.lines[line];
        let end = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let end = if self.text[start..end].ends_with('\r') { end - 1 } else { end };
        start..end
    }

    fn line_of(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset) - 1
    }

    /// The place of these bytes; a range of several lines is cut at the end of its first.
    pub(crate) fn anchor(&self, span: Range<usize>) -> Anchor {
        let start = self.floor(span.start);
        let line = self.line_range(start);
        let start = start.min(line.end);
        let end = self.floor(span.end).clamp(start, line.end);
        let before = self.text[line.start..start].chars().count();
        let width = self.text[start..end].chars().count().clamp(1, WINDOW);
        let first = before.saturating_sub(WINDOW / 2);
        let shown = self.shown(line.clone(), first);
        Anchor {
            file: self.file.clone(),
            line: u32::try_from(self.line_of(start) + 1).unwrap_or(u32::MAX),
            column: u32::try_from(before + 1).unwrap_or(u32::MAX),
            offset: (before - first) as u32 + u32::from(first > 0),
            width: width.min(shown.chars().count().saturating_sub(before - first).max(1)) as u32,
            text: shown.into(),
        }
    }

    /// The line from its character `first` on, as it may be shown.
    fn shown(&self, line: Range<usize>, first: usize) -> String {
        let mut out = String::new();
        if first > 0 {
            out.push('…');
        }
        let from = self.hidden.partition_point(|range| range.end <= line.start);
        let mut hidden = self.hidden[from..].iter().peekable();
        let characters = self.text[line.clone()].char_indices().enumerate();
        for (i, (at, c)) in characters.skip(first).take(WINDOW + 1) {
            let at = line.start + at;
            while hidden.next_if(|range| range.end <= at).is_some() {}
            match c {
                _ if i - first == WINDOW => out.push('…'),
                _ if hidden.peek().is_some_and(|range| range.contains(&at)) => out.push('*'),
                '\t' => out.push(' '),
                c if diagnostic::is_unprintable(c) => out.push('\u{fffd}'),
                c => out.push(c),
            }
        }
        out
    }

    fn floor(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        (0..=offset).rev().find(|i| self.text.is_char_boundary(*i)).unwrap_or(0)
    }

    /// Notes a wrong value.
    pub(crate) fn error(&self, span: Range<usize>, message: impl Into<String>, hint: Option<String>) {
        self.error_of(Kind::Value, span, message, hint);
    }

    /// Notes an error of a kind.
    pub(crate) fn error_of(
        &self,
        kind: Kind,
        span: Range<usize>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        match self.error_count() {
            0..MAX_NOTED => self.push(self.anchor(span).error(message, hint).of(kind)),
            _ => self.unnoted.set(self.unnoted.get() + 1),
        }
    }

    /// Notes an error that has its place already.
    pub(crate) fn push(&self, diagnostic: Diagnostic) {
        self.errors.borrow_mut().push(diagnostic);
    }

    /// The value if no error was noted.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Diagnostics> {
        let mut errors = self.errors.into_inner();
        if self.unnoted.get() > 0 {
            errors.push(Anchor::elsewhere(&self.file).error("there are more errors than are counted", None));
        }
        errors.finish(value)
    }

    /// Whether so many errors were noted that more are only counted: no need to look for what was meant.
    pub(crate) fn is_full(&self) -> bool {
        self.error_count() >= MAX_NOTED
    }

    /// Errors noted so far.
    pub(crate) fn error_count(&self) -> usize {
        self.errors.borrow().len()
    }
}
