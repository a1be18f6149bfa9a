//! `recipes/apps/NAME.toml`: what an app's image holds. Strict, as `holdfast.toml` is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::config::{self, PackageSet};

/// An app's recipe.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppRecipe {
    /// Of this document; checked before the rest is read.
    #[serde(rename = "format")]
    _format: u32,
    /// What it is called.
    pub app: App,
    /// Its packages.
    pub packages: PackageSet,
    /// What of the packages is kept.
    #[serde(default)]
    pub content: Content,
    /// Users beside root and nobody.
    #[serde(default)]
    pub users: Vec<User>,
    /// Files of ours, by absolute path.
    #[serde(default)]
    pub files: BTreeMap<String, LocalFile>,
    /// How the image is run.
    #[serde(default)]
    pub image: ImageConfig,
}

/// What the app is called.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct App {
    /// `nginx`.
    pub name: String,
    /// In a line.
    #[serde(default)]
    pub description: String,
    /// The full reference under which the image is known: `holdfast.local/nginx:1`.
    pub reference: String,
}

/// Patterns over paths without leading slash, as in `holdfast.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    /// What of the packages is taken; nothing named: all.
    #[serde(default)]
    pub keep: Vec<String>,
    /// What is left out of that.
    #[serde(default)]
    pub drop: Vec<String>,
}

/// A user with a group of the same name and number.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    /// `www-data`.
    pub name: String,
    /// Its number, also of its group.
    pub id: u32,
    /// Its folder.
    #[serde(default = "root_folder")]
    pub home: String,
}

fn root_folder() -> String {
    "/".to_owned()
}

/// A file of ours; exactly one of `content`, `source`, `link` and `directory`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LocalFile {
    /// Its text.
    pub content: Option<String>,
    /// A file beside the recipe.
    pub source: Option<PathBuf>,
    /// The target of a symbolic link.
    pub link: Option<String>,
    /// A folder.
    #[serde(default)]
    pub directory: bool,
    /// Octal [default: 0644, folders 0755].
    pub mode: Option<String>,
    /// `UID:GID` [default: 0:0].
    pub owner: Option<String>,
}

/// How the image is run: the words of the OCI image configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageConfig {
    /// The program.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Its arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// The environment beside `PATH`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// `UID[:GID]` or a name of `users`.
    pub user: Option<String>,
    /// `8080/tcp`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Where the program starts.
    pub working_dir: Option<String>,
    /// `SIGTERM`.
    pub stop_signal: Option<String>,
}

impl AppRecipe {
    /// Reads a recipe.
    pub(crate) fn load(path: &Path) -> Result<AppRecipe> {
        Ok(config::load(path)?)
    }
}

/// The recipes of the repository, by name.
pub(crate) fn library(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join("recipes/apps");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("failed to read `{}`", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    Ok(files)
}

/// The lock file of a recipe, beside it.
pub(crate) fn lock_path(recipe: &Path) -> PathBuf {
    recipe.with_extension("lock")
}
