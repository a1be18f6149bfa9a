//! What the user sees of an error: the message, its causes, and hints apart from both; and the exit
//! code that its kind gives.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// An error's exit code when the user's document or usage is at fault.
pub(crate) const INVALID: u8 = 2;
/// The exit code when the user stopped it.
pub(crate) const INTERRUPTED: u8 = 130;

/// An error to which a hint is attached at the edge, where the way out is known.
#[derive(Debug)]
pub(crate) struct Hinted {
    hint: String,
    source: anyhow::Error,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for Hinted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.chain().nth(1)
    }
}

/// An error that is the fault of a document or of the arguments: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub String);

/// Attaches hints.
pub(crate) trait HintExt<T> {
    /// Tells, beside the error, what would help.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> HintExt<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(Hinted { hint: hint.into(), source: error.into() }))
    }
}

/// Prints the error with its causes and hints and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let mut message = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !message.is_empty() {
            message.push_str(": ");
        }
        message.push_str(text.trim_end());
    }
    let hints: String = hints(error).iter().map(|hint| format!("hint: {hint}\n")).collect();
    // What cannot be printed has nobody to read it.
    let _ = write!(std::io::stderr().lock(), "error: {message}\n{hints}");
    let interrupted = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<crate::commands::cloud::CloudError>().is_some_and(|error| error.is_interrupted())
    };
    if kinds(error).into_iter().any(interrupted) {
        return ExitCode::from(INTERRUPTED);
    }
    ExitCode::from(if is_invalid(error) { INVALID } else { 1 })
}

fn hints(error: &anyhow::Error) -> Vec<String> {
    kinds(error).into_iter().filter_map(hint_of).collect()
}

/// The causes, with what stands behind a hint told on its own.
fn kinds(error: &anyhow::Error) -> Vec<&(dyn Error + 'static)> {
    let mut kinds = Vec::new();
    for cause in error.chain() {
        kinds.push(cause);
        let mut hidden = cause.downcast_ref::<Hinted>();
        while let Some(hinted) = hidden {
            kinds.push(hinted.source.as_ref());
            hidden = hinted.source.downcast_ref::<Hinted>();
        }
    }
    kinds
}

fn hint_of(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(hinted) = error.downcast_ref::<Hinted>() {
        return Some(hinted.hint.clone());
    }
    if let Some(error) = error.downcast_ref::<crate::config::ConfigError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<crate::fetch::FetchError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<crate::lock::LockError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<crate::tools::ToolError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<crate::oci::OciError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<crate::release::keys::KeysError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<crate::release::repository::RepositoryError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<crate::release::publish::PublishError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<crate::release::publish::PlaceError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<crate::release::image::ImageError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<crate::release::verify::VerifyError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<crate::commands::cloud::CloudError>() {
        return error.hint();
    }
    None
}

fn is_invalid(error: &anyhow::Error) -> bool {
    let invalid =
        |cause: &(dyn Error + 'static)| cause.is::<Invalid>() || cause.is::<crate::config::ConfigError>();
    kinds(error).into_iter().any(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_hides_neither_the_kind_nor_other_hints() {
        let error: anyhow::Result<()> = Err(Invalid("a".to_owned())).hint("b").hint("c");
        let error = error.unwrap_err();
        assert!(is_invalid(&error));
        assert_eq!(hints(&error), ["c", "b"]);
        assert_eq!(error.to_string(), "a");
        assert!(!is_invalid(&anyhow::anyhow!("d")));
    }
}
