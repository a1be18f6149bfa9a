//! `check`: the box's own parser, here; nothing is sent anywhere.
//!
//! A recipe that user-data names is looked at where it is: on a box. Elsewhere that is left out, and said.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use recipes::check::Report;
use recipes::library::Found;
use recipes::model::InstanceSource;

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

/// Runs `check`.
pub(crate) fn run(args: Args) -> Outcome {
    let library = Some(Path::new(LIBRARY)).filter(|library| library.is_dir());
    let reports = args
        .files
        .iter()
        .map(|file| Document::read(file).map(|document| check(&document, library)))
        .collect::<Result<Vec<_>, Failure>>()?;
    print(&if args.json { text::json(&reports)? } else { reports.iter().map(page).collect() })?;
    Ok(if reports.iter().all(|report| report.valid) { DONE } else { 2 })
}

fn check(document: &Document, library: Option<&Path>) -> Report {
    recipes::check::check(&document.name, &document.text, document.delivered, |declared| {
        library.map_or(Found::Elsewhere, |library| find(&declared.source, library))
    })
}

/// Reads a recipe that user-data names, on the box.
fn find(source: &InstanceSource, library: &Path) -> Found {
    let Some(path) = recipes::library::path(source, library) else { return Found::Elsewhere };
    match read(&path) {
        Ok(text) => Found::Text { file: path.display().to_string(), text },
        Err(error) if error.kind() == ErrorKind::NotFound && matches!(source, InstanceSource::Library(_)) => {
            let entries = std::fs::read_dir(library).into_iter().flatten().flatten();
            let files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            Found::Missing { known: recipes::library::names(files.iter().map(PathBuf::as_path)) }
        }
        // The agent may read what an admin may not.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Found::Elsewhere,
        Err(error) => Found::Unreadable { reason: format!("failed to read `{}`: {error}", path.display()) },
    }
}

/// The text of a file, or of its beginning when it is longer than a document may be.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(recipes::MAX_DOCUMENT as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn page(report: &Report) -> String {
    text::plain_lines(&report.to_string()) + "\n"
}

#[cfg(test)]
mod tests {
    use recipes::check::DocumentKind;

    use super::*;

    fn document(text: &str) -> Document {
        Document { name: "box.toml".into(), text: text.into(), delivered: text.len() }
    }

    #[test]
    fn findings() {
        let valid = check(&document("[box]\nhostname = \"hub1\"\n"), None);
        assert_eq!(page(&valid), "box.toml: valid\n");
        let wrong = check(&document("[box]\nhostnam = \"hub1\"\n"), None);
        assert!(!wrong.valid);
        insta::assert_snapshot!(page(&wrong));
        let recipe = check(&document("[recipe]\nname = \"a\"\n[containers.c]\nimage = \"nginx\"\n"), None);
        assert_eq!((recipe.kind, recipe.valid), (DocumentKind::Recipe, false));
    }

    #[test]
    fn recipes_are_looked_at_where_the_box_is() {
        let library = tempfile::tempdir().unwrap();
        let recipe = "[recipe]\nname = \"notes\"\n[params.title]\ntype = \"integer\"\n";
        std::fs::write(library.path().join("notes.toml"), recipe).unwrap();
        let own = library.path().join("own");
        let at = Some(library.path());
        let verdict = |text: &str| page(&check(&document(text), at));
        let named = |params: &str| format!("[[recipe]]\nuse = \"notes\"\nparams = {{ {params} }}\n");
        assert_eq!(verdict(&named("title = 1")), "box.toml: valid\n");
        assert!(verdict(&named("title = \"x\"")).contains("title"));
        assert!(verdict(&named("")).contains("title"));
        let missing = verdict("[[recipe]]\nuse = \"none\"\n");
        assert!(missing.contains("the library has no recipe `none`"), "{missing}");
        assert!(missing.contains("hint: it has notes\n"), "{missing}");
        let by_path =
            format!("[[recipe]]\nuse = \"{}\"\nname = \"own\"\nparams = {{ title = 1 }}\n", own.display());
        let absent = verdict(&by_path);
        assert!(absent.contains(&format!("failed to read `{}`", own.display())), "{absent}");
        std::fs::write(&own, recipe).unwrap();
        assert_eq!(verdict(&by_path), "box.toml: valid\n");
        assert_eq!(
            page(&check(&document(&named("title = \"x\"")), None)),
            "note: the recipe `notes` was not looked at: it is on the box\nbox.toml: valid\n"
        );
    }

    #[test]
    fn a_provider_hands_over_so_much() {
        assert_eq!(recipes::check::MAX_DELIVERED, agent_metadata::MAX_DELIVERED);
    }
}
