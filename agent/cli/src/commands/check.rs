//! `check`: the box's own parser, here; nothing is sent anywhere.
//!
//! A recipe of the library is held against its parameters where the library is: on a box. Elsewhere that
//! is left out, and said.

use std::path::{Path, PathBuf};

use recipes::model::{InstanceDecl, InstanceSource, Recipe, UserData};
use recipes::{Diagnostic, Diagnostics};
use serde::Serialize;

use super::apply::Document;
use super::{Outcome, print};
use crate::error::{DONE, Failure};
use crate::text;

/// Where a box has its library.
const LIBRARY: &str = "/usr/share/holdfast/recipes";

const AFTER: &str = "\
A document with a table [recipe] is a recipe, any other is user-data.

Exit codes: 0 all are valid, 2 one is not, 1 one cannot be read.

Examples:
  holdfast check box.toml
  holdfast check --json recipe.toml box.toml
  holdfast check - < box.toml";

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// Recipes and user-data documents; `-` is stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// What was found in one document.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    kind: DocumentKind,
    valid: bool,
    errors: Vec<Diagnostic>,
    notes: Vec<String>,
}

/// What a document is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum DocumentKind {
    Recipe,
    UserData,
}

/// Runs `check`.
pub(crate) fn run(args: Args) -> Outcome {
    let library = Some(Path::new(LIBRARY)).filter(|library| library.is_dir());
    let reports = args
        .files
        .iter()
        .map(|file| Document::read(file).map(|document| check(&document.name, &document.text, library)))
        .collect::<Result<Vec<_>, Failure>>()?;
    print(&if args.json { text::json(&reports)? } else { reports.iter().map(page).collect() })?;
    Ok(if reports.iter().all(|report| report.valid) { DONE } else { 2 })
}

fn check(file: &str, text: &str, library: Option<&Path>) -> Report {
    let kind = kind_of(text);
    let mut notes = Vec::new();
    let result = match kind {
        DocumentKind::Recipe => recipes::recipe::parse(file, text).map(drop),
        DocumentKind::UserData => recipes::user_data::parse(file, text)
            .and_then(|document| instances(&document, library, &mut notes)),
    };
    let errors: Vec<Diagnostic> =
        result.err().map(|errors| errors.iter().cloned().collect()).unwrap_or_default();
    Report { file: file.to_owned(), kind, valid: errors.is_empty(), errors, notes }
}

/// A recipe has a table `recipe`; user-data has a list of that name, or none. A document that is no TOML
/// at all is taken for user-data.
fn kind_of(text: &str) -> DocumentKind {
    let is_recipe_header = |line: &str| {
        let line: String = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        line == "[recipe]" || line.starts_with("recipe={") || line.starts_with("recipe.")
    };
    if text.lines().any(is_recipe_header) { DocumentKind::Recipe } else { DocumentKind::UserData }
}

/// Holds each instance's parameters against its recipe.
fn instances(
    document: &UserData,
    library: Option<&Path>,
    notes: &mut Vec<String>,
) -> Result<(), Diagnostics> {
    let mut errors = Diagnostics::new();
    for declared in &document.instances {
        let recipe = match (&declared.source, library) {
            (InstanceSource::Inline(recipe), _) => Ok((**recipe).clone()),
            (InstanceSource::Library(name), Some(library)) => load(
                &library.join(format!("{name}.toml")),
                declared,
                &format!("the library has no recipe `{name}`"),
            ),
            (InstanceSource::Path(path), Some(_)) => {
                load(Path::new(path), declared, &format!("`{path}` cannot be read"))
            }
            (InstanceSource::Library(_) | InstanceSource::Path(_), None) => {
                notes.push(format!(
                    "the parameters for `{}` were not checked: it is on the box",
                    recipe_of(declared)
                ));
                continue;
            }
        };
        if let Err(found) = recipe.and_then(|recipe| declared.resolve(&recipe, &document.settings).map(drop))
        {
            errors.extend(found);
        }
    }
    errors.finish(())
}

fn recipe_of(declared: &InstanceDecl) -> &str {
    match &declared.source {
        InstanceSource::Library(name) | InstanceSource::Path(name) => name,
        InstanceSource::Inline(_) => "a recipe in place",
    }
}

fn load(path: &Path, declared: &InstanceDecl, missing: &str) -> Result<Recipe, Diagnostics> {
    match std::fs::read_to_string(path) {
        Ok(text) => recipes::recipe::parse(&path.display().to_string(), &text),
        Err(_) => Err(declared.at.error(missing, None).into()),
    }
}

fn page(report: &Report) -> String {
    let mut page: String = report.notes.iter().map(|note| format!("note: {}\n", text::plain(note))).collect();
    for error in &report.errors {
        page += &format!("{}\n", text::plain_lines(&error.to_string()));
    }
    if report.valid {
        page += &format!("{}: valid\n", text::plain(&report.file));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (text, kind) in [
            ("[recipe]\nname = \"a\"", DocumentKind::Recipe),
            ("# [[recipe]]\n [ recipe ] # x\n", DocumentKind::Recipe),
            ("recipe = { name = \"a\" }", DocumentKind::Recipe),
            ("[[recipe]]\nuse = \"a\"", DocumentKind::UserData),
            ("[[recipe]]\nname = \"a\"\n[recipe.containers.b]\nimage = \"x/y:1\"", DocumentKind::UserData),
            ("[box]", DocumentKind::UserData),
            ("#!/bin/sh", DocumentKind::UserData),
        ] {
            assert_eq!(kind_of(text), kind, "{text}");
        }
    }

    #[test]
    fn findings() {
        let valid = check("box.toml", "[box]\nhostname = \"hub1\"\n", None);
        assert_eq!(page(&valid), "box.toml: valid\n");
        let wrong = check("box.toml", "[box]\nhostnam = \"hub1\"\n", None);
        assert!(!wrong.valid);
        insta::assert_snapshot!(page(&wrong));
        let recipe = check("r.toml", "[recipe]\nname = \"a\"\n[containers.c]\nimage = \"nginx\"\n", None);
        assert_eq!((recipe.kind, recipe.valid), (DocumentKind::Recipe, false));
    }

    #[test]
    fn parameters_are_held_against_the_library_where_it_is() {
        let library = tempfile::tempdir().unwrap();
        let recipe = "[recipe]\nname = \"notes\"\n[params.title]\ntype = \"integer\"\n";
        std::fs::write(library.path().join("notes.toml"), recipe).unwrap();
        let at = Some(library.path());
        let document = |params: &str| format!("[[recipe]]\nuse = \"notes\"\nparams = {{ {params} }}\n");
        assert!(check("b", &document("title = 1"), at).valid);
        assert!(!check("b", &document("title = \"x\""), at).valid);
        assert!(!check("b", &document(""), at).valid);
        assert!(!check("b", "[[recipe]]\nuse = \"none\"\n", at).valid);
        let elsewhere = check("b", &document("title = \"x\""), None);
        assert!(elsewhere.valid);
        assert_eq!(
            page(&elsewhere),
            "note: the parameters for `notes` were not checked: it is on the box\nb: valid\n"
        );
    }
}
