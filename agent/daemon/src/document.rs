//! User-data as the box takes it: parsed, its recipes loaded from where it names them, and resolved.

use std::path::PathBuf;

use agent_api::types::Diagnostic;
use recipes::Diagnostics;
use recipes::library::{self, Found};
use recipes::model::{BoxSettings, InstanceSource};
use recipes::resolve::ResolvedInstance;

/// A document that is valid on this box.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    /// `[box]`.
    pub(crate) settings: BoxSettings,
    /// Its instances, resolved.
    pub(crate) instances: Vec<ResolvedInstance>,
}

/// Where library recipes lie.
#[derive(Clone, Debug)]
pub(crate) struct Library(PathBuf);

impl Library {
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Library {
        Library(folder.into())
    }

    fn find(&self, source: &InstanceSource) -> Found {
        let Some(path) = library::path(source, &self.0) else { return Found::Elsewhere };
        match agent_system::files::read_text(&path, recipes::MAX_DOCUMENT as u64) {
            Ok(text) => Found::Text { file: path.display().to_string(), text },
            Err(error) if error.is_not_found() && matches!(source, InstanceSource::Library(_)) => {
                let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
                let files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
                Found::Missing { known: library::names(files.iter().map(PathBuf::as_path)) }
            }
            Err(error) => Found::Unreadable { reason: error.to_string() },
        }
    }
}

/// Parses and resolves a document; all its errors, or none.
pub(crate) fn parse(text: &str, file: &str, library: &Library) -> Result<Document, Diagnostics> {
    let user_data = recipes::user_data::parse(file, text)?;
    let instances = user_data.resolve(|declared| library.find(&declared.source).recipe(declared))?;
    Ok(Document { settings: user_data.settings, instances })
}

/// Errors as they go over the wire.
pub(crate) fn diagnostics(errors: &Diagnostics) -> Vec<Diagnostic> {
    let wire = |d: &recipes::Diagnostic| Diagnostic {
        file: d.file.clone(),
        line: d.line,
        column: d.column,
        message: d.message.clone(),
        hint: d.hint.clone(),
        rendered: d.to_string(),
    };
    errors.iter().map(wire).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_over_the_wire_holds_no_value_of_a_mistyped_key() {
        let text = "[[box.registry]]\nhost = \"r.example.org\"\npass = \"hunter2\"\n";
        let errors = parse(text, "box.toml", &Library::new("/nowhere")).expect_err("an unknown key");
        let wire = diagnostics(&errors);
        assert!(wire.iter().any(|error| error.rendered.contains("pass = *********")), "{wire:?}");
        assert!(!format!("{wire:?}").contains("hunter2"), "{wire:?}");
    }
}
