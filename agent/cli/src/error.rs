//! What a command can end with: a kind, which gives the exit code, and hints, apart from the message.
//!
//! | Code | Meaning |
//! |---|---|
//! | 0 | done, unchanged or healthy |
//! | 1 | failed |
//! | 2 | usage, or an invalid document |
//! | 3 | works, but something is degraded; a wait timed out |
//! | 4 | no such thing |
//! | 5 | not allowed |
//! | 6 | the box or its agent cannot be reached |
//! | 125 | `exec`: the command was not run |
//! | 130 | interrupted |

use std::fmt;
use std::io::Write;

use agent_api::ClientError;
use agent_api::types::{Diagnostic, ErrorKind};

use crate::text;

/// All is well.
pub(crate) const DONE: u8 = 0;
/// It was tried and did not work.
pub(crate) const FAILED: u8 = 1;
/// Works, but something is degraded.
pub(crate) const DEGRADED: u8 = 3;
/// `exec` did not come to run the command.
pub(crate) const NOT_RUN: u8 = 125;
/// Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Prints a line to standard error. What cannot be printed has nobody to read it.
pub(crate) fn tell(line: &impl fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    hints: Vec<String>,
    diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Api(ErrorKind),
    Unreachable,
    NotRun,
}

impl Failure {
    fn new(kind: Kind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), hints: Vec::new(), diagnostics: Vec::new() }
    }

    /// It was tried and did not work.
    pub(crate) fn failed(message: impl Into<String>) -> Failure {
        Failure::new(Kind::Api(ErrorKind::Failed), message)
    }

    /// The request or the document is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(Kind::Api(ErrorKind::Invalid), message)
    }

    /// It wants an explicit word.
    pub(crate) fn not_allowed(message: impl Into<String>) -> Failure {
        Failure::new(Kind::Api(ErrorKind::NotAllowed), message)
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }

    /// The same, before a command of `exec` ran.
    pub(crate) fn before_exec(self) -> Failure {
        Failure { kind: Kind::NotRun, ..self }
    }

    /// The program's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Api(kind) => kind.exit_code(),
            Kind::Unreachable => 6,
            Kind::NotRun => NOT_RUN,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Api(error) => Failure {
                kind: Kind::Api(error.kind),
                message: error.message,
                hints: error.hints,
                diagnostics: error.diagnostics,
            },
            ClientError::Unreachable(_) => Failure::new(Kind::Unreachable, error.to_string()),
            ClientError::Reply(ref source) => Failure::failed(format!("{error}: {source}"))
                .hint("this program may be older than the box: compare `holdfast version`"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "{}", text::plain_lines(&diagnostic.rendered))?;
        }
        write!(f, "error: {}", text::plain(&self.message))?;
        for hint in &self.hints {
            write!(f, "\nhint: {}", text::plain(hint))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use agent_api::types::ApiError;

    use super::*;

    fn api(kind: ErrorKind) -> Failure {
        let diagnostics = vec![Diagnostic {
            file: "box.toml".into(),
            line: 2,
            column: 1,
            message: "unknown key `hostnam`".into(),
            hint: None,
            rendered: "box.toml:2:1: unknown key `hostnam`\n  2 | hostnam = 1\n    | ^^^^^^^".into(),
        }];
        ClientError::Api(ApiError {
            kind,
            message: "the document is not valid".into(),
            hints: vec!["correct it".into()],
            diagnostics,
        })
        .into()
    }

    #[test]
    fn kinds_become_exit_codes() {
        let cases = [
            (api(ErrorKind::Failed), 1),
            (api(ErrorKind::Invalid), 2),
            (api(ErrorKind::NotFound), 4),
            (api(ErrorKind::NotAllowed), 5),
            (ClientError::Unreachable("x".into()).into(), 6),
            (api(ErrorKind::NotFound).before_exec(), 125),
        ];
        for (failure, code) in cases {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
        }
    }

    #[test]
    fn places_come_first_and_hints_last() {
        insta::assert_snapshot!(api(ErrorKind::Invalid), @r"
        box.toml:2:1: unknown key `hostnam`
          2 | hostnam = 1
            | ^^^^^^^
        error: the document is not valid
        hint: correct it
        ");
    }
}
