//! `check`: the box's own parser on the workstation, for recipes and user-data.
//!
//! Library recipes are those of the repository, which the image holds. A recipe that user-data names by
//! a path of the box cannot be seen from here: that is said, and is no error.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use recipes::check::Report;
use recipes::library::Found;
use recipes::model::InstanceSource;

use crate::context::Context;
use crate::error::{INVALID, Invalid};
use crate::output;

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

/// Runs `check`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let library = context.root().ok().map(|root| root.join("recipes/library"));
    let mut reports = Vec::new();
    for file in &args.files {
        let name = if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() };
        reports.push(check(&name, &read(file, &name)?, library.as_deref()));
    }
    output::print(&if args.json {
        serde_json::to_string_pretty(&reports)? + "\n"
    } else {
        reports.iter().map(ToString::to_string).collect()
    })?;
    let valid = reports.iter().all(|report| report.valid);
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::from(INVALID) })
}

fn read(file: &Path, name: &str) -> Result<String> {
    let bytes =
        if file == Path::new("-") { start(std::io::stdin()) } else { File::open(file).and_then(start) };
    let bytes = bytes.with_context(|| format!("failed to read `{name}`"))?;
    String::from_utf8(bytes).map_err(|_| Invalid(format!("`{name}` is not UTF-8 text")).into())
}

/// What is read, or the beginning of it when it is longer than a document may be.
fn start(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(recipes::MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks one document, whose library recipes are those of the repository.
pub(crate) fn document(context: &Context, name: &str, text: &str) -> Report {
    let library = context.root().ok().map(|root| root.join("recipes/library"));
    check(name, text, library.as_deref())
}

fn check(name: &str, text: &str, library: Option<&Path>) -> Report {
    recipes::check::check(name, text, text.len(), |declared| find(&declared.source, library))
}

fn find(source: &InstanceSource, library: Option<&Path>) -> Found {
    let (InstanceSource::Library(_), Some(library)) = (source, library) else { return Found::Elsewhere };
    let Some(path) = recipes::library::path(source, library) else { return Found::Elsewhere };
    match std::fs::read_to_string(&path) {
        Ok(text) => Found::Text { file: path.display().to_string(), text },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let entries = std::fs::read_dir(library).into_iter().flatten().flatten();
            let files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            Found::Missing { known: recipes::library::names(files.iter().map(PathBuf::as_path)) }
        }
        Err(error) => Found::Unreadable { reason: format!("failed to read `{}`: {error}", path.display()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (format!("{given}{given}"), Some("there is an instance `notes` on line 2 already")),
            ("[[recipe]]\nusing = \"notes\"\n".to_owned(), Some("using")),
        ] {
            let report = check("box.toml", &text, Some(library.path()));
            assert_eq!(report.valid, expect.is_none(), "{text}: {:?}", report.errors);
            if let Some(expect) = expect {
                let told = report.errors.iter().any(|error| error.message.contains(expect));
                assert!(told, "{:?}", report.errors);
            }
        }
        let elsewhere = check("box.toml", "[[recipe]]\nuse = \"other\"\n", None);
        assert!(elsewhere.valid);
        assert_eq!(elsewhere.notes, ["the recipe `other` was not looked at: it is on the box"]);
    }
}
