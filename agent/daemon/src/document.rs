//! User-data as the box takes it: parsed, its recipes loaded from where it names them, and resolved.

use std::path::{Path, PathBuf};

use agent_api::types::Diagnostic;
use recipes::model::{BoxSettings, InstanceSource, Recipe};
use recipes::resolve::ResolvedInstance;
use recipes::{Anchor, Diagnostics};

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

    fn load(&self, source: &InstanceSource, at: &Anchor) -> Result<Recipe, Diagnostics> {
        let path = match source {
            InstanceSource::Inline(recipe) => return Ok((**recipe).clone()),
            InstanceSource::Library(name) => self.0.join(format!("{name}.toml")),
            InstanceSource::Path(path) => PathBuf::from(path),
        };
        let text = agent_system::files::read_text(&path, recipes::MAX_DOCUMENT as u64);
        let text = text.map_err(|error| {
            let mut errors = Diagnostics::new();
            let (message, hint) = match source {
                InstanceSource::Library(name) if error.is_not_found() => {
                    (format!("the library has no recipe `{name}`"), Some(self.listed()))
                }
                _ => (error.to_string(), None),
            };
            errors.push(at.error(message, hint));
            errors
        })?;
        recipes::recipe::parse(&path.display().to_string(), &text)
    }

    fn listed(&self) -> String {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().filter_map(Result::ok);
        let stem = |path: PathBuf| Path::file_stem(&path).map(|s| s.to_string_lossy().into_owned());
        let mut names: Vec<String> = entries.filter_map(|entry| stem(entry.path())).collect();
        names.sort();
        if names.is_empty() { "it is empty".into() } else { format!("it has {}", names.join(", ")) }
    }
}

/// Parses and resolves a document; all its errors, or none.
pub(crate) fn parse(text: &str, file: &str, library: &Library) -> Result<Document, Diagnostics> {
    let user_data = recipes::user_data::parse(file, text)?;
    let instances = user_data.resolve(|declared| library.load(&declared.source, &declared.at))?;
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
