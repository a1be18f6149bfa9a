//! `doctor`: what is wrong, the worst first, and the next step for each.

use agent_api::routes;
use agent_api::types::{Doctor, Finding, NextKind, NextStep, Severity};

use super::{Outcome, print};
use crate::cli::Reach;
use crate::connect::connect;
use crate::error::{DEGRADED, DONE, FAILED};
use crate::text;

const WIDTH: usize = 100;

const AFTER: &str = "\
Each finding has a code, which stays the same from version to version, says what is the
case, and gives the next step: a command, or lines for the document (user-data), which
`holdfast apply FILE` applies. Nothing is changed.

Exit codes: 0 nothing is wrong, 1 the box does not do what it is there for, 3 it does, but
something is wrong, 6 the box cannot be reached.

Examples:
  holdfast doctor
  holdfast doctor --json
  holdfast --host admin@203.0.113.7 doctor";

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `doctor`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let doctor: Doctor = connect(reach).await?.get(routes::DOCTOR).await?;
    print(&if args.json { text::json(&doctor)? } else { page(&doctor.findings) })?;
    Ok(code_of(&doctor.findings))
}

fn code_of(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.severity).min() {
        Some(Severity::Failed) => FAILED,
        Some(Severity::Degraded) => DEGRADED,
        Some(Severity::Notice) | None => DONE,
    }
}

fn page(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    if code_of(findings) == DONE {
        lines.push(
            if findings.is_empty() { "nothing is wrong" } else { "nothing is wrong; worth a look:" }
                .to_owned(),
        );
    }
    for finding in findings {
        let word = match finding.severity {
            Severity::Failed => "FAILED  ",
            Severity::Degraded => "degraded",
            Severity::Notice => "notice  ",
        };
        let (message, code) = (text::plain(&finding.message), text::plain(&finding.code));
        lines.extend(text::wrap(&format!("{word}  {message} ({code})"), WIDTH, "          "));
        lines.extend(finding.next.iter().flat_map(step));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn step(step: &NextStep) -> Vec<String> {
    let what = text::plain_lines(&step.what);
    let why = step.why.as_deref().map(text::plain).unwrap_or_default();
    match step.kind {
        NextKind::Command => text::wrap(&format!("    > {what}   # {why}"), WIDTH, "      # "),
        NextKind::Document => {
            let head = text::wrap(&format!("    > in the document: {why}"), WIDTH, "      ");
            head.into_iter().chain(what.lines().map(|line| format!("        {line}"))).collect()
        }
        NextKind::Other => text::wrap(&format!("    > {what}"), WIDTH, "      "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(code: &str, severity: Severity, message: &str, next: Vec<NextStep>) -> Finding {
        Finding { code: code.into(), severity, subject: "x".into(), message: message.into(), next }
    }

    fn next(kind: NextKind, what: &str, why: Option<&str>) -> NextStep {
        NextStep { kind, what: what.into(), why: why.map(str::to_owned) }
    }

    #[test]
    fn a_box_with_nothing_wrong() {
        assert_eq!(page(&[]), "nothing is wrong\n");
        assert_eq!(code_of(&[]), DONE);
        let notice = finding("interface-no-carrier", Severity::Notice, "ens4 has no carrier", vec![]);
        insta::assert_snapshot!(page(std::slice::from_ref(&notice)), @r"
        nothing is wrong; worth a look:
        notice    ens4 has no carrier (interface-no-carrier)
        ");
        assert_eq!(code_of(&[notice]), DONE);
    }

    #[test]
    fn the_worst_decides() {
        let of = |severity| finding("x", severity, "", vec![]);
        assert_eq!(code_of(&[of(Severity::Degraded), of(Severity::Notice)]), DEGRADED);
        assert_eq!(code_of(&[of(Severity::Failed), of(Severity::Degraded)]), FAILED);
    }

    #[test]
    fn findings_with_their_next_steps() {
        let image = "fetch image registry.example.org/nginx:9: the registry answers 404 to the request for \
                     the manifest";
        let findings = [
            finding(
                "data-unavailable",
                Severity::Failed,
                "data unavailable: no super\x1bblock",
                vec![
                    next(NextKind::Other, "take a snapshot at the provider", None),
                    next(NextKind::Command, "holdfast data check", Some("repairs what can be repaired")),
                ],
            ),
            finding(
                "image-missing",
                Severity::Degraded,
                image,
                vec![next(
                    NextKind::Document,
                    "[recipe.containers.web]\nimage = \"registry.example.org/nginx:9\"",
                    Some("with a name and a tag that the registry has"),
                )],
            ),
        ];
        insta::assert_snapshot!(page(&findings), @r#"
        FAILED    data unavailable: no super?block (data-unavailable)
            > take a snapshot at the provider
            > holdfast data check   # repairs what can be repaired
        degraded  fetch image registry.example.org/nginx:9: the registry answers 404 to the request for the
                  manifest (image-missing)
            > in the document: with a name and a tag that the registry has
                [recipe.containers.web]
                image = "registry.example.org/nginx:9"
        "#);
    }

    /// The agent's own list of what it may tell, which its tests keep right.
    const TOLD: &str = include_str!("../../../core/src/doctor/commands.txt");

    #[test]
    fn every_command_that_is_told_is_one() {
        use clap::Parser;
        let commands: Vec<&str> = TOLD.lines().collect();
        assert!(commands.len() > 10, "{commands:?}");
        for line in commands {
            crate::cli::Cli::try_parse_from(line.split(' '))
                .unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}
