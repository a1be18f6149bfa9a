//! Errors as the API answers them.

use agent_api::types::{ApiError, Diagnostic, ErrorKind, ErrorReply};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Something that was not done, and why.
#[derive(Debug)]
pub(crate) struct Failure(ApiError);

/// What a handler answers.
pub(super) type Answer<T> = Result<T, Failure>;

impl Failure {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Failure {
        Failure(ApiError { kind, message: message.into(), hints: Vec::new(), diagnostics: Vec::new() })
    }

    pub(crate) fn failed(message: impl Into<String>) -> Failure {
        Failure::new(ErrorKind::Failed, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(ErrorKind::NotFound, message)
    }

    pub(crate) fn not_allowed(message: impl Into<String>) -> Failure {
        Failure::new(ErrorKind::NotAllowed, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.0.hints.push(hint.into());
        self
    }

    pub(crate) fn diagnostics(mut self, diagnostics: Vec<Diagnostic>) -> Failure {
        self.0.diagnostics = diagnostics;
        self
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::failed(format!("{error:#}"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(ErrorReply { error: self.0 })).into_response()
    }
}
