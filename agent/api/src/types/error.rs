//! Errors, as every route answers them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every reply whose status is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorReply {
    /// What went wrong.
    pub error: ApiError,
}

/// What went wrong, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    /// Decides status and exit code.
    pub kind: ErrorKind,
    /// One sentence, lower case, without a full stop.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// The errors of a document, with their places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
}

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// It was tried and did not work.
    Failed,
    /// The request or the document is not valid.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// This user, or this state of the box, does not allow it.
    NotAllowed,
}

impl ErrorKind {
    /// The HTTP status of the reply.
    pub fn status(self) -> u16 {
        match self {
            ErrorKind::Failed => 500,
            ErrorKind::Invalid => 400,
            ErrorKind::NotFound => 404,
            ErrorKind::NotAllowed => 403,
        }
    }

    /// The exit code of the CLI.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Failed => 1,
            ErrorKind::Invalid => 2,
            ErrorKind::NotFound => 4,
            ErrorKind::NotAllowed => 5,
        }
    }
}

/// An error of a document and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// Name of the file or the channel.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// All of it as it is shown to people: the place, the text, a caret, the hint.
    pub rendered: String,
}
