//! Recipes that user-data names: where each lies, and what is said when it is not there. The caller reads files.

use std::path::{Path, PathBuf};

use crate::Diagnostics;
use crate::model::{InstanceDecl, InstanceSource, Recipe};
use crate::recipe;

/// What the caller has of a recipe that an instance names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its file.
    Text {
        /// The file's name in errors.
        file: String,
        /// What is in it.
        text: String,
    },
    /// The library does not have it.
    Missing {
        /// The recipes that it has.
        known: Vec<String>,
    },
    /// It is there and cannot be read.
    Unreadable {
        /// Why, naming the file.
        reason: String,
    },
    /// It is on another machine than the caller.
    Elsewhere,
}

impl Found {
    /// The recipe, or the errors of whoever declared the instance.
    pub fn recipe(self, declared: &InstanceDecl) -> Result<Recipe, Diagnostics> {
        let (message, hint) = match self {
            Found::Text { file, text } => return recipe::parse(&file, &text),
            Found::Missing { mut known } => {
                known.sort();
                let has = if known.is_empty() {
                    "it is empty".to_owned()
                } else {
                    format!("it has {}", known.join(", "))
                };
                (format!("the library has no recipe `{}`", name(declared)), Some(has))
            }
            Found::Unreadable { reason } => (reason, None),
            Found::Elsewhere => (format!("the recipe `{}` is not here", name(declared)), None),
        };
        Err(declared.at.error(message, hint).into())
    }
}

fn name(declared: &InstanceDecl) -> &str {
    match &declared.source {
        InstanceSource::Library(name) | InstanceSource::Path(name) => name,
        InstanceSource::Inline(recipe) => &recipe.name,
    }
}

/// The file of a recipe that is named, when the library is the folder `library`; `None` for one written in place.
pub fn path(source: &InstanceSource, library: &Path) -> Option<PathBuf> {
    match source {
        InstanceSource::Inline(_) => None,
        InstanceSource::Library(name) => Some(library.join(format!("{name}.toml"))),
        InstanceSource::Path(path) => Some(PathBuf::from(path)),
    }
}

/// The names of the library's recipes, from its files.
pub fn names<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<String> {
    let recipe = |file: &&Path| file.extension().is_some_and(|extension| extension == "toml");
    let stem = |file: &Path| file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    files.into_iter().filter(recipe).filter_map(stem).collect()
}
