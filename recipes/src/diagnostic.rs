//! What is wrong with a document, and where: file, line, column, the line itself, a caret and a hint.
//!
//! Invariant: a line shown here holds no secret and no control character, and is short enough to print; both
//! are seen to where a line is taken from its document.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A place in a document, with the text of its line, that can be kept after the document is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Anchor {
    /// Name of the file as it was given to the parser.
    pub file: Arc<str>,
    /// Line, from 1; 0 for a place in no document.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The line, or the part of it around the place.
    pub text: Arc<str>,
    /// Characters of `text` before the place.
    pub offset: u32,
    /// Characters to underline, at least 1.
    pub width: u32,
}

impl Anchor {
    /// A place in no document: a value that came from elsewhere, such as an argument.
    pub fn elsewhere(file: &str) -> Anchor {
        Anchor { file: file.into(), ..Anchor::default() }
    }

    /// An error at this place.
    pub fn error(&self, message: impl Into<String>, hint: Option<String>) -> Diagnostic {
        Diagnostic {
            file: self.file.to_string(),
            line: self.line,
            column: self.column,
            text: self.text.to_string(),
            offset: self.offset,
            width: self.width,
            kind: Kind::Value,
            message: printable(message.into()),
            hint: hint.map(printable),
        }
    }
}

/// Most characters of a message, which repeats what stands in the document.
const LONGEST: usize = 1000;

/// What a terminal shows as it is: keys and values of a document may hold anything.
fn printable(text: String) -> String {
    let odd = |c: char| c != '\n' && is_unprintable(c);
    if text.len() <= LONGEST && !text.contains(odd) {
        return text;
    }
    let end = if text.chars().nth(LONGEST).is_some() { "…" } else { "" };
    text.chars().take(LONGEST).map(|c| if odd(c) { '\u{fffd}' } else { c }).chain(end.chars()).collect()
}

/// Characters that would change what a terminal shows around them.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl Diagnostic {
    /// The same error, of this kind.
    pub fn of(mut self, kind: Kind) -> Diagnostic {
        self.kind = kind;
        self
    }
}

/// What sort of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The text is not TOML 1.0, or not a document of ours at all.
    Syntax,
    /// The document is of a newer format than this version knows.
    Newer,
    /// A key is unknown, missing or of a later release.
    Key,
    /// A value is of another type than its key takes.
    Type,
    /// A value does not have its form, is out of range, or does not fit the rest of the document.
    Value,
}

/// One error in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Name of the file as it was given to the parser.
    pub file: String,
    /// Line, from 1; 0 when the error is in no line.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The line, or the part of it around the error; secrets are starred out.
    pub text: String,
    /// Characters of `text` before the error.
    pub offset: u32,
    /// Characters to underline, at least 1.
    pub width: u32,
    /// What sort of error it is.
    pub kind: Kind,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)?;
        } else {
            let gutter = self.line.to_string().len() + 2;
            writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
            writeln!(f, "  {} | {}", self.line, self.text)?;
            write!(f, "{:gutter$} | {:offset$}", "", "", offset = self.offset as usize)?;
            write!(f, "{}", "^".repeat(self.width.max(1) as usize))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// All errors of a document, in the order of their places. Never empty when it is an `Err`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(transparent)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

/// Errors of one file that are told; a file with more has one fault that causes most of them.
pub const MAX_DIAGNOSTICS: usize = 100;

impl Diagnostics {
    /// None yet.
    pub fn new() -> Diagnostics {
        Diagnostics::default()
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Diagnostics) {
        self.list.extend(other.list);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// One after another.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// `value` when there is no error, and the errors otherwise: sorted by place, the same one told once.
    pub fn finish<T>(mut self, value: T) -> Result<T, Diagnostics> {
        if self.list.is_empty() {
            return Ok(value);
        }
        self.list.sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
        self.list.dedup();
        let more = self.list.len().saturating_sub(MAX_DIAGNOSTICS);
        if more > 0 {
            self.list.truncate(MAX_DIAGNOSTICS);
            let file = self.list[0].file.clone();
            self.list.push(Anchor::elsewhere(&file).error(format!("{more} more errors are not shown"), None));
        }
        Err(self)
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Diagnostics {
        Diagnostics { list: vec![diagnostic] }
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}
