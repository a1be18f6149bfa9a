//! `version`: of this program, the agent and the image.

use agent_api::routes;
use agent_api::types::Version;
use serde::Serialize;

use super::{Outcome, print};
use crate::cli::Reach;
use crate::connect::connect;
use crate::error::DONE;
use crate::text;

const AFTER: &str = "\
`holdfast --version` prints the version of this program alone, without asking a box.

Examples:
  holdfast version
  holdfast version --json";

/// Arguments of `version`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    agent: String,
    image: String,
}

/// Runs `version`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let version: Version = connect(reach).await?.get(routes::VERSION).await?;
    let versions = Versions { client: env!("CARGO_PKG_VERSION"), agent: version.agent, image: version.image };
    let page = if args.json {
        text::json(&versions)?
    } else {
        let lines = [("client", versions.client), ("agent", &versions.agent), ("image", &versions.image)];
        lines.map(|(name, version)| format!("{name:6} {}\n", text::plain(version))).concat()
    };
    print(&page)?;
    Ok(DONE)
}
