//! What is wrong with the box, and what to do about it.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What is wrong with the box, the worst first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// Empty when nothing is.
    pub findings: Vec<Finding>,
}

/// How bad something is. Worse comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The box does not do what it is there for.
    Failed,
    /// It does, but for this.
    Degraded,
    /// No fault, but worth a look.
    Notice,
}

/// Something that is the case and should not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What kind of thing it is, as `disk-low`; stays what it is from version to version.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: an instance, a container, an interface, a part of the box.
    pub subject: String,
    /// What is the case, in a sentence.
    pub message: String,
    /// What to do next, the first thing first.
    pub next: Vec<NextStep>,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextStep {
    /// What kind of thing it is.
    pub kind: NextKind,
    /// The command line, the lines of the document, or a sentence.
    pub what: String,
    /// What it does; absent: a sentence says so itself.
    pub why: Option<String>,
}

/// What kind of thing is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NextKind {
    /// A command line of `holdfast`.
    Command,
    /// Lines of the document, to be applied.
    Document,
    /// Something that neither of the two can do.
    Other,
}

/// What a report holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReportQuery {
    /// What containers wrote, too.
    #[serde(default)]
    pub logs: bool,
}
