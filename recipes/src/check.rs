//! A document held against everything that is known where it is checked: the box's own verdict, or a note of
//! what only the box can tell.

use std::fmt;

use serde::Serialize;

use crate::library::Found;
use crate::model::{InstanceDecl, InstanceSource};
use crate::{Diagnostic, Diagnostics, recipe, user_data};

/// Bytes of user-data that a box takes from its provider.
pub const MAX_DELIVERED: usize = 64 * 1024;

/// What a document is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentKind {
    /// A recipe's own file.
    Recipe,
    /// What a box is to run.
    UserData,
}

/// What was found in a document; as text, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its name.
    pub file: String,
    /// What it was taken for.
    pub kind: DocumentKind,
    /// Whether a box accepts it, as far as that can be told.
    pub valid: bool,
    /// What is wrong.
    pub errors: Vec<Diagnostic>,
    /// What could not be looked at, and what an owner should know.
    pub notes: Vec<String>,
}

/// Checks a document. `delivered` is its length in bytes as a provider would hand it over; `find` looks for the
/// recipe of an instance that names one.
pub fn check(
    file: &str,
    text: &str,
    delivered: usize,
    mut find: impl FnMut(&InstanceDecl) -> Found,
) -> Report {
    let kind = kind(text);
    let mut notes = Vec::new();
    let result = match kind {
        DocumentKind::Recipe => recipe::parse(file, text).map(drop),
        DocumentKind::UserData => instances(file, text, &mut find, &mut notes),
    };
    if kind == DocumentKind::UserData && delivered > MAX_DELIVERED {
        notes.push(format!(
            "a provider hands over at most {MAX_DELIVERED} bytes of user-data and this has {delivered}: pack it with \
             gzip, or give it to the running box by `holdfast apply`"
        ));
    }
    let errors: Vec<Diagnostic> = result.err().map(|errors| errors.into_iter().collect()).unwrap_or_default();
    Report { file: file.to_owned(), kind, valid: errors.is_empty(), errors, notes }
}

/// Resolves all instances together as a box does, less those whose recipe cannot be seen from here.
fn instances(
    file: &str,
    text: &str,
    find: &mut impl FnMut(&InstanceDecl) -> Found,
    notes: &mut Vec<String>,
) -> Result<(), Diagnostics> {
    let mut document = user_data::parse(file, text)?;
    let mut found = Vec::new();
    document.instances.retain(|declared| match &declared.source {
        InstanceSource::Inline(_) => true,
        InstanceSource::Library(name) | InstanceSource::Path(name) => match find(declared) {
            Found::Elsewhere => {
                notes.push(format!("the recipe `{name}` was not looked at: it is on the box"));
                false
            }
            here => {
                found.push(here);
                true
            }
        },
    });
    let mut found = found.into_iter();
    document.resolve(|declared| found.next().unwrap_or(Found::Elsewhere).recipe(declared)).map(drop)
}

/// Tells the documents apart by their first header that only one of them has. What is no document at all is
/// taken for user-data.
fn kind(text: &str) -> DocumentKind {
    const OF_USER_DATA: [&str; 4] = ["[[recipe]]", "[recipe.", "[box", "[[box."];
    const OF_RECIPE: [&str; 7] =
        ["[recipe]", "[params.", "[containers.", "[volumes.", "[steps.", "recipe={", "recipe."];
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line: String = line.split_whitespace().collect();
        let begins = |starts: &[&str]| starts.iter().any(|start| line.starts_with(start));
        if begins(&OF_USER_DATA) {
            return DocumentKind::UserData;
        }
        if begins(&OF_RECIPE) {
            return DocumentKind::Recipe;
        }
    }
    DocumentKind::UserData
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        for error in &self.errors {
            writeln!(f, "{error}")?;
        }
        if self.valid { writeln!(f, "{}: valid", self.file) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart() {
        for (text, expect) in [
            ("format = 1\n[recipe]\nname = \"a\"\n", DocumentKind::Recipe),
            ("# [[recipe]]\n [ recipe ] # x\n", DocumentKind::Recipe),
            ("\u{feff}[recipe]\r\nname = \"a\"\r\n", DocumentKind::Recipe),
            ("recipe = { name = \"a\" }\n", DocumentKind::Recipe),
            ("recipe.name = \"a\"\n", DocumentKind::Recipe),
            ("[containers.a]\n[recipe]\n", DocumentKind::Recipe),
            ("[box]\nhostname = \"a\"\n", DocumentKind::UserData),
            ("[[recipe]]\nname = \"a\"\n[recipe.containers.b]\n", DocumentKind::UserData),
            ("recipe = [{ use = \"a\" }]\n", DocumentKind::UserData),
            ("[[box.interface]]\n", DocumentKind::UserData),
            ("", DocumentKind::UserData),
            ("#cloud-config\n", DocumentKind::UserData),
        ] {
            assert_eq!(kind(text), expect, "{text}");
        }
    }
}
