//! `check`: the box's own parser on the workstation, for recipes and user-data.
//!
//! Library recipes are those of the repository, which the image holds. A recipe that user-data names by
//! a path of the box cannot be seen from here: that is said, and is no error.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use recipes::model::{InstanceDecl, InstanceSource};
use recipes::{Diagnostic, Diagnostics};
use serde::Serialize;

use crate::context::Context;
use crate::error::{INVALID, Invalid};

const EXAMPLES: &str = "\
A file with [recipe] is a recipe, one with [box] or [[recipe]] is user-data.

Examples:
  holdfast-image check box.toml
  holdfast-image check recipes/library/*.toml --json
  curl -s https://example.org/box.toml | holdfast-image check -

Exit codes: 0 all are valid, 2 one is not, 1 one cannot be read.";

/// Arguments of `check`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Recipes and user-data documents; `-` is stdin.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
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
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let library = context.root().ok().map(|root| root.join("recipes/library"));
    let mut reports = Vec::new();
    for file in &args.files {
        let name = if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() };
        reports.push(check(&name, &read(file, &name)?, library.as_deref()));
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        reports.iter().for_each(print);
    }
    let valid = reports.iter().all(|report| report.valid);
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::from(INVALID) })
}

fn read(file: &Path, name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let limit = recipes::MAX_DOCUMENT as u64 + 1;
    let result = if file == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    result.map_err(|error| anyhow::Error::new(error).context(format!("failed to read `{name}`")))?;
    String::from_utf8(bytes).map_err(|_| Invalid(format!("`{name}` is not UTF-8 text")).into())
}

fn print(report: &Report) {
    for note in &report.notes {
        println!("note: {note}");
    }
    if report.valid {
        println!("{}: valid", report.file);
    }
    for error in &report.errors {
        println!("{error}");
    }
}

fn check(name: &str, text: &str, library: Option<&Path>) -> Report {
    let kind = kind(text);
    let mut notes = Vec::new();
    let result = match kind {
        DocumentKind::Recipe => recipes::recipe::parse(name, text).map(drop),
        DocumentKind::UserData => user_data(name, text, library, &mut notes),
    };
    let errors: Vec<Diagnostic> = result.err().map(|errors| errors.into_iter().collect()).unwrap_or_default();
    Report { file: name.to_owned(), kind, valid: errors.is_empty(), errors, notes }
}

/// Tells the documents apart by their first header that only one of them has.
fn kind(text: &str) -> DocumentKind {
    for line in text.lines().map(|line| line.trim().replace(' ', "")) {
        if line.starts_with("[[recipe]]") || line.starts_with("[recipe.") || line.starts_with("[box") {
            return DocumentKind::UserData;
        }
        let of_recipe =
            ["[recipe]", "[params.", "[containers.", "[volumes.", "[steps.", "recipe={", "recipe."];
        if of_recipe.iter().any(|start| line.starts_with(start)) {
            return DocumentKind::Recipe;
        }
    }
    DocumentKind::UserData
}

fn user_data(
    name: &str,
    text: &str,
    library: Option<&Path>,
    notes: &mut Vec<String>,
) -> Result<(), Diagnostics> {
    let document = recipes::user_data::parse(name, text)?;
    let mut errors = Diagnostics::new();
    for declared in &document.instances {
        let recipe = match &declared.source {
            InstanceSource::Inline(recipe) => Ok((**recipe).clone()),
            InstanceSource::Library(recipe) => match library {
                Some(library) => load(library, recipe, declared),
                None => {
                    notes.push(format!("the recipe `{recipe}` was not checked: no repository here"));
                    continue;
                }
            },
            InstanceSource::Path(path) => {
                notes.push(format!("the recipe `{path}` lies on the box and was not checked"));
                continue;
            }
        };
        if let Err(found) = recipe.and_then(|recipe| declared.resolve(&recipe, &document.settings)) {
            errors.extend(found);
        }
    }
    errors.finish(())
}

fn load(library: &Path, name: &str, declared: &InstanceDecl) -> Result<recipes::model::Recipe, Diagnostics> {
    let path = library.join(format!("{name}.toml"));
    match std::fs::read_to_string(&path) {
        Ok(text) => recipes::recipe::parse(&path.display().to_string(), &text),
        Err(_) => {
            let hint = listed(library);
            Err(declared.at.error(format!("the library has no recipe `{name}`"), Some(hint)).into())
        }
    }
}

fn listed(library: &Path) -> String {
    let entries = std::fs::read_dir(library).into_iter().flatten().flatten();
    let stems =
        entries.filter_map(|entry| entry.path().file_stem().map(|s| s.to_string_lossy().into_owned()));
    let names: BTreeSet<String> = stems.collect();
    if names.is_empty() {
        return "it is empty".to_owned();
    }
    format!("it has {}", names.into_iter().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart() {
        for (text, expect) in [
            ("format = 1\n[recipe]\nname = \"a\"\n", DocumentKind::Recipe),
            ("# a\n[ recipe ]\n", DocumentKind::Recipe),
            ("[containers.a]\n[recipe]\n", DocumentKind::Recipe),
            ("[box]\nhostname = \"a\"\n", DocumentKind::UserData),
            ("[[recipe]]\nname = \"a\"\n[recipe.containers.b]\n", DocumentKind::UserData),
            ("[[box.interface]]\n", DocumentKind::UserData),
            ("", DocumentKind::UserData),
            ("#cloud-config\n", DocumentKind::UserData),
        ] {
            assert_eq!(kind(text), expect, "{text}");
        }
    }

    #[test]
    fn library_recipes_are_held_against_their_parameters() {
        let library = tempfile::tempdir().unwrap();
        let recipe = "[recipe]\nname = \"notes\"\n[params.title]\ntype = \"string\"\n";
        std::fs::write(library.path().join("notes.toml"), recipe).unwrap();
        let given = "[[recipe]]\nuse = \"notes\"\nparams = { title = \"x\" }\n";
        for (text, expect) in [
            (given.to_owned(), None),
            ("[[recipe]]\nuse = \"notes\"\n".to_owned(), Some("title")),
            ("[[recipe]]\nuse = \"other\"\n".to_owned(), Some("the library has no recipe `other`")),
            (format!("{given}{given}"), Some("there is an instance `notes` on line 2")),
            ("[[recipe]]\nusing = \"notes\"\n".to_owned(), Some("using")),
        ] {
            let report = check("box.toml", &text, Some(library.path()));
            assert_eq!(report.valid, expect.is_none(), "{text}: {:?}", report.errors);
            if let Some(expect) = expect {
                let told = report.errors.iter().any(|error| error.message.contains(expect));
                assert!(told, "{:?}", report.errors);
            }
        }
    }
}
