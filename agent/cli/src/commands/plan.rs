//! `plan`: what the agent would do.

use std::path::PathBuf;

use agent_api::routes;
use agent_api::types::Plan;

use super::apply::{CONTENT_TYPE, Document};
use super::{Outcome, print};
use crate::cli::Reach;
use crate::connect::{connect, path};
use crate::error::DONE;
use crate::text;

const AFTER: &str = "\
Without FILE: what is left to do now. Nothing is changed.

Examples:
  holdfast plan
  holdfast plan box.toml
  holdfast plan --json - < box.toml";

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// A user-data document; `-` is stdin
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `plan`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let plan: Plan = match &args.file {
        None => connect(reach).await?.get(routes::PLAN).await?,
        Some(file) => {
            let document = Document::read(file)?;
            let path = path(routes::PLAN, &[], &[("file", document.name)]);
            connect(reach).await?.post_text(&path, CONTENT_TYPE, document.text).await?
        }
    };
    print(&if args.json { text::json(&plan)? } else { page(&plan) })?;
    Ok(DONE)
}

/// The plan, line by line.
pub(super) fn page(plan: &Plan) -> String {
    if plan.actions.is_empty() && plan.removes.is_empty() {
        return "nothing to do\n".to_owned();
    }
    let removes = plan.removes.iter().map(|name| format!("- instance {name} is removed; its volumes stay\n"));
    let actions = plan
        .actions
        .iter()
        .map(|action| format!("+ {}: {}\n", text::plain(&action.action), text::plain(&action.reason)));
    removes.chain(actions).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn plans() {
        insta::assert_snapshot!(page(&samples::plan()), @r"
        - instance old is removed; its volumes stay
        + fetch image registry.example.org/nginx:1: not in the store
        + start container site.web: not running
        ");
        assert_eq!(page(&Plan { actions: vec![], removes: vec![] }), "nothing to do\n");
    }
}
