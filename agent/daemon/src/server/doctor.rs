//! What is wrong and what to do about it, and a report for whoever helps.

use std::sync::Arc;

use agent_api::types::{Doctor, Finding, NextKind, NextStep, ReportQuery, Severity};
use agent_core::doctor::{self as core, Next};
use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::agent::Agent;
use crate::{doctor, report};

pub(super) async fn findings(State(agent): State<Arc<Agent>>) -> Json<Doctor> {
    Json(of(&agent).await)
}

/// All findings as they go over the wire.
pub(crate) async fn of(agent: &Agent) -> Doctor {
    Doctor { findings: doctor::findings(agent).await.into_iter().map(wire).collect() }
}

pub(super) async fn report(State(agent): State<Arc<Agent>>, Query(query): Query<ReportQuery>) -> Response {
    let body = Body::from_stream(report::stream(agent, query.logs));
    ([(CONTENT_TYPE, "application/gzip")], body).into_response()
}

fn wire(finding: core::Finding) -> Finding {
    Finding {
        code: finding.code.to_owned(),
        severity: match finding.severity {
            core::Severity::Failed => Severity::Failed,
            core::Severity::Degraded => Severity::Degraded,
            core::Severity::Notice => Severity::Notice,
        },
        subject: finding.subject,
        message: finding.message,
        next: finding.next.into_iter().map(step).collect(),
    }
}

fn step(next: Next) -> NextStep {
    match next {
        Next::Run { command, why } => NextStep { kind: NextKind::Command, what: command, why: Some(why) },
        Next::Write { lines, why } => NextStep { kind: NextKind::Document, what: lines, why: Some(why) },
        Next::Act(what) => NextStep { kind: NextKind::Other, what, why: None },
    }
}
