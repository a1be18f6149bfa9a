//! What the user sees of an error: the message, its causes, and hints apart from both; and the exit
//! code that its kind gives.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// An error's exit code when the user's document or usage is at fault.
pub const INVALID: u8 = 2;

/// An error to which a hint is attached at the edge, where the way out is known.
#[derive(Debug)]
pub struct Hinted {
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
pub struct Invalid(pub String);

/// Attaches hints.
pub trait HintExt<T> {
    /// Tells, beside the error, what would help.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> HintExt<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(Hinted { hint: hint.into(), source: error.into() }))
    }
}

/// Prints the error with its causes and hints and gives the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let mut message = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !message.is_empty() {
            message.push_str(": ");
        }
        message.push_str(text.trim_end());
    }
    eprintln!("error: {message}");
    for hint in hints(error) {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(if is_invalid(error) { INVALID } else { 1 })
}

fn hints(error: &anyhow::Error) -> Vec<String> {
    error.chain().filter_map(hint_of).collect()
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
    if let Some(error) = error.downcast_ref::<crate::oci::OciError>() {
        return error.hint();
    }
    None
}

fn is_invalid(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Invalid>() || cause.is::<crate::config::ConfigError>())
}
