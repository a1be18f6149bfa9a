//! `metadata`: what a provider gives a box, read by the box's own readers; nothing is sent anywhere.
//!
//! It reads files of the machine that it runs on. On a box that is of little use but for `-`: the provider's volumes
//! are not mounted, and `status` tells what came of them.

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};

use agent_metadata::{ExplainError, Explanation, ReadError};

use super::{Outcome, print};
use crate::error::{DONE, Failure};
use crate::text;

const AFTER: &str = "\
PATH is a mounted config drive or NoCloud volume, or a folder like one, or a document that was
saved: OpenStack's meta_data.json or network_data.json, NoCloud's meta-data or network-config,
DigitalOcean's /metadata/v1.json, user-data. A box goes on with what it can use of them; here
the first value that cannot be used is an error, with its place.

Exit codes: 0 explained, 2 it cannot be used, 1 it cannot be read.

Examples:
  holdfast metadata explain /mnt/config-2
  holdfast metadata explain network_data.json --json
  holdfast metadata explain - < user-data";

/// Arguments of `metadata`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: MetadataCommand,
}

#[derive(Debug, clap::Subcommand)]
enum MetadataCommand {
    /// What a box would take of a folder or a document: identity, keys, user-data, network
    #[command(after_help = AFTER)]
    Explain(ExplainArgs),
}

#[derive(Debug, clap::Args)]
struct ExplainArgs {
    /// A folder or a document, here; `-` is stdin
    path: PathBuf,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `metadata`.
pub(crate) fn run(args: &Args) -> Outcome {
    let MetadataCommand::Explain(args) = &args.command;
    let found = if args.path == Path::new("-") { stdin()? } else { agent_metadata::explain(&args.path) };
    let found = found.map_err(failure)?;
    print(&if args.json { text::json(&found)? } else { found.to_string() })?;
    Ok(DONE)
}

fn stdin() -> Result<Result<Explanation, ExplainError>, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(recipes::MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::failed(format!("failed to read `stdin`: {error}")))?;
    if bytes.len() > recipes::MAX_DOCUMENT {
        return Err(Failure::invalid("`stdin`: larger than 1 MiB"));
    }
    Ok(agent_metadata::explain_document(Path::new("stdin"), &bytes))
}

fn failure(error: ExplainError) -> Failure {
    let reason = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    let message = format!("{error}{reason}");
    match error {
        ExplainError::Missing(_) | ExplainError::Read(ReadError::Io { .. }) => Failure::failed(message),
        _ => Failure::invalid(message),
    }
}
