//! Strict TOML: `image/holdfast.toml` and the recipes of apps.
//!
//! An unknown key, a wrong type or a missing value is an error with file, line, column and the text in
//! question. Nothing is read here but the text that is handed over: [`load`] is the only function that
//! opens a file.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::plan::contents;

/// The version of `holdfast.toml` that this builder reads.
pub(crate) const FORMAT: u32 = 1;

/// A document that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not what it should be.
    #[error("{path}:{line}:{column}: {message}\n  {line} | {text}\n  {pad} | {marker}", pad = " ".repeat(line.to_string().len()))]
    Syntax {
        /// The file's name as the user knows it.
        path: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong.
        message: String,
        /// The line in question.
        text: String,
        /// Carets under the offending part.
        marker: String,
    },
    /// The document was written for a newer builder.
    #[error("{path}: format {format} is newer than {FORMAT}, which this builder knows")]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        format: u32,
    },
}

impl ConfigError {
    /// The nearest right key, where the mistake is an unknown one.
    pub(crate) fn hint(&self) -> Option<String> {
        let ConfigError::Syntax { message, .. } = self else { return None };
        let mut quoted = message.split('`').skip(1).step_by(2);
        if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
            return None;
        }
        let wrong = quoted.next()?;
        let known: Vec<&str> = quoted.collect();
        let nearest = known.iter().min_by_key(|key| strsim::damerau_levenshtein(wrong, key))?;
        if strsim::damerau_levenshtein(wrong, nearest) <= 2.max(wrong.len() / 3) {
            Some(format!("did you mean `{nearest}`?"))
        } else {
            Some(format!("known here: {}", known.join(", ")))
        }
    }
}

/// Reads a document from a file.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, &path.display().to_string())
}

/// Reads a document; `name` is the file's name for messages.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, ConfigError> {
    #[derive(Deserialize)]
    struct Format {
        #[serde(default)]
        format: Option<u32>,
    }
    if let Ok(Format { format: Some(format) }) = toml::from_str(text)
        && format > FORMAT
    {
        return Err(ConfigError::Newer { path: name.to_owned(), format });
    }
    toml::from_str(text).map_err(|error| syntax(text, name, &error))
}

fn syntax(text: &str, name: &str, error: &toml::de::Error) -> ConfigError {
    let span = error.span().unwrap_or(0..0);
    let start = span.start.min(text.len());
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_text = text[line_start..].lines().next().unwrap_or_default();
    let before = text[line_start..start].chars().count();
    let room = line_text.chars().count().saturating_sub(before).max(1);
    let marked = text.get(span.clone()).map_or(1, |part| part.chars().count()).clamp(1, room);
    ConfigError::Syntax {
        path: name.to_owned(),
        line: text[..start].matches('\n').count() + 1,
        column: before + 1,
        message: error.message().lines().next().unwrap_or("invalid").to_owned(),
        text: line_text.to_owned(),
        marker: format!("{}{}", " ".repeat(before), "^".repeat(marked)),
    }
}

/// `image/holdfast.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Of this document; checked before the rest is read.
    #[serde(rename = "format")]
    _format: u32,
    /// Where packages come from.
    pub archive: Archive,
    /// The packages of the root.
    pub packages: PackageSet,
    /// The programs that build, run and test images.
    pub tools: PackageSet,
    /// The files of the root.
    pub root: contents::Root,
    /// The kernel, its arguments and its modules.
    pub kernel: contents::Kernel,
    /// What comes along for containers.
    #[serde(default)]
    pub embed: contents::Embed,
    /// Whose releases the image follows.
    #[serde(default)]
    pub update: Update,
}

/// `[update]`: whose releases the image follows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    /// The publisher's TUF root metadata, relative to `image/`; none: the image follows nobody.
    pub root: Option<PathBuf>,
}

/// Debian's archive: suites and who may sign them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Archive {
    /// Debian architecture.
    pub architecture: String,
    /// Files of armored keys, relative to `image/`.
    pub keys: Vec<PathBuf>,
    /// In order of the lock file.
    pub suites: Vec<Suite>,
}

/// A suite of the archive.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// `trixie-updates`.
    pub name: String,
    /// The folder of the mirror that holds it: `debian` or `debian-security`.
    pub archive: String,
    /// Sections of the suite to read: `main`.
    pub components: Vec<String>,
}

/// Packages that are resolved together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackageSet {
    /// What is wanted; dependencies follow.
    pub install: Vec<String>,
    /// Names that count as there, because something else does their work.
    #[serde(default)]
    pub provided: Vec<String>,
}
